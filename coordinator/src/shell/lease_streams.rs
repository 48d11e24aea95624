//! The streams with the orders to agents, and the consumers of agents' sessions on them. Any of them may
//! be without a leader while the journal goes on: then its agents wait, and nobody else does. One that
//! stays so is made anew, as orders are told again whenever they are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{
    self, ConsumerError, ConsumerErrorKind, PurgeError, PurgeErrorKind, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use windrow_common::ids::Name;
use windrow_common::subjects::lease_shard;

use super::journal::Error;
use super::streams::{ASK_PAUSE, ASK_TIMEOUT, remove_consumer};

/// How long a coordinator that begins to lead waits for these streams.
const OPEN_LIMIT: Duration = Duration::from_secs(3);
/// How long a stream that did not take part is left alone: who asks it holds everybody up.
const REST: Duration = Duration::from_secs(3);
/// How long a stream may be without a leader until it is made anew. Choosing one takes less than ten
/// seconds.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// By shard.
#[derive(Clone, Debug)]
pub struct LeaseStreams {
    context: jetstream::Context,
    configs: Vec<stream::Config>,
    failing: BTreeMap<u8, Failing>,
}

/// Of a stream that does not take part.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    asked: Instant,
}

impl Failing {
    /// It was asked again, in vain. Of what was before a long silence nothing is known.
    fn again(before: Option<Self>, now: Instant) -> Self {
        let goes_on = before.filter(|one| now.duration_since(one.asked) < LOST_AFTER);
        Self { since: goes_on.map_or(now, |one| one.since), asked: now }
    }

    /// Whether it was asked in vain all that time.
    fn is_lost(&self) -> bool {
        self.asked.duration_since(self.since) >= LOST_AFTER
    }
}

/// A consumer of a session to be.
#[derive(Debug)]
pub struct NewSession<'a> {
    pub agent: &'a Name,
    /// Its reader of orders.
    pub consumer: jetstream::consumer::pull::Config,
    /// The durable name of its reader before.
    pub before: Option<String>,
}

impl LeaseStreams {
    /// Creates those that are missing.
    ///
    /// # Errors
    /// NATS refuses one. Those without a leader are not waited for long.
    pub async fn open(
        context: &jetstream::Context,
        configs: Vec<stream::Config>,
    ) -> Result<Self, Error> {
        let streams = Self { context: context.clone(), configs, failing: BTreeMap::new() };
        try_join_all(streams.configs.iter().map(|config| streams.ensure(config))).await?;
        Ok(streams)
    }

    async fn ensure(&self, config: &stream::Config) -> Result<(), Error> {
        let name = &config.name;
        let end = Instant::now() + OPEN_LIMIT;
        loop {
            match soon(self.context.get_or_create_stream(config.clone())).await {
                Ok(_) => return Ok(()),
                Err(e) if !is_without_leader(&e) => {
                    return Err(Error::Unavailable(format!("stream {name}: {e}")));
                }
                Err(_) if Instant::now() < end => sleep(ASK_PAUSE).await,
                Err(error) => {
                    warn!(name, %error, "a stream of orders does not answer; its agents wait");
                    return Ok(());
                }
            }
        }
    }

    /// Whether an agent's stream did not take part a moment ago.
    pub fn rests(&self, agent: &Name) -> bool {
        self.failing.get(&lease_shard(agent)).is_some_and(|one| one.asked.elapsed() < REST)
    }

    /// Notes whether an agent's stream took part.
    pub fn note(&mut self, agent: &Name, takes_part: bool) {
        let shard = lease_shard(agent);
        if takes_part {
            self.failing.remove(&shard);
            return;
        }
        let before = self.failing.get(&shard).copied();
        self.failing.insert(shard, Failing::again(before, Instant::now()));
    }

