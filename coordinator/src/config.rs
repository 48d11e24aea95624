//! The coordinator's configuration. Defaults are [`DEFAULTS`]; see `windrow_common::config` for how
//! file, environment and flags override them.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::access::ClusterKeys;
use windrow_common::config::{Error, HumanDuration, Nats, Sources};
use windrow_common::streams::Retention;

use crate::core::limits::{Limits, Preset};

/// Every setting with its default.
pub const DEFAULTS: &str = r#"
cluster = "windrow"
log = "info"
log_json = false
# How long an agent may go unheard before what it runs is given to others.
lease_ttl = "30s"
# How often agents send a heartbeat, and at the latest hear that their reports are journalled;
# at most a third of lease_ttl.
heartbeat = "2s"
# How long the leading coordinator may go without renewing its lease before a standby takes over.
leader_lease = "3s"
# Journal messages between two snapshots.
snapshot_every = 20000
# Copies of each stream: 1 on one NATS server, 3 on a cluster of three.
replicas = 1
# Job output and dead letters are removed after this time, or beyond this size (the oldest first).
log_age = "7d"
log_mib = 10240
# Events are removed after this time, or beyond this size (the oldest first).
event_age = "2d"
event_mib = 1024
# How long a finished job keeps its children's records in memory, before they go to the history store.
finished_in_memory = "5m"
# How many finished jobs stay in memory (about 1 KiB each); older ones are in the history store alone,
# where they are described, listed and run again from, only more slowly.
finished_jobs = 100000
# How many idempotency keys of those older jobs stay in memory (about 60 bytes each).
finished_keys = 1000000
# Finished jobs are known for this time; they and their records are removed then, or beyond this size
# (the oldest first).
history_age = "7d"
history_mib = 4096
# Published submissions that wait for a coordinator; beyond this size the server refuses more.
submit_mib = 1024
# File of the cluster key, from which the secrets of access keys are made (`windrow key init`); the same
# file on all hosts of coordinators and gateways. Empty: no access keys can be made.
cluster_key_file = ""

[nats]
url = "nats://127.0.0.1:4222"
credentials = ""

# How large requests may be, and how much there may be of things. With preset = "aws" what is not
# set is as in AWS Batch: arrays of 10000, 20 dependencies, 10 attempts, ...
[limits]
preset = "windrow"
array_size = 1000000
dependencies = 1000
attempts = 100
evaluate_on_exit = 100
nodes = 1000
node_groups = 100
# Whether an attempt lost with its host is charged to the job's attempts.
charge_host_losses = false
bulk_jobs = 1000
consumables = 1000000
quota_shares_per_queue = 1000
submit_kib = 256
definition_kib = 256
containers = 100
timeout_seconds_min = 1
queues = 10000
environments = 10000
environments_per_queue = 100
policies = 10000
active_shares = 10000
state_limit_seconds_min = 1
state_limit_seconds_max = 31536000
# Least lostAfterSeconds and stopAfterSeconds of a compute environment: at least three heartbeats.
silence_seconds_min = 15
# Access keys of the HTTP API.
access_keys = 10000
service_environments = 10000
# Service jobs that are known; when there are as many, the first that ended makes room.
service_jobs = 10000
"#;

