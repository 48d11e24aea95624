//! `run`, `submit`, `job ...`, `logs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use windrow_common::api::consumables::ConsumableResourceRequirement;
use windrow_common::api::jobs::{JobDependency, JobStatus};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;

use super::{TagWords, parse_memory, parse_moment, parse_pair, parse_quantity, parse_vcpus};
use crate::submission::parse_dependency;

/// Flags of a submission that `run` and `submit` share.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobWords {
    /// Name of the job. Default: made from the command.
    #[arg(long)]
    pub(crate) name: Option<Name>,
    /// Queue to submit to. Default: `default`.
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Run an array of this many children, told apart by AWS_BATCH_JOB_ARRAY_INDEX.
    #[arg(long, value_name = "SIZE")]
    pub(crate) array: Option<u32>,
    /// Run a multi-node parallel job on this many nodes, all at once; told apart by
    /// AWS_BATCH_JOB_NODE_INDEX, the first one being the main node.
    #[arg(long, value_name = "COUNT", conflicts_with = "array")]
    pub(crate) nodes: Option<u32>,
    /// Most children of the array running at a time.
    #[arg(long, value_name = "CHILDREN")]
    pub(crate) max_parallel: Option<u32>,
    /// Take this much of a consumable resource while running, such as `licence=1`. May be given
    /// more than once.
    #[arg(long, value_parser = parse_quantity, value_name = "NAME=QUANTITY")]
    pub(crate) consumable: Vec<ConsumableResourceRequirement>,
    /// Share of the queue the job counts in; required in a queue with a fair-share policy.
    #[arg(long, value_name = "ID", conflicts_with = "quota_share")]
    pub(crate) share: Option<String>,
    /// Scheduling priority, 0 to 9999: higher goes first in its share. Default: the definition's.
    #[arg(long)]
    pub(crate) priority: Option<u32>,
    /// Quota share, in a queue that has them.
    #[arg(long, value_name = "SHARE")]
    pub(crate) quota_share: Option<String>,
    /// Wait until a job SUCCEEDED: `ID`, `ID:INDEX` of a child, `N_TO_N:ID` (each child for the
    /// child of the same index), `SEQUENTIAL` (each child for the one before it). May be given
    /// more than once.
    #[arg(long, value_parser = parse_dependency, value_name = "DEPENDENCY")]
    pub(crate) depends_on: Vec<JobDependency>,
    /// Wait until a job has ended, SUCCEEDED or FAILED; in the forms of --depends-on.
    #[arg(long, value_parser = parse_dependency, value_name = "DEPENDENCY")]
    pub(crate) after_any: Vec<JobDependency>,
    /// Run only if a job FAILED; in the forms of --depends-on.
    #[arg(long, value_parser = parse_dependency, value_name = "DEPENDENCY")]
    pub(crate) after_failed: Vec<JobDependency>,
    /// Tries in all before the job counts as FAILED.
    #[arg(long)]
    pub(crate) attempts: Option<u32>,
    /// Seconds to wait before the second try; twice as long before each further one.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) backoff: Option<u32>,
    /// Seconds an attempt may run.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout_seconds: Option<u32>,
    #[command(flatten)]
    pub(crate) tags: TagWords,
    #[command(flatten)]
    pub(crate) overrides: OverrideArgs,
}

/// What a job may change of its definition.
#[derive(Clone, Debug, Args)]
pub(crate) struct OverrideArgs {
    /// Container image. Default: none, a plain process on the agent's host.
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Environment variable of the job. May be given more than once.
    #[arg(long, value_parser = parse_pair, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<(String, String)>,
    /// vCPUs an attempt needs, such as `2` or `0.25`.
    #[arg(long, value_parser = parse_vcpus)]
    pub(crate) vcpus: Option<String>,
    /// Memory an attempt needs: MiB, or such as `2GiB`.
    #[arg(long, value_parser = parse_memory)]
    pub(crate) memory: Option<u32>,
    /// Whole GPUs an attempt needs for itself.
    #[arg(long)]
    pub(crate) gpus: Option<u32>,
    /// Directory to run in. Default without an image or definition: the current one.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,
}

