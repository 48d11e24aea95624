//! Settings of every stream, consumer and bucket, in one place. The coordinator creates them; nobody else
//! manages streams.

use std::time::Duration;

use async_nats::jetstream::{consumer, kv, object_store, stream};

use crate::ids::Name;
use crate::subjects::{self, LEASE_SHARDS, Subjects};

/// Header of a submission: where to publish the answer (SubmitJob's response or error, JSON).
///
/// A header because JetStream uses the message's own reply subject for its acknowledgement and does
/// not keep it.
pub const HEADER_REPLY_TO: &str = "Windrow-Reply-To";
/// Header of an API answer: the error's code; absent on success.
pub const HEADER_ERROR: &str = "Windrow-Error";
/// Header of a dead letter: why it could not be accepted.
pub const HEADER_REASON: &str = "Windrow-Reason";
/// Header of a dead letter: the subject it was published to.
pub const HEADER_SUBJECT: &str = "Windrow-Subject";
/// Header of a log chunk: the offset of its first byte in the attempt's output.
pub const HEADER_OFFSET: &str = "Windrow-Offset";
/// Header of a log chunk: bytes left out just before it, by the rate or size limit.
pub const HEADER_DROPPED: &str = "Windrow-Dropped";

/// Largest API request or submission taken, in bytes. Well below NATS' default `max_payload` of
/// 1 MiB, as the journal message holds what is made of it, which is larger.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Largest journal, order, report or log message we send, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 900 * 1024;
/// What all orders, and all reports, may take of the servers' memory, in bytes.
const MEMORY_BYTES_MAX: i64 = 512 << 20;

/// Names and settings of one cluster's streams.
#[derive(Clone, Debug)]
pub struct Streams {
    subjects: Subjects,
}

/// How much the streams may hold; the rest of their settings is fixed.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Copies of each stream.
    pub replicas: usize,
    /// Age after which job output is removed.
    pub log_age: Duration,
    /// Size of all kept job output, in bytes; the oldest goes first.
    pub log_bytes: i64,
    /// Age after which events are removed.
    pub event_age: Duration,
    /// Size of all kept events, in bytes; the oldest go first.
    pub event_bytes: i64,
    /// Age after which records of finished jobs are removed.
    pub history_age: Duration,
    /// Size of all records of finished jobs, in bytes; the oldest go first.
    pub history_bytes: i64,
    /// Size of all submissions that no coordinator has taken yet, in bytes; more are refused.
    pub submit_bytes: i64,
}

impl Streams {
    /// The streams of the cluster with these subjects.
    pub fn new(subjects: Subjects) -> Self {
        Self { subjects }
    }

    fn name(&self, what: &str) -> String {
        format!("{}_{what}", self.subjects.prefix()).to_uppercase()
    }

