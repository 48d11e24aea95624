//! The only place that spells subjects. Every subject of a cluster starts with the cluster's prefix.
//!
//! | subject | who publishes | who reads |
//! |---|---|---|
//! | `P.api.OPERATION` | CLI, gateway, scripts (request) | coordinator |
//! | `P.submit.QUEUE` | anyone allowed to submit | coordinator, from stream |
//! | `P.journal` | leading coordinator | coordinators, from stream |
//! | `P.lease.SHARD.CE.AGENT` | coordinator | that agent, from stream |
//! | `P.report.AGENT` | that agent | coordinator, from stream |
//! | `P.log.JOB.CHILD.ATTEMPT` | agents | CLI, gateway, from stream |
//! | `P.dead.SOURCE` | coordinator | operators, from stream |
//! | `P.event.QUEUE.JOB` | coordinator | CLI, users, from stream or as they come |
//! | `P.history.QUEUE.JOB.PIECE.PART` | coordinator | coordinator, from stream |
//! | `P.history.page.TERM.NUMBER.PART` | coordinator | coordinator, from stream |
//! | `P.agent.AGENT.register` | that agent (request) | coordinator |
//! | `P.agent.AGENT.beat` | that agent | coordinator |
//! | `P.agent.AGENT.control` | coordinator | that agent |
//! | `P.standby.NAME` | a coordinator that stands by | the leading one |

use sha2::{Digest, Sha256};

use crate::ids::{JobId, JobRef, Name};

/// Makes and reads the subjects of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: Name,
}

/// An operation or agent message arriving at the coordinator, told by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSubject {
    /// An agent asks to join.
    Register(Name),
    /// An agent's heartbeat.
    Beat(Name),
}

/// Streams that the orders of all agents are spread over, by their names. For each acknowledgement, each new
/// consumer and each purge NATS looks at every consumer of the stream, and each agent has one.
pub const LEASE_SHARDS: u8 = 32;

/// The shard of an agent's orders, below [`LEASE_SHARDS`]: the same for ever, as coordinators of different
/// versions have to agree.
pub fn lease_shard(agent: &Name) -> u8 {
    Sha256::digest(agent.as_str())[0] % LEASE_SHARDS
}

impl Subjects {
    /// The subjects of the cluster whose prefix is `prefix`.
    pub fn new(prefix: Name) -> Self {
        Self { prefix }
    }

    /// The cluster's prefix.
    pub fn prefix(&self) -> &Name {
        &self.prefix
    }

    /// Where the API operation `operation` (a constant of ours, such as `SubmitJob`) is requested.
    pub fn api(&self, operation: &str) -> String {
        format!("{}.api.{operation}", self.prefix)
    }

    /// Every API operation.
    pub fn api_all(&self) -> String {
        format!("{}.api.*", self.prefix)
    }

