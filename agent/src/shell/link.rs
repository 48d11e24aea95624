//! The connection to NATS: registration, pulling orders, publishing reports and heartbeats.
//!
//! Each is a task of its own that tells the event loop by a [`FromNats`] what happened. A task belongs
//! to one try or one session, and is aborted with it; what it sent before carries its number, so the
//! loop knows what is stale.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use async_nats::client::Request;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, warn};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::config::Nats;
use windrow_common::ids::Name;
use windrow_common::subjects::Subjects;
use windrow_common::wire::agent::{Control, Register, RegisterReply, ReportMessage, Session};

mod address;

/// A coordinator answers within milliseconds. While NATS servers choose leaders of streams, a session
/// takes it some requests that each run into their time-out of 5 seconds; who asks again before that
/// only makes it begin anew. One that takes over asks by itself.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(16);
/// A message of n reports is followed by the next one n times this later at the earliest, within
/// [`REPORT_PAUSE_MAX`]. A message costs NATS, the coordinator and its confirmation far more than one
/// more report in it, so a busy agent gathers; an idle one reports at once.
const REPORT_PAUSE: Duration = Duration::from_millis(2);
/// See [`REPORT_PAUSE`].
const REPORT_PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long one pull request stays open on the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The server's sign of life on an open pull request; two missed ones end the session.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);
/// Order messages taken at once. Each is at most about a megabyte.
const PULL_MESSAGES: usize = 128;

/// What the tasks tell the event loop.
#[derive(Debug)]
pub enum FromNats {
    /// Connected, or connected again.
    Connected,
    /// It is time for the registration of this number.
    RegisterNow(u64),
    /// The answer to that registration.
    Registered(u64, Result<RegisterReply, String>),
    /// The coordinator asks for a registration.
    RegisterWanted,
    /// It did so right after the request of this number was sent.
    StillWanted(u64),
    /// The coordinator of this term has heard a heartbeat: its session and number.
    Heard {
        /// The heartbeat's session.
        session: u64,
        /// The coordinator's term.
        term: u64,
        /// The heartbeat's number.
        number: u64,
    },
    /// Orders of this session, to be acknowledged.
    Orders(u64, Vec<Message>),
    /// Orders of this session cannot be read any more.
    PullEnded(u64),
    /// The report message of this session is in the stream.
    ReportSent(u64),
}

/// The connection and who we are on it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Core NATS.
    pub client: async_nats::Client,
    /// JetStream on it.
    pub jetstream: jetstream::Context,
    /// The cluster's subjects.
    pub subjects: Subjects,
    /// This agent.
    pub agent: Name,
    /// Its servers.
    urls: String,
    inbox: mpsc::Sender<FromNats>,
}

impl Link {
    /// Connects in the background, for ever; [`FromNats::Connected`] says when.
    ///
    /// # Errors
    /// When the settings cannot work, such as credentials that cannot be read.
    pub async fn open(
        nats: &Nats,
        subjects: Subjects,
        agent: Name,
        inbox: mpsc::Sender<FromNats>,
    ) -> Result<Self, String> {
        let events = inbox.clone();
        let options = nats.options(&format!("windrow-agent {agent}")).await?;
        let options = options.retry_on_initial_connect().event_callback(move |event| {
            let events = events.clone();
            async move {
                if matches!(event, async_nats::Event::Connected) {
                    // The loop is gone when this fails, and nobody is left to tell.
                    let _ = events.send(FromNats::Connected).await;
                } else {
                    warn!(%event, "NATS connection");
                }
            }
        });
        let client = nats.connect_with(options).await?;
        let jetstream = jetstream::new(client.clone());
        let urls = nats.url.clone();
        Ok(Self { client, jetstream, subjects, agent, urls, inbox })
    }

    /// Whether publishing reaches a server now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Listens for the coordinator's hints.
    pub fn listen(&self) -> AbortHandle {
        let link = self.clone();
        spawn(async move {
            loop {
                let subject = link.subjects.control(&link.agent);
                if let Ok(mut hints) = link.client.subscribe(subject).await {
                    while let Some(message) = hints.next().await {
                        match from_msgpack::<Control>(&message.payload) {
                            Ok(Control::Register) => link.tell(FromNats::RegisterWanted).await,
                            Ok(Control::Heard { session, term, number }) => {
                                link.tell(FromNats::Heard { session, term, number }).await;
                            }
                            Err(error) => debug!(%error, "an unknown hint is ignored"),
                        }
                    }
                }
                tokio::time::sleep(jittered(Duration::from_secs(1))).await;
            }
        })
    }