    /// Submissions: kept on disk until the coordinator has journalled them.
    pub fn submissions(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            retention: stream::RetentionPolicy::WorkQueue,
            discard: stream::DiscardPolicy::New,
            max_bytes: retention.submit_bytes,
            max_message_size: i32::try_from(REQUEST_BYTES_MAX).expect("small"),
            ..self.file("submit", self.subjects.submit_all(), retention)
        }
    }

    /// The journal: one writer, never discards by itself; trimmed behind snapshots.
    pub fn journal(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            discard: stream::DiscardPolicy::New,
            // Message ids are not used on it: the expected sequence fences.
            duplicate_window: Duration::from_millis(100),
            ..self.file("journal", self.subjects.journal(), retention)
        }
    }

    /// Orders to agents, by shard: in memory, rebuilt from the journal whenever lost.
    pub fn leases(&self, retention: &Retention) -> Vec<stream::Config> {
        let shard = |shard| stream::Config {
            retention: stream::RetentionPolicy::WorkQueue,
            // One an agent. Since 2.15 a server allows 1,000 unless the stream says more.
            max_consumers: 100_000,
            max_bytes: MEMORY_BYTES_MAX / i64::from(LEASE_SHARDS),
            name: self.lease_shard(shard),
            ..self.memory("lease", self.subjects.lease_all(shard), retention)
        };
        (0..LEASE_SHARDS).map(shard).collect()
    }

    /// The name of the stream with an agent's orders.
    pub fn lease_stream(&self, agent: &Name) -> String {
        self.lease_shard(subjects::lease_shard(agent))
    }

    fn lease_shard(&self, shard: u8) -> String {
        self.name(&format!("lease_{shard}"))
    }

    /// Reports of agents: in memory, as agents keep each until it is confirmed.
    pub fn reports(&self, retention: &Retention) -> stream::Config {
        self.memory("report", self.subjects.report_all(), retention)
    }

    /// Output of jobs.
    pub fn logs(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            max_age: retention.log_age,
            max_bytes: retention.log_bytes,
            ..self.file("log", self.subjects.log_all(), retention)
        }
    }

    /// What happened to jobs. Its messages name the last sequence they expect, which fences a second
    /// writer and leaves no gap; the duplicate window is not needed.
    pub fn events(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            max_age: retention.event_age,
            max_bytes: retention.event_bytes,
            duplicate_window: Duration::from_millis(100),
            ..self.file("event", self.subjects.event_all(), retention)
        }
    }

    /// Records of finished jobs. A record that is stored again replaces itself.
    pub fn history(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            max_age: retention.history_age,
            max_bytes: retention.history_bytes,
            max_messages_per_subject: 1,
            duplicate_window: Duration::from_millis(100),
            ..self.file("history", self.subjects.history_all(), retention)
        }
    }

    /// What could not be accepted.
    pub fn dead_letters(&self, retention: &Retention) -> stream::Config {
        stream::Config {
            max_age: retention.log_age,
            max_bytes: 256 << 20,
            ..self.file("dead", self.subjects.dead_all(), retention)
        }
    }

    /// All of them.
    pub fn all(&self, retention: &Retention) -> Vec<stream::Config> {
        let others = [
            self.submissions(retention),
            self.journal(retention),
            self.reports(retention),
            self.logs(retention),
            self.events(retention),
            self.history(retention),
            self.dead_letters(retention),
        ];
        others.into_iter().chain(self.leases(retention)).collect()
    }

    /// Name of the bucket of snapshots.
    pub fn snapshots_bucket(&self) -> String {
        self.name("snapshots")
    }

    /// The bucket of snapshots.
    pub fn snapshots(&self, retention: &Retention) -> object_store::Config {
        object_store::Config {
            bucket: self.snapshots_bucket(),
            num_replicas: retention.replicas,
            ..Default::default()
        }
    }

    /// The bucket of the coordinators' election. In memory, so that it works when disks are full; it is
    /// rebuilt whenever lost.
    pub fn leader(&self, retention: &Retention) -> kv::Config {
        kv::Config {
            bucket: self.name("leader"),
            history: 1,
            storage: stream::StorageType::Memory,
            num_replicas: retention.replicas,
            ..Default::default()
        }
    }

    /// The coordinator's reader of submissions: acknowledged one by one after journalling.
    pub fn submissions_consumer(&self) -> consumer::pull::Config {
        consumer::pull::Config {
            durable_name: Some("coordinator".to_owned()),
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 4096,
            ..Default::default()
        }
    }

    /// A coordinator's reader of reports: from the oldest kept on, nothing acknowledged.
    pub fn reports_consumer(&self) -> consumer::pull::Config {
        consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            deliver_policy: consumer::DeliverPolicy::All,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(60),
            ..Default::default()
        }
    }

    /// One session's reader of an agent's orders.
    pub fn lease_consumer(
        &self,
        environment: &Name,
        agent: &Name,
        session: u64,
    ) -> consumer::pull::Config {
        consumer::pull::Config {
            durable_name: Some(format!("{agent}-{session}")),
            filter_subject: self.subjects.lease(environment, agent),
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1024,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(300),
            ..Default::default()
        }
    }

    fn file(&self, what: &str, subject: String, retention: &Retention) -> stream::Config {
        stream::Config {
            name: self.name(what),
            subjects: vec![subject],
            storage: stream::StorageType::File,
            num_replicas: retention.replicas,
            allow_direct: true,
            ..Default::default()
        }
    }

    fn memory(&self, what: &str, subject: String, retention: &Retention) -> stream::Config {
        stream::Config {
            name: self.name(what),
            subjects: vec![subject],
            storage: stream::StorageType::Memory,
            // Rebuilt when lost, but out of use while the only server that has it is away.
            num_replicas: retention.replicas,
            // Unread messages older than this belong to agents or coordinators that are gone.
            max_age: Duration::from_secs(3600),
            max_bytes: MEMORY_BYTES_MAX,
            // What is full refuses: agents repeat reports, and ask for leases that do not come.
            discard: stream::DiscardPolicy::New,
            duplicate_window: Duration::from_millis(100),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults 19 and 20.
    #[test]
    fn no_stream_grows_without_end_but_the_journal_which_is_trimmed() {
        let streams = Streams::new(Subjects::new("c".parse().unwrap()));
        let retention = Retention {
            replicas: 1,
            log_age: Duration::from_secs(1),
            log_bytes: 1,
            event_age: Duration::from_secs(1),
            event_bytes: 1,
            history_age: Duration::from_secs(1),
            history_bytes: 1,
            submit_bytes: 1,
        };
        let refusing = [streams.submissions(&retention), streams.reports(&retention)];
        for stream in streams.leases(&retention).into_iter().chain(refusing) {
            assert_eq!(stream.discard, stream::DiscardPolicy::New, "{}", stream.name);
            assert!(stream.max_bytes > 0, "{}", stream.name);
        }
        let ageing = [
            streams.logs(&retention),
            streams.events(&retention),
            streams.history(&retention),
            streams.dead_letters(&retention),
        ];
        for stream in ageing {
            assert_eq!(stream.discard, stream::DiscardPolicy::Old, "{}", stream.name);
            assert!(stream.max_bytes > 0 && stream.max_age > Duration::ZERO, "{}", stream.name);
        }
        let journal = streams.journal(&retention);
        assert_eq!((journal.discard, journal.max_bytes), (stream::DiscardPolicy::New, 0));
    }
}
