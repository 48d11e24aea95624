//! `jobdef`, `ce`, `agent`, `deadletter`, `cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::ids::Name;

use super::{CommandLine, OverrideArgs, TagWords, parse_duration, parse_pair};

#[derive(Debug, Subcommand)]
pub(crate) enum JobDefinitionCommand {
    /// Register a definition, or a new revision of one.
    Register(Box<RegisterArgs>),
    /// List definitions.
    List {
        /// Also inactive revisions.
        #[arg(long)]
        all: bool,
    },
    /// Show definitions.
    Get {
        /// NAME (all active revisions) or NAME:REVISION.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Make a revision inactive.
    Deregister {
        /// NAME:REVISION.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Name of the definition.
    pub(crate) name: Option<String>,
    /// File with a RegisterJobDefinition request in AWS Batch's field names: .json, .yaml, .yml or
    /// .toml; `-`: JSON or YAML from standard input. Flags win over the file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: OverrideArgs,
    /// Default for `Ref::KEY` in the command. May be given more than once.
    #[arg(long, value_parser = parse_pair, value_name = "KEY=VALUE")]
    pub(crate) parameter: Vec<(String, String)>,
    /// Tries in all before a job counts as FAILED.
    #[arg(long)]
    pub(crate) attempts: Option<u32>,
    /// Seconds an attempt may run.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout_seconds: Option<u32>,
    /// Scheduling priority of its jobs, 0 to 9999: higher goes first in a share.
    #[arg(long)]
    pub(crate) priority: Option<u32>,
    #[command(flatten)]
    pub(crate) command: CommandLine,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CeCommand {
    /// Create an unmanaged compute environment: agents join it by themselves.
    Create {
        /// Its name.
        name: Name,
        /// Give its agents no work yet.
        #[arg(long)]
        disabled: bool,
        /// vCPUs of which a fair-share policy keeps its reservation. Default: those of its agents.
        #[arg(long, value_name = "VCPUS")]
        unmanaged_vcpus: Option<u32>,
        #[command(flatten)]
        disconnect: DisconnectWords,
        #[command(flatten)]
        tags: TagWords,
    },
    /// List compute environments.
    List,
    /// Show compute environments.
    Get {
        /// Names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Change a compute environment; what no flag names stays.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["enable", "disable", "unmanaged_vcpus", "lost_after", "stop_after", "reconcile",
            "strict", "no_strict"]))]
    Update {
        /// Its name.
        name: String,
        /// Give its agents work.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Give its agents no new work.
        #[arg(long)]
        disable: bool,
        /// vCPUs of which a fair-share policy keeps its reservation.
        #[arg(long, value_name = "VCPUS")]
        unmanaged_vcpus: Option<u32>,
        #[command(flatten)]
        disconnect: DisconnectWords,
    },
    /// Delete a disabled compute environment that no queue names.
    Delete {
        /// Its name.
        name: String,
    },
}

/// What happens when an agent cannot be heard.
#[derive(Debug, Args)]
pub(crate) struct DisconnectWords {
    /// Silence after which an agent's jobs run elsewhere, such as `30s`; `0`: the coordinator's
    /// `lease_ttl`.
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) lost_after: Option<Duration>,
    /// An agent that reaches no coordinator for so long stops its jobs itself; `0`: never.
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) stop_after: Option<Duration>,
    /// Which attempt goes on when an agent comes back after its jobs were given to others.
    #[arg(long, value_enum)]
    pub(crate) reconcile: Option<ReconcileWord>,
    /// Two attempts of a child never run at the same time. Needs `--stop-after` and `--lost-after`.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Take `--strict` back.
    #[arg(long, conflicts_with = "strict")]
    pub(crate) no_strict: bool,
}

/// Which attempt goes on.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReconcileWord {
    /// The first one, unless the child has ended meanwhile.
    KeepOriginal,
    /// The later one.
    KeepReplacement,
}

impl DisconnectWords {
    /// As the API takes it; nothing if no flag is given.
    pub(crate) fn policy(&self) -> Option<DisconnectPolicy> {
        let seconds = |time: Option<Duration>| {
            // Less than a second is not nothing.
            time.map(|time| u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
        };
        let policy = DisconnectPolicy {
            lost_after_seconds: seconds(self.lost_after),
            stop_after_seconds: seconds(self.stop_after),
            reconcile: self.reconcile.map(|word| match word {
                ReconcileWord::KeepOriginal => Reconcile::KeepOriginal,
                ReconcileWord::KeepReplacement => Reconcile::KeepReplacement,
            }),
            strict: (self.strict || self.no_strict).then_some(self.strict),
        };
        (policy != DisconnectPolicy::default()).then_some(policy)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List agents.
    List,
    /// Let an agent finish what it runs and take nothing new.
    Drain {
        /// Its name.
        name: String,
    },
    /// Take a drain back.
    Undrain {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TagCommand {
    /// List the tags of a resource.
    List {
        /// `job/ID`, `queue/NAME`, `ce/NAME`, `jobdef/NAME:REVISION`, `consumable/NAME`,
        /// `policy/NAME`, `quota-share/QUEUE/SHARE`, or an ARN.
        resource: String,
    },
    /// Add tags to a resource, or change their values.
    Set {
        /// As for `list`.
        resource: String,
        /// The tags.
        #[arg(required = true, value_parser = parse_pair, value_name = "KEY=VALUE")]
        tags: Vec<(String, String)>,
    },
    /// Remove tags from a resource.
    Remove {
        /// As for `list`.
        resource: String,
        /// Their keys.
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetterCommand {
    /// List what could not be accepted, oldest first, with the reason.
    List {
        /// Only the newest ones.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the coordinator's view of the cluster.
    Status,
    /// List the alarms: what was lost or does not work, and who has seen to it.
    Alarms,
    /// Say that you have seen to alarms, so that `status` and `doctor` no longer point at them. Who and when
    /// is kept.
    Acknowledge {
        /// Numbers of the alarms, as `windrow cluster alarms` lists them.
        #[arg(required = true, value_name = "ALARM")]
        alarms: Vec<u64>,
        /// What is to be remembered about them.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Who says so. Default: the user's and the host's name.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}