    /// The operation named by an API subject.
    pub fn parse_api<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.rest(subject)?.strip_prefix("api.")
    }

    /// Where a SubmitJob for `queue` is published to be kept until a coordinator takes it.
    pub fn submit(&self, queue: &Name) -> String {
        format!("{}.submit.{queue}", self.prefix)
    }

    /// Every submission.
    pub fn submit_all(&self) -> String {
        format!("{}.submit.*", self.prefix)
    }

    /// The queue token of a submission subject, not checked to be a name.
    pub fn parse_submit<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.rest(subject)?.strip_prefix("submit.")
    }

    /// The coordinator's journal.
    pub fn journal(&self) -> String {
        format!("{}.journal", self.prefix)
    }

    /// Where a coordinator that stands by says so.
    pub fn standby(&self, name: &Name) -> String {
        format!("{}.standby.{name}", self.prefix)
    }

    /// Every coordinator that stands by.
    pub fn standby_all(&self) -> String {
        format!("{}.standby.*", self.prefix)
    }

    /// The name of a coordinator that stands by.
    pub fn parse_standby<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.rest(subject)?.strip_prefix("standby.")
    }

    /// Orders for one agent.
    pub fn lease(&self, compute_environment: &Name, agent: &Name) -> String {
        format!("{}.lease.{}.{compute_environment}.{agent}", self.prefix, lease_shard(agent))
    }

    /// Orders for all agents of a shard.
    pub fn lease_all(&self, shard: u8) -> String {
        format!("{}.lease.{shard}.*.*", self.prefix)
    }

    /// Reports of one agent.
    pub fn report(&self, agent: &Name) -> String {
        format!("{}.report.{agent}", self.prefix)
    }

    /// Reports of all agents.
    pub fn report_all(&self) -> String {
        format!("{}.report.*", self.prefix)
    }

    /// Output of one attempt. A single job's child token is `0`.
    pub fn log(&self, job: JobRef, attempt: u32) -> String {
        format!("{}.log.{}.{}.{attempt}", self.prefix, job.job, job.child.unwrap_or(0))
    }

    /// Output of every attempt of a job, or of one child of it.
    pub fn log_of(&self, job: JobRef) -> String {
        match job.child {
            Some(child) => format!("{}.log.{}.{child}.*", self.prefix, job.job),
            None => format!("{}.log.{}.*.*", self.prefix, job.job),
        }
    }

    /// All output.
    pub fn log_all(&self) -> String {
        format!("{}.log.*.*.*", self.prefix)
    }

    /// The job, child and attempt of a log subject.
    pub fn parse_log(&self, subject: &str) -> Option<(JobId, u32, u32)> {
        let mut tokens = self.rest(subject)?.strip_prefix("log.")?.split('.');
        let parsed = (
            tokens.next()?.parse().ok()?,
            tokens.next()?.parse().ok()?,
            tokens.next()?.parse().ok()?,
        );
        tokens.next().is_none().then_some(parsed)
    }

    /// What could not be accepted, by where it came from (`submit`, `report`).
    pub fn dead(&self, source: &Name) -> String {
        format!("{}.dead.{source}", self.prefix)
    }

    /// Everything that could not be accepted.
    pub fn dead_all(&self) -> String {
        format!("{}.dead.*", self.prefix)
    }

    /// State changes of one job.
    pub fn event(&self, queue: &Name, job: JobId) -> String {
        format!("{}.event.{queue}.{job}", self.prefix)
    }

    /// State changes of one job, whatever its queue.
    pub fn event_of(&self, job: JobId) -> String {
        format!("{}.event.*.{job}", self.prefix)
    }

    /// State changes of the jobs of a queue.
    pub fn events_of_queue(&self, queue: &Name) -> String {
        format!("{}.event.{queue}.*", self.prefix)
    }

    /// State changes of all jobs.
    pub fn event_all(&self) -> String {
        format!("{}.event.*.*", self.prefix)
    }

    /// Records of a finished job's children: one part of one piece.
    pub fn history(&self, queue: &Name, job: JobId, piece: u32, part: u32) -> String {
        format!("{}.history.{queue}.{job}.{piece}.{part}", self.prefix)
    }

    /// One part of a page of finished jobs. Differs from [`Self::history`] in that no job's id is a
    /// number.
    pub fn history_page(&self, term: u64, number: u64, part: u32) -> String {
        format!("{}.history.page.{term}.{number}.{part}", self.prefix)
    }

    /// The whole history.
    pub fn history_all(&self) -> String {
        format!("{}.history.*.*.*.*", self.prefix)
    }

    /// Where an agent asks to join.
    pub fn register(&self, agent: &Name) -> String {
        format!("{}.agent.{agent}.register", self.prefix)
    }

    /// An agent's heartbeats.
    pub fn beat(&self, agent: &Name) -> String {
        format!("{}.agent.{agent}.beat", self.prefix)
    }

    /// Unordered, unkept hints to an agent.
    pub fn control(&self, agent: &Name) -> String {
        format!("{}.agent.{agent}.control", self.prefix)
    }

    /// What agents send outside streams, each under one wildcard: (register, beat).
    pub fn agents_all(&self) -> (String, String) {
        (format!("{}.agent.*.register", self.prefix), format!("{}.agent.*.beat", self.prefix))
    }

    /// What an agent sent, by its subject.
    pub fn parse_agent(&self, subject: &str) -> Option<AgentSubject> {
        let (agent, what) = self.rest(subject)?.strip_prefix("agent.")?.split_once('.')?;
        let agent = agent.parse().ok()?;
        match what {
            "register" => Some(AgentSubject::Register(agent)),
            "beat" => Some(AgentSubject::Beat(agent)),
            _ => None,
        }
    }

    fn rest<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_subjects_are_read_back() {
        let subjects = Subjects::new("wr".parse().unwrap());
        let job = JobId::from_u128(5);
        let agent: Name = "host-1".parse().unwrap();
        assert_eq!(subjects.parse_api(&subjects.api("SubmitJob")), Some("SubmitJob"));
        assert_eq!(subjects.parse_submit(&subjects.submit(&agent)), Some("host-1"));
        let child = JobRef::child(job, 3);
        assert_eq!(subjects.parse_log(&subjects.log(child, 2)), Some((job, 3, 2)));
        assert_eq!(subjects.parse_log(&subjects.log(job.into(), 1)), Some((job, 0, 1)));
        assert_eq!(
            subjects.parse_agent(&subjects.register(&agent)),
            Some(AgentSubject::Register(agent.clone()))
        );
        assert_eq!(subjects.parse_agent(&subjects.beat(&agent)), Some(AgentSubject::Beat(agent)));
        assert_eq!(subjects.parse_api("other.api.SubmitJob"), None);
        assert_eq!(subjects.parse_log("wr.log.x.1.1"), None);
    }

    #[test]
    fn agents_are_spread_over_the_shards_and_stay_where_they_are() {
        let shard = |name: &str| lease_shard(&name.parse().unwrap());
        assert_eq!((shard("agent-1"), shard("agent-2")), (15, 3), "agents would look elsewhere");
        let mut agents = [0_u32; LEASE_SHARDS as usize];
        for number in 0..3_200 {
            agents[usize::from(shard(&format!("ip-10-0-{}-{}", number / 256, number % 256)))] += 1;
        }
        assert!(agents.iter().all(|count| (70..=130).contains(count)), "{agents:?}");
    }
}