    /// Makes streams of these agents anew that have been without a leader for too long. What they held is
    /// told again to their agents, as those join with nothing left of it.
    pub async fn renew<'a>(&mut self, agents: impl IntoIterator<Item = &'a Name>) {
        let lost = |shard: &u8| self.failing.get(shard).is_some_and(Failing::is_lost);
        let shards: BTreeSet<u8> = agents.into_iter().map(lease_shard).filter(lost).collect();
        join_all(shards.iter().map(|shard| self.make_anew(*shard))).await;
        for shard in shards {
            // It gets time to choose a leader.
            self.failing.remove(&shard);
        }
    }

    async fn make_anew(&self, shard: u8) {
        let config = &self.configs[usize::from(shard)];
        let name = &config.name;
        warn!(name, "a stream of orders has had no leader for {LOST_AFTER:?} and is made anew");
        // It goes although nobody confirms it: who would may be the one that is away.
        soon(self.context.delete_stream(name)).await.ok();
        if let Err(error) = soon(self.context.create_stream(config)).await {
            warn!(name, %error, "it was not made; trying again later");
        }
    }

    /// Gives a session its consumer; gives false when the stream does not take part now. What the
    /// session before had not taken is removed first: the core has put it back.
    ///
    /// # Errors
    /// NATS refuses.
    pub async fn open_session(&self, session: NewSession<'_>) -> Result<bool, Error> {
        let agent = session.agent;
        match self.try_to_open(session).await {
            Ok(()) => Ok(true),
            Err(error) if is_without_leader(&error) => {
                warn!(%agent, %error, "no session yet; the agent is to ask again");
                Ok(false)
            }
            Err(e) => Err(Error::Unavailable(format!("session of agent `{agent}`: {e}"))),
        }
    }

    async fn try_to_open(
        &self,
        NewSession { agent, consumer, before }: NewSession<'_>,
    ) -> Result<(), async_nats::Error> {
        let name = &self.configs[usize::from(lease_shard(agent))].name;
        let stream = self.context.get_stream_no_info(name).await?;
        if let Some(before) = before {
            remove_consumer(&stream, &before).await;
        }
        soon(async { stream.purge().filter(consumer.filter_subject.clone()).await }).await?;
        match soon(stream.create_consumer(consumer.clone())).await {
            Err(e) if is_in_the_way(&e) => {
                soon(remove_sessions(&stream, agent)).await?;
                soon(stream.create_consumer(consumer)).await?;
            }
            created => drop(created?),
        }
        Ok(())
    }
}

/// Removes every session's consumer of an agent: one is left, and in the way of the next, when a
/// coordinator died, or NATS did not answer, between a session's entry in the journal and here.
async fn remove_sessions(stream: &Stream<()>, agent: &Name) -> Result<(), async_nats::Error> {
    let mut names = stream.consumer_names();
    while let Some(name) = names.try_next().await? {
        let session = name.strip_prefix(agent.as_str()).and_then(|rest| rest.strip_prefix('-'));
        if session.is_some_and(|session| session.parse::<u64>().is_ok()) {
            warn!(%agent, consumer = name, "an old session is in the way and is removed");
            stream.delete_consumer(&name).await?;
        }
    }
    Ok(())
}

/// NATS did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {ASK_TIMEOUT:?}")]
struct Unanswered;

/// Waits for an answer of NATS, and not for long: everybody waits meanwhile.
async fn soon<T, E: Into<async_nats::Error>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, async_nats::Error> {
    match timeout(ASK_TIMEOUT, asked).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(Unanswered.into()),
    }
}

/// Whether another consumer reads the same orders.
fn is_in_the_way(error: &async_nats::Error) -> bool {
    answer(error) == Some(ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE)
}

/// Whether the servers are about to choose who leads the stream, or the only one that has it is away:
/// starting over would not help.
fn is_without_leader(error: &async_nats::Error) -> bool {
    error.is::<Unanswered>()
        || matches!(
            answer(error),
            Some(ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::STREAM_OFFLINE)
        )
}

/// What NATS says is wrong, if it says anything.
fn answer(error: &async_nats::Error) -> Option<ErrorCode> {
    if let Some(PurgeErrorKind::JetStream(answer)) =
        error.downcast_ref::<PurgeError>().map(PurgeError::kind)
    {
        return Some(answer.error_code());
    }
    if let Some(ConsumerErrorKind::JetStream(answer)) =
        error.downcast_ref::<ConsumerError>().map(ConsumerError::kind)
    {
        return Some(answer.error_code());
    }
    match error.downcast_ref::<CreateStreamError>().map(CreateStreamError::kind) {
        Some(CreateStreamErrorKind::JetStream(answer)) => Some(answer.error_code()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_lost_when_it_was_asked_in_vain_all_the_time() {
        let start = Instant::now();
        let asked = |seconds: &[u64]| {
            let at = seconds.iter().map(|&seconds| start + Duration::from_secs(seconds));
            at.fold(None, |before, now| Some(Failing::again(before, now)))
                .is_some_and(|one| one.is_lost())
        };
        assert!(!asked(&[0, 5, 10, 15, 19]));
        assert!(asked(&[0, 5, 10, 15, 20]));
        assert!(!asked(&[0, 3600]), "who asked first may be gone since");
        assert!(!asked(&[0, 3600, 3610]));
    }
}