    /// Sends [`FromNats::RegisterNow`] after a while.
    pub fn register_later(&self, number: u64, delay: Duration) -> AbortHandle {
        let link = self.clone();
        spawn(async move {
            tokio::time::sleep(delay).await;
            link.tell(FromNats::RegisterNow(number)).await;
        })
    }

    /// Sends [`FromNats::StillWanted`] after a while.
    pub fn want_later(&self, number: u64, delay: Duration) {
        let link = self.clone();
        spawn(async move {
            tokio::time::sleep(delay).await;
            link.tell(FromNats::StillWanted(number)).await;
        });
    }

    /// Asks to join. Fills in this host's address when none is configured.
    pub fn register(&self, number: u64, mut request: Register) -> AbortHandle {
        let link = self.clone();
        spawn(async move {
            if request.address.is_none() {
                request.address = address::find(&link.urls).await.map(|a| a.to_string());
            }
            let payload = Bytes::from(to_msgpack(&request));
            let request = Request::new().payload(payload).timeout(Some(REGISTER_TIMEOUT));
            let subject = link.subjects.register(&link.agent);
            let answer = match link.client.send_request(subject, request).await {
                Ok(message) => from_msgpack(&message.payload).map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            link.tell(FromNats::Registered(number, answer)).await;
        })
    }

    /// Pulls the orders of a session, with a request always open.
    pub fn pull(&self, session: &Session) -> AbortHandle {
        let link = self.clone();
        let Session { session, stream, consumer, .. } = session.clone();
        spawn(async move {
            if let Err(error) = link.pull_until_error(session, &stream, &consumer).await {
                warn!(session, %error, "orders cannot be pulled");
            }
            // A consumer that is gone fails at once: do not register in a tight loop.
            tokio::time::sleep(jittered(Duration::from_millis(200))).await;
            link.tell(FromNats::PullEnded(session)).await;
        })
    }

    /// Publishes a report message until the stream has it, and says so when the next one may follow.
    pub fn report(&self, message: &ReportMessage) -> AbortHandle {
        let link = self.clone();
        let session = message.session;
        let count = u32::try_from(message.reports.len()).unwrap_or(u32::MAX);
        let pause = REPORT_PAUSE.saturating_mul(count).min(REPORT_PAUSE_MAX);
        let payload = Bytes::from(to_msgpack(message));
        spawn(async move {
            let subject = link.subjects.report(&link.agent);
            let pause = tokio::time::sleep(pause);
            let mut tries = 0;
            while let Err(error) = link.publish(subject.clone(), payload.clone()).await {
                warn!(session, %error, "reports cannot be published; trying again");
                tokio::time::sleep(back_off(tries)).await;
                tries += 1;
            }
            pause.await;
            link.tell(FromNats::ReportSent(session)).await;
        })
    }

    async fn publish(&self, subject: String, payload: Bytes) -> Result<(), async_nats::Error> {
        self.jetstream.publish(subject, payload).await?.await?;
        Ok(())
    }

    async fn pull_until_error(
        &self,
        session: u64,
        stream: &str,
        consumer: &str,
    ) -> Result<(), async_nats::Error> {
        let consumer: PullConsumer =
            self.jetstream.get_consumer_from_stream(consumer, stream).await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .messages()
            .await?;
        let mut batches = messages.ready_chunks(PULL_MESSAGES);
        while let Some(batch) = batches.next().await {
            let mut orders = Vec::with_capacity(batch.len());
            let mut failure = None;
            for message in batch {
                match message {
                    Ok(message) => orders.push(message),
                    Err(error) => failure = Some(error),
                }
            }
            if !orders.is_empty() {
                self.tell(FromNats::Orders(session, orders)).await;
            }
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn tell(&self, what: FromNats) {
        // The loop is gone when this fails, and the process ends.
        let _ = self.inbox.send(what).await;
    }
}

/// 100 ms, doubled with each try up to 5 s, with jitter.
pub fn back_off(tries: u32) -> Duration {
    jittered(Duration::from_millis((100 << tries.min(6)).min(5_000)))
}

/// Between half and all of `duration`, so that a thousand agents do not come back in one instant.
pub fn jittered(duration: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let per_mille = u32::try_from(random % 501).unwrap_or(0) + 500;
    duration * per_mille / 1000
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}