/// The command, after `--`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommandLine {
    /// Program and arguments of the job; no shell in between.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) words: JobWords,
    /// Terminate the job on Ctrl-C instead of leaving it to run.
    #[arg(long)]
    pub(crate) cancel_on_interrupt: bool,
    #[command(flatten)]
    pub(crate) command: CommandLine,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// File with a SubmitJob request in AWS Batch's field names: .json, .yaml, .yml or .toml;
    /// `-`: JSON or YAML from standard input. Flags win over the file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Job definition: NAME (its newest active revision) or NAME:REVISION. Default: `adhoc`.
    #[arg(long, value_name = "NAME", conflicts_with = "image")]
    pub(crate) job_definition: Option<String>,
    /// Value for `Ref::KEY` in the definition's command. May be given more than once.
    #[arg(long, value_parser = parse_pair, value_name = "KEY=VALUE")]
    pub(crate) parameter: Vec<(String, String)>,
    /// A second submission with the same key gives the first job. Default: a random key.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Check everything, say where it would go, and submit nothing; exit 3 if it could not start now.
    #[arg(long, conflicts_with_all = ["wait", "progress"])]
    pub(crate) dry_run: bool,
    /// Wait until the job ended; exit 0, 10 (FAILED) or 11 (terminated).
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait, showing progress on standard error.
    #[arg(long)]
    pub(crate) progress: bool,
    #[command(flatten)]
    pub(crate) words: JobWords,
    #[command(flatten)]
    pub(crate) command: CommandLine,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List jobs, newest first; with `--name` or `--definition` grouped by name.
    List(ListArgs),
    /// Show everything about jobs.
    #[command(visible_alias = "describe")]
    Get {
        /// Job ids, `ID:INDEX` of a child, or `ID#INDEX` of a node.
        #[arg(required = true)]
        ids: Vec<JobRef>,
    },
    /// Say why a job does not get on, and what would change it.
    Why {
        /// Job id, `ID:INDEX` of a child, or `ID#NODE`.
        id: JobRef,
    },
    /// Wait until jobs have ended; exit 0, 10 (one FAILED) or 11 (one was terminated).
    Wait {
        /// Job ids, or `ID:INDEX` of a child.
        #[arg(required = true)]
        ids: Vec<JobRef>,
        /// Show progress on standard error.
        #[arg(long)]
        progress: bool,
    },
    /// Cancel jobs that have not started: those named, or all that match.
    Cancel(StopArgs),
    /// Stop jobs, also running ones: those named, or all that match.
    Terminate(StopArgs),
    /// Run an ended job once more, as a new job or in place.
    Rerun(RerunArgs),
    /// Change a job that has not ended.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["max_parallel", "priority"]))]
    Update {
        /// Id of a single job or an array.
        id: JobId,
        /// Most children of the array running at a time; 0: no limit.
        #[arg(long, value_name = "CHILDREN")]
        max_parallel: Option<u32>,
        /// Scheduling priority, 0 to 9999: higher goes first in its share.
        #[arg(long)]
        priority: Option<u32>,
    },
    /// Print a job's output.
    Logs(LogsArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Only of this queue.
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only in this status, or `all`.
    #[arg(long, default_value = "all")]
    pub(crate) status: String,
    /// Only of this name, in any case; `NAME*`: names that begin so.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only of this job definition: NAME (any revision), `NAME*`, or an ARN with its revision.
    #[arg(long, value_name = "NAME")]
    pub(crate) definition: Option<String>,
    /// Only those submitted after this: a time such as `2026-01-31T12:00:00Z`, or an age such as `2h`.
    #[arg(long, value_parser = parse_moment, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only those submitted before this: a time or an age.
    #[arg(long, value_parser = parse_moment, value_name = "TIME")]
    pub(crate) before: Option<Timestamp>,
    /// Only of this share of the queue.
    #[arg(long, value_name = "ID")]
    pub(crate) share: Option<String>,
    /// The oldest first.
    #[arg(long, conflicts_with_all = ["name", "definition", "children"])]
    pub(crate) oldest_first: bool,
    /// The children of this array job.
    #[arg(long, alias = "array", value_name = "ID", conflicts_with_all = ["queue", "name", "definition", "since", "before", "share"])]
    pub(crate) children: Option<String>,
    /// The nodes of this multi-node job.
    #[arg(long, value_name = "ID", conflicts_with_all = ["queue", "name", "definition", "since", "before", "share", "children", "oldest_first"])]
    pub(crate) nodes: Option<String>,
    /// List at most this many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["ids", "queue", "status", "name"])]
pub(crate) struct StopArgs {
    /// Job ids, or `ID:INDEX` of a child.
    #[arg(conflicts_with_all = ["queue", "status", "name"])]
    pub(crate) ids: Vec<JobRef>,
    /// All jobs of this queue that have not ended.
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// All jobs in this status.
    #[arg(long)]
    pub(crate) status: Option<JobStatus>,
    /// All jobs of this name that have not ended, in any case; `NAME*`: of names that begin so.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Becomes the status reason. Default: `Cancelled by user`, `Terminated by user`.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Do not ask before all that match are ended.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Only list what matches.
    #[arg(long, conflicts_with_all = ["ids", "yes"])]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RerunArgs {
    /// Job id; with --in-place also `ID:INDEX` of a child.
    pub(crate) id: JobRef,
    /// Only the children that FAILED: the others count as SUCCEEDED in the new job. Indices and size
    /// of the array stay.
    #[arg(long)]
    pub(crate) failed: bool,
    /// No new job: what FAILED runs again in this one, with all its attempts anew. Jobs that failed
    /// because it had stay FAILED.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// What the new job waits for, as in `submit`; it does not wait again for what the old one did.
    #[arg(long, value_parser = parse_dependency, value_name = "DEPENDENCY", conflicts_with = "in_place")]
    pub(crate) depends_on: Vec<JobDependency>,
    /// A second rerun with the same key does nothing more. Default: a random key.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until the job ended; exit 0, 10 (FAILED) or 11 (terminated).
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// Job id, `ID:INDEX` of a child, or `ID#INDEX` of a node.
    pub(crate) id: JobRef,
    /// Go on until the job has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only this attempt, from 1.
    #[arg(long)]
    pub(crate) attempt: Option<u32>,
    /// Put `[INDEX]` before each line; always so for arrays and multi-node jobs.
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Only this container of a job with several.
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
}
