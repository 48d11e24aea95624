//! `jobdef`, `ce`, `agent`, `deadletter`, `cluster`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use windrow_common::ids::Name;

use super::{CommandLine, OverrideArgs, TagWords, parse_pair};

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
        .args(["enable", "disable", "unmanaged_vcpus"]))]
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
    },
    /// Delete a disabled compute environment that no queue names.
    Delete {
        /// Its name.
        name: String,
    },
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
}
