//! The coordinator's configuration. Defaults are [`DEFAULTS`]; see `windrow_common::config` for how
//! file, environment and flags override them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::config::{Error, HumanDuration, Nats, Sources};
use windrow_common::streams::Retention;

use crate::core::limits::Limits;

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
# Journal messages between two snapshots.
snapshot_every = 20000
# Copies of each stream: 1 on one NATS server, 3 on a cluster of three.
replicas = 1
# Job output and dead letters are removed after this time, or beyond this size (the oldest first).
log_age = "7d"
log_mib = 10240

[nats]
url = "nats://127.0.0.1:4222"
credentials = ""

[limits]
array_size = 1000000
dependencies = 1000
attempts = 100
evaluate_on_exit = 100
# Whether an attempt lost with its host is charged to the job's attempts.
charge_host_losses = false
consumables = 1000000
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
    pub snapshot_every: u64,
    pub replicas: usize,
    pub log_age: HumanDuration,
    pub log_mib: u32,
    pub nats: Nats,
    pub limits: Limits,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Names every problem.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let config: Self = windrow_common::config::load(DEFAULTS, sources)?;
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
        check(
            (1..=5).contains(&self.replicas),
            format!("replicas must be from 1 to 5, got {}", self.replicas),
        );
        check(self.snapshot_every > 0, "snapshot_every must be at least 1".to_owned());
        check(self.log_mib > 0, "log_mib must be at least 1".to_owned());
        check(
            (2..=10_000_000).contains(&self.limits.array_size),
            format!("limits.array_size must be from 2 to 10000000, got {}", self.limits.array_size),
        );
        check(self.limits.attempts > 0, "limits.attempts must be at least 1".to_owned());
        problems
    }

    /// How much the streams may hold.
    pub fn retention(&self) -> Retention {
        Retention {
            replicas: self.replicas,
            log_age: self.log_age.0,
            log_bytes: i64::from(self.log_mib) << 20,
        }
    }
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
    fn all_problems_are_named_at_once() {
        let error = load(&[("lease_ttl", "1s"), ("replicas", "9")]).unwrap_err().to_string();
        assert!(error.contains("lease_ttl") && error.contains("replicas"), "{error}");
    }
}
