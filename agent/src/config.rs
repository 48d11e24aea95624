//! The agent's configuration, as `windrow-agent --check` prints it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::config::{Error, HumanDuration, Nats, Sources, load};
use windrow_common::ids::Name;
use windrow_common::units::MilliCpu;

use crate::executor::process::CgroupMode;

/// Prefix of environment variables: `WINDROW_AGENT_NATS__URL` is `nats.url`.
pub const ENVIRONMENT_PREFIX: &str = "WINDROW_AGENT";

const DEFAULTS: &str = r#"
state_directory = "/var/lib/windrow/agent"
compute_environment = "default"
on_stop = "stop-jobs"
stop_timeout = "30s"
backlog_limit = "2s"
cluster = "windrow"
log = "info,async_nats=warn"

[nats]
url = "nats://127.0.0.1:4222"

[resources]
memory_reserve = 256
disk_reserve = 128
gpu_program = "nvidia-smi"

[process]
enabled = true

[docker]
enabled = "auto"
socket = "/var/run/docker.sock"
network = "bridge"
starts_max = 8

[logs]
rate = 1048576
burst = 8388608
size = 67108864
"#;

/// What happens to running jobs when the agent is stopped by SIGTERM or SIGINT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// They are stopped, and run elsewhere without being charged an attempt.
    StopJobs,
    /// They run on, and the next agent in this state directory takes them over.
    LeaveJobs,
}

/// Whether something optional is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// When it works here.
    Auto,
    /// Always; the agent does not start without it.
    On,
    /// Never.
    Off,
}

/// Everything an agent can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The agent's name in the cluster; absent: the one it had before, or else the host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Where the agent keeps what must survive a restart. One directory an agent.
    pub state_directory: PathBuf,
    /// The compute environment to join; an operator creates it before.
    pub compute_environment: Name,
    /// IPv4 address at which other hosts reach this one, for the nodes of multi-node jobs; absent: that
    /// of the network interface by which NATS is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// What becomes of running jobs when the agent is stopped: `stop-jobs` or `leave-jobs`.
    pub on_stop: OnStop,
    /// Time between SIGTERM and SIGKILL when a job is stopped.
    pub stop_timeout: HumanDuration,
    /// How long a child may wait here for others to end before it is handed back.
    pub backlog_limit: HumanDuration,
    /// The cluster: first token of every subject.
    pub cluster: Name,
    /// Log filter, such as `info` or `info,windrow_agent=debug`.
    pub log: String,
    /// Whether the log is written as JSON lines.
    #[serde(default)]
    pub log_json: bool,
    /// How to reach NATS.
    pub nats: Nats,
    /// What jobs may use of this host.
    pub resources: ResourcesConfig,
    /// Jobs as plain processes.
    pub process: ProcessSection,
    /// Jobs as Docker containers.
    pub docker: DockerSection,
    /// Limits on each attempt's output.
    pub logs: LogsConfig,
}

/// What jobs may use of this host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesConfig {
    /// Cores, such as `4` or `0.5`; absent: all of the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<Vcpus>,
    /// Memory in MiB; absent: the host's less the reserve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Memory in MiB that is left to the system when `memory` is absent.
    pub memory_reserve: u32,
    /// Room in MiB on the disk of the state directory below which nothing is started.
    pub disk_reserve: u32,
    /// GPUs that jobs may use, by index or id (`["0", "GPU-8a5f..."]`); `[]`: none; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<String>>,
    /// The program that lists GPUs.
    pub gpu_program: PathBuf,
}

/// Plain processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSection {
    /// Whether jobs without an image run as processes of this host.
    pub enabled: bool,
    /// Whether each gets a control group: `on` (needs root) or `off`.
    #[serde(default)]
    pub cgroup: CgroupMode,
}

/// Docker containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerSection {
    /// `auto`: when an engine answers at start; `on`: it must; `off`.
    pub enabled: Switch,
    /// The engine's socket.
    pub socket: PathBuf,
    /// Network of the containers: `bridge`, `host`, `none`, or a network's name.
    pub network: String,
    /// Containers created or removed at the same time.
    pub starts_max: usize,
}