/// The settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub cluster: windrow_common::ids::Name,
    pub log: String,
    pub log_json: bool,
    pub lease_ttl: HumanDuration,
    pub heartbeat: HumanDuration,
    pub leader_lease: HumanDuration,
    pub snapshot_every: u64,
    pub replicas: usize,
    pub log_age: HumanDuration,
    pub log_mib: u32,
    pub event_age: HumanDuration,
    pub event_mib: u32,
    pub finished_in_memory: HumanDuration,
    pub finished_jobs: usize,
    pub finished_keys: u64,
    pub history_age: HumanDuration,
    pub history_mib: u32,
    pub submit_mib: u32,
    pub cluster_key_file: String,
    pub nats: Nats,
    pub limits: Limits,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Names every problem.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let mut config: Self = windrow_common::config::load(&[DEFAULTS], sources)?;
        if config.limits.preset == Preset::Aws {
            config = windrow_common::config::load(&[DEFAULTS, &aws_limits()], sources)?;
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(Error(problems)) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let (ttl, beat) = (self.lease_ttl.0, self.heartbeat.0);
        check(
            (Duration::from_millis(100)..=Duration::from_secs(5)).contains(&beat),
            format!("heartbeat must be from 100ms to 5s, got {}", humantime(beat)),
        );
        check(
            ttl >= beat * 3,
            format!(
                "lease_ttl ({}) must be at least three times heartbeat ({})",
                humantime(ttl),
                humantime(beat)
            ),
        );
        let silence = Duration::from_secs(self.limits.silence_seconds_min.into());
        check(
            silence >= beat * 3,
            format!(
                "limits.silence_seconds_min ({}) must be at least three times heartbeat ({})",
                humantime(silence),
                humantime(beat)
            ),
        );
        let lease = self.leader_lease.0;
        check(
            (Duration::from_millis(500)..=Duration::from_secs(60)).contains(&lease),
            format!("leader_lease must be from 500ms to 1m, got {}", humantime(lease)),
        );
        check(
            (1..=5).contains(&self.replicas),
            format!("replicas must be from 1 to 5, got {}", self.replicas),
        );
        check(self.snapshot_every > 0, "snapshot_every must be at least 1".to_owned());
        check(self.log_mib > 0, "log_mib must be at least 1".to_owned());
        check(self.event_mib > 0, "event_mib must be at least 1".to_owned());
        check(self.history_mib > 0, "history_mib must be at least 1".to_owned());
        let (keep, known) = (self.finished_in_memory.0, self.history_age.0);
        check(
            keep <= known,
            format!(
                "history_age ({}) must be at least finished_in_memory ({})",
                humantime(known),
                humantime(keep)
            ),
        );
        check(
            (2..=10_000_000).contains(&self.limits.array_size),
            format!("limits.array_size must be from 2 to 10000000, got {}", self.limits.array_size),
        );
        check(self.limits.attempts > 0, "limits.attempts must be at least 1".to_owned());
        check(self.limits.containers > 0, "limits.containers must be at least 1".to_owned());
        problems.extend(self.cluster_keys().err().map(|e| format!("cluster_key_file: {e}")));
        problems
    }

    /// Reads the cluster key file, if one is set.
    ///
    /// # Errors
    /// It cannot be read, or is not one.
    pub fn cluster_keys(&self) -> Result<Option<ClusterKeys>, String> {
        let path = Some(&self.cluster_key_file).filter(|path| !path.is_empty());
        path.map(|path| ClusterKeys::load(Path::new(path))).transpose()
    }

    /// How much the streams may hold.
    pub fn retention(&self) -> Retention {
        Retention {
            replicas: self.replicas,
            log_age: self.log_age.0,
            log_bytes: i64::from(self.log_mib) << 20,
            event_age: self.event_age.0,
            event_bytes: i64::from(self.event_mib) << 20,
            history_age: self.history_age.0,
            history_bytes: i64::from(self.history_mib) << 20,
            submit_bytes: i64::from(self.submit_mib) << 20,
        }
    }
}

/// AWS's limits, as a layer over the defaults.
fn aws_limits() -> String {
    let limits = toml::to_string(&Limits::aws()).expect("numbers and a word");
    format!("[limits]\n{limits}")
}

fn humantime(duration: Duration) -> String {
    format!("{duration:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Config, Error> {
        let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(&Sources { file: None, environment_prefix: "WINDROW_TEST_NONE", flags })
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(load(&[]).is_ok());
    }

    #[test]
    fn the_defaults_of_the_limits_are_those_of_the_core() {
        let config = load(&[]).unwrap();
        assert_eq!(config.limits, Limits::default());
        let shown = toml::to_string(&Limits::default()).unwrap();
        for line in shown.lines() {
            assert!(DEFAULTS.contains(line), "DEFAULTS lacks `{line}`");
        }
    }

    #[test]
    fn aws_limits_are_one_setting_and_single_ones_still_win() {
        assert_eq!(load(&[("limits.preset", "aws")]).unwrap().limits, Limits::aws());
        let mixed = [("limits.preset", "aws"), ("limits.dependencies", "100")];
        let limits = load(&mixed).unwrap().limits;
        assert_eq!((limits.dependencies, limits.array_size), (100, 10_000));
        assert!(load(&[("limits.preset", "azure")]).unwrap_err().to_string().contains("preset"));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let error = load(&[("lease_ttl", "1s"), ("replicas", "9")]).unwrap_err().to_string();
        assert!(error.contains("lease_ttl") && error.contains("replicas"), "{error}");
        let error = load(&[("cluster_key_file", "/no/such")]).unwrap_err().to_string();
        assert!(error.contains("cluster_key_file") && error.contains("/no/such"), "{error}");
    }
}
