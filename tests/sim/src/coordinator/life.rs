//! The life of a coordinator's process: the product's own phases, one after the other, as its shell does
//! them on NATS.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use windrow_common::ids::JobId;
use windrow_coordinator::actor::{Actor, Now};
use windrow_coordinator::shell::journal::{Error, Journal};
use windrow_coordinator::shell::outside::Clock;
use windrow_coordinator::shell::phases::Phases;

use super::leading::{Lead, Leading};
use super::port::{Port, Want};
use super::settings;
use crate::bus::{ConsumerSpec, Start};
use crate::names;
use crate::net::{Answer, Op};

/// How long to wait before starting over.
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// A process.
pub(super) struct Life {
    pub(super) port: Port,
    pub(super) phases: Phases<Port>,
    pub(super) leading: Leading,
    pub(super) snapshot_every: u64,
    pub(super) turn_steps: usize,
}

impl Life {
    /// Until it stops with an alarm, which it returns.
    pub(super) async fn live(mut self) -> String {
        loop {
            match self.serve().await {
                Error::Damaged(what) => return what,
                Error::Fenced { .. } => self.port.note(14, "fenced"),
                e @ (Error::RolledBack(_)
                | Error::Trimmed(_)
                | Error::Unwritable(_)
                | Error::Unavailable(_)) => self.port.note(13, format!("starts over: {e}")),
            }
            self.port.sleep(RETRY_DELAY).await;
        }
    }

    /// From connecting to the first failure.
    async fn serve(&mut self) -> Error {
        self.port.connect().await;
        self.port.note(18, "is connected");
        self.port.send(Op::Subscribe(names::subjects().standby_all()));
        let election = self.phases.leadership.clone().run(self.port.clone());
        let served = tokio::select! {
            biased;
            served = self.take_part() => served,
            () = election => Err(Error::Unavailable("the election has ended".to_owned())),
        };
        self.leading.end();
        served.expect_err("it is served until something fails")
    }

    async fn take_part(&mut self) -> Result<(), Error> {
        let port = self.port.clone();
        self.phases.stand_by(&port, port.lost(), &CancellationToken::new()).await?;
        if self.phases.read_the_rest(&port).await? {
            port.note(19, "has put the journal right");
        }
        let mut starting = self.phases.starting(&port);
        match starting.write().await {
            Err(Error::Unwritable(_)) => {
                starting.write_at_last(&self.phases.leadership, |_| {}).await?;
            }
            written => written?,
        }
        let journal = self.phases.started(&port, starting).await?;
        self.lead(journal).await
    }

    async fn lead(&mut self, journal: Journal<Port>) -> Result<(), Error> {
        let port = self.port.clone();
        let term = self.phases.memory.as_ref().expect("a term was begun from it").state.term;
        let nonce = self.phases.leadership.nonce();
        read_all(&port, &format!("reports-{nonce:x}-{term}")).await?;
        let memory = self.phases.memory.take().expect("a term was begun from it");
        let (state, position) = (memory.state, memory.position);
        let (high, mut number) = (u128::from(nonce ^ term), 0u128);
        let new_id = Box::new(move || {
            number += 1;
            JobId::from_u128((high << 64) | number)
        });
        let now = Now { wall: port.wall(), monotonic: port.elapsed() };
        self.leading.begin(Actor::new(state, settings(self.turn_steps), new_id, now), position);
        port.want(Want::Leads);
        let leadership = self.phases.leadership.clone();
        let lead = Lead::new(port, leadership, self.leading.clone(), journal, self.snapshot_every);
        let (memory, ended) = lead.run().await;
        self.phases.memory = Some(memory);
        ended
    }
}

/// Opens the streams that a leader reads.
async fn read_all(port: &Port, reports: &str) -> Result<(), Error> {
    let subjects = names::subjects();
    let (register, beat) = subjects.agents_all();
    for pattern in [subjects.api_all(), register, beat] {
        port.send(Op::Subscribe(pattern));
    }
    let submissions = ConsumerSpec {
        name: "coordinator".to_owned(),
        memory: false,
        filter: None,
        start: Start::First,
        ack_wait: Some(30_000),
        max_ack_pending: 4096,
    };
    let reports = ConsumerSpec {
        name: reports.to_owned(),
        memory: true,
        ack_wait: None,
        max_ack_pending: usize::MAX,
        ..submissions.clone()
    };
    // The first anew, so that what a former coordinator had not acknowledged comes at once.
    let before = submissions.name.clone();
    for (stream, spec, instead_of) in
        [(names::SUBMIT, submissions, Some(before)), (names::REPORTS, reports, None)]
    {
        let (stream, consumer) = (stream.to_owned(), spec.name.clone());
        let pull = Op::Pull { stream: stream.clone(), consumer };
        let made = port.ask_as_a_client(|token| Op::MakeConsumer {
            stream,
            instead_of,
            spec,
            purge: false,
            token,
        });
        match made.await {
            Answer::Done => port.send(pull),
            other => return Err(Error::Unavailable(format!("consumer: {other:?}"))),
        }
    }
    Ok(())
}
