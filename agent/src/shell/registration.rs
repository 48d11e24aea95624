//! Registering: one try at a time, each with a number, so that late answers are told apart.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use windrow_common::ids::{LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{Executor, Gpu, Held, Problem, Register};

use super::inventory;
use super::link::{Link, jittered};

/// After a NATS server went away all agents come back at once; this spreads them.
const RECONNECT_SPREAD: Duration = Duration::from_millis(500);
/// A coordinator that is there answers within this time, unless it waits for NATS.
const REQUEST_FRESH: Duration = Duration::from_secs(1);

/// What the registrations of a process say.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The agent.
    pub agent: Name,
    /// Chosen at start.
    pub boot: u64,
    /// The compute environment.
    pub compute_environment: Name,
    /// What jobs may use.
    pub resources: Resources,
    /// Ways to run attempts.
    pub executors: Vec<Executor>,
    /// The configured address of this host; else [`Link`] finds one.
    pub address: Option<String>,
    /// GPUs that jobs may use.
    pub gpus: Vec<Gpu>,
    /// What is wrong with this host.
    pub problems: Vec<Problem>,
}

impl Identity {
    /// The registration of now, the boot's try of this number. `seen`: the highest term and lease.
    pub fn to_register(
        &self,
        number: u64,
        held: Vec<Held>,
        seen: (u64, LeaseId),
        clock: Timestamp,
    ) -> Register {
        Register {
            version: wire::VERSION,
            agent: self.agent.clone(),
            boot: self.boot,
            host: inventory::host_name(),
            compute_environment: self.compute_environment.clone(),
            resources: self.resources,
            executors: self.executors.clone(),
            architecture: inventory::architecture(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            clock,
            held,
            address: self.address.clone(),
            gpus: self.gpus.clone(),
            term_seen: seen.0,
            lease_seen: seen.1,
            problems: self.problems.clone(),
            number,
        }
    }
}

/// The try under way, if any.
#[derive(Debug, Default)]
pub struct Registration {
    number: u64,
    task: Option<AbortHandle>,
    /// When the try's request was sent; before, it waits.
    asked: Option<Instant>,
    tries: u32,
    accepted_before: bool,
}

impl Registration {
    /// Registers now; while a request has just been sent, only when that stays unanswered: it may have
    /// been lost with the coordinator that had it.
    pub fn want(&mut self, link: &Link) {
        let age = self.asked.filter(|_| self.task.is_some()).map(|at| at.elapsed());
        match age.and_then(|age| REQUEST_FRESH.checked_sub(age)) {
            Some(left) if !left.is_zero() => link.want_later(self.number, left),
            Some(_) | None => self.begin(link, Duration::ZERO),
        }
    }

    /// Registers on a new connection; what was asked on the old one is void.
    pub fn restart(&mut self, link: &Link) {
        let spread = if self.accepted_before { jittered(RECONNECT_SPREAD) } else { Duration::ZERO };
        self.tries = 0;
        self.begin(link, spread);
    }

    /// Registers again later.
    pub fn again_after(&mut self, link: &Link, delay: Duration) {
        self.tries += 1;
        self.begin(link, delay);
    }

    /// Sends the request of the current try.
    pub fn ask(&mut self, link: &Link, request: Register) {
        self.task = Some(link.register(self.number, request));
        self.asked = Some(Instant::now());
    }

    /// Whether this number is the current try's.
    pub fn is_current(&self, number: u64) -> bool {
        self.task.is_some() && self.number == number
    }

    /// The try succeeded.
    pub fn on_accepted(&mut self) {
        self.task = None;
        self.tries = 0;
        self.accepted_before = true;
    }

    /// Tries without an answer so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    fn begin(&mut self, link: &Link, delay: Duration) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.number += 1;
        self.asked = None;
        self.task = Some(link.register_later(self.number, delay));
    }
}