/// Limits on each attempt's output, in bytes. What is beyond is left out and counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogsConfig {
    /// Sustained rate a second.
    pub rate: u64,
    /// What may come at once.
    pub burst: u64,
    /// All output of an attempt.
    pub size: u64,
}

/// Cores as people write them: `4`, `0.5`, `1.25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpus(pub MilliCpu);

impl std::str::FromStr for Vcpus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a number of vCPUs such as `4` or `0.5`");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || !(1..=3).contains(&fraction.len()) {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
        let sum = whole.checked_mul(1000).and_then(|milli| milli.checked_add(thousandths));
        sum.map(|milli| Self(MilliCpu(milli))).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Vcpus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Vcpus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Config {
    /// Reads it from file, environment and flags (as key and value), and checks it.
    pub fn read(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Result<Self, Error> {
        let environment_prefix = ENVIRONMENT_PREFIX;
        let config: Self = load(&[DEFAULTS], &Sources { file, environment_prefix, flags })?;
        config.validate()?;
        Ok(config)
    }

    /// The effective settings as a configuration file would have them. Nothing in it is secret:
    /// credentials are named by their file.
    ///
    /// # Errors
    /// None in practice; every setting has a TOML form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// Names everything that cannot work, all at once.
    pub fn validate(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: &str| {
            if !good {
                problems.push(problem.to_owned());
            }
        };
        check(!self.nats.url.trim().is_empty(), "`nats.url` is empty; give at least one server");
        check(
            !self.state_directory.as_os_str().is_empty(),
            "`state_directory` is empty; name a directory",
        );
        check(
            self.resources.vcpus.is_none_or(|vcpus| vcpus.0 != MilliCpu(0)),
            "`resources.vcpus` is `0`; no job could run",
        );
        check(self.resources.memory != Some(0), "`resources.memory` is `0`; no job could run");
        check(
            self.process.enabled || self.docker.enabled != Switch::Off,
            "`process.enabled` and `docker.enabled` are both off; no job could run",
        );
        check(
            self.stop_timeout.0 <= Duration::from_secs(3600),
            "`stop_timeout` is more than `1h`; choose less",
        );
        check(
            self.backlog_limit.0 >= Duration::from_millis(100),
            "`backlog_limit` is less than `100ms`; choose more",
        );
        check(self.logs.burst > 0, "`logs.burst` is `0`; nothing could be shipped");
        if problems.is_empty() { Ok(()) } else { Err(Error(problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&str, &str)]) -> Result<Config, Error> {
        let own = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Config::read(None, flags.iter().map(own).collect())
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = read(&[]).unwrap();
        assert_eq!(config.on_stop, OnStop::StopJobs);
        assert_eq!(config.stop_timeout.0, Duration::from_secs(30));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let flags = [("nats.url", ""), ("resources.vcpus", "0"), ("backlog_limit", "1ms")];
        let error = read(&flags).unwrap_err();
        assert_eq!(error.0.len(), 3, "{error}");
        assert!(read(&[("nonsense", "1")]).unwrap_err().to_string().contains("nonsense"));
        assert!(read(&[("name", "a.b")]).unwrap_err().to_string().contains("a.b"));
        assert!(read(&[("resources.vcpus", "many")]).unwrap_err().to_string().contains("many"));
    }

    #[test]
    fn vcpus_are_decimal() {
        let of = |text: &str| text.parse::<Vcpus>().map(|vcpus| vcpus.0.0);
        assert_eq!(of("4"), Ok(4000));
        assert_eq!(of("0.25"), Ok(250));
        assert_eq!(of("1.5"), Ok(1500));
        for bad in ["", "-1", "1.", "1e3", "0.0001", "99999999"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let config = read(&[("resources.vcpus", "0.5")]).unwrap();
        assert_eq!(config.resources.vcpus, Some(Vcpus(MilliCpu(500))));
    }
}
