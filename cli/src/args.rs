//! What the user may type, and nothing else: clap's declarations.

mod consumable;
mod job;
mod key;
mod policy;
mod queue;
mod quota;
mod resource;
mod up;

pub(crate) use consumable::{ConsumableCommand, QuantityChange};
pub(crate) use job::{
    CommandLine, JobCommand, JobWords, ListArgs, LogsArgs, OverrideArgs, RerunArgs, RunArgs,
    StopArgs, SubmitArgs,
};
pub(crate) use key::KeyCommand;
pub(crate) use policy::{FairShareWords, PolicyCommand};
pub(crate) use queue::QueueCommand;
pub(crate) use quota::{QuotaShareCommand, QuotaWords};
pub(crate) use resource::{
    AgentCommand, CeCommand, ClusterCommand, DeadLetterCommand, JobDefinitionCommand, RegisterArgs,
    TagCommand,
};
pub(crate) use up::UpArgs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use windrow_common::api::consumables::ConsumableResourceRequirement;
use windrow_common::ids::{JobRef, Name};
use windrow_common::time::{Timestamp, wall_clock};

/// Runs batch jobs on your own machines.
///
/// Exit codes: 0 done (waited jobs SUCCEEDED), 1 error, 2 usage, 3 planned but could not start now, 4 not found, 6 conflict,
/// 7 cluster unreachable or outcome unknown, 10 a waited job FAILED, 11 a waited job was
/// terminated or cancelled, 124 time limit of a wait ran out, 130 interrupted (the job goes on).
#[derive(Debug, Parser)]
#[command(name = "windrow", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// NATS server, such as `nats://10.0.0.5:4222`. Default: the one that `windrow up` started on
    /// the data directory, else nats://127.0.0.1:4222.
    #[arg(
        long,
        global = true,
        env = "WINDROW_NATS_URL",
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub(crate) nats_url: Option<String>,
    /// Cluster: the prefix of its subjects.
    #[arg(
        long,
        global = true,
        env = "WINDROW_CLUSTER",
        default_value = "windrow",
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) cluster: Name,
    /// Where `windrow up` keeps its state. Default: windrow in the user's XDG data directory.
    #[arg(
        long,
        global = true,
        env = "WINDROW_DATA_DIRECTORY",
        value_name = "DIRECTORY",
        help_heading = "Global options"
    )]
    pub(crate) data_directory: Option<PathBuf>,
    /// How to print data.
    #[arg(short, long, global = true, env = "WINDROW_OUTPUT", value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) output: OutputFormat,
    /// Print ids or names only, and no talk.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: ColorChoice,
    /// Time limit such as `30s` or `5m`: of a wait as a whole (default: none), else of one request
    /// (default: 10s).
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
}

/// How data is printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line for each thing listed.
    Jsonl,
    /// Ids or names, one a line.
    Name,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster on this machine and keep it running.
    Up(UpArgs),
    /// Stop the cluster that `windrow up` started; its jobs are kept.
    Down,
    /// Run one command as a job: submit, show its output, exit with its code.
    Run(RunArgs),
    /// Submit a job.
    Submit(SubmitArgs),
    /// Say where a job would go, and submit nothing; the same as `submit --dry-run`.
    Plan(SubmitArgs),
    /// Look at jobs and act on them.
    #[command(subcommand)]
    Job(JobCommand),
    /// Print a job's output; short for `job logs`.
    Logs(LogsArgs),
    /// Job definitions.
    #[command(subcommand)]
    Jobdef(JobDefinitionCommand),
    /// Job queues.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Compute environments.
    #[command(subcommand)]
    Ce(CeCommand),
    /// Consumable resources: counted things that jobs share, such as licences.
    #[command(subcommand)]
    Consumable(ConsumableCommand),
    /// Scheduling policies: how the jobs of a queue share it.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Quota shares: parts of a queue with capacity of their own.
    #[command(subcommand)]
    QuotaShare(QuotaShareCommand),
    /// Agents: the machines that run jobs.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Access keys: who may call the HTTP API, and what each may do.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tags of jobs, job definitions, queues and everything else that has them.
    #[command(subcommand)]
    Tag(TagCommand),
    /// What happened to jobs: every change of state, as CloudEvents records.
    Events(EventsArgs),
    /// Submissions that could not be accepted.
    #[command(subcommand)]
    Deadletter(DeadLetterCommand),
    /// The cluster as a whole.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at everything a cluster depends on, and say what is wrong and what to do.
    Doctor(DoctorArgs),
    /// Help somebody else to find out what is wrong.
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print this program's version.
    Version,
}

/// What is packed.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Pack what `doctor` finds, the cluster's state and the logs of `windrow up` into one file, without
    /// secrets.
    Bundle {
        /// The file to make. Default: `windrow-debug-TIME.tar.gz` in the current directory.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Where to look.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Address of the NATS server's monitoring port, such as `127.0.0.1:8222`: says whether what it
    /// acknowledges is on disk. Not needed for the server of `windrow up`.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) nats_monitor: Option<String>,
    /// Build the coordinator's state once more from snapshot and journal, check it, and compare.
    #[arg(long)]
    pub(crate) audit: bool,
}

/// Which events, and whether to go on.
#[derive(Clone, Debug, Args)]
pub(crate) struct EventsArgs {
    /// Print events as they come, one a line, until interrupted; by default only new ones.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only of this job with its children, or of one child.
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<JobRef>,
    /// Only of the jobs of this queue.
    #[arg(long, value_name = "NAME", conflicts_with = "job")]
    pub(crate) queue: Option<Name>,
    /// Begin with those of this time, such as `2026-01-31T12:00:00Z`, or of this age, such as `2h`.
    /// Default: the oldest kept.
    #[arg(long, value_parser = parse_moment, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
}

/// Tags of what is submitted or created.
#[derive(Clone, Debug, Args)]
pub(crate) struct TagWords {
    /// Tag, for people. May be given more than once.
    #[arg(long, value_parser = parse_pair, value_name = "KEY=VALUE")]
    tag: Vec<(String, String)>,
}

impl TagWords {
    /// By key; of one that is given twice the last value.
    pub(crate) fn map(self) -> BTreeMap<String, String> {
        self.tag.into_iter().collect()
    }
}

/// Reads `30s`, `5m`, `1h 30m`; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text).map_err(|e| format!("use for example `30s` or `5m` ({e})"))
}

/// Reads a point in time: `2026-01-31T12:00:00Z`, or an age such as `2h`.
pub(crate) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = parse_duration(text) {
        return Ok(wall_clock().minus(age));
    }
    text.parse().map_err(|e| {
        format!("use a time such as `2026-01-31T12:00:00Z`, or an age such as `2h` ({e})")
    })
}

/// Reads `KEY=VALUE`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("use KEY=VALUE".to_owned()),
    }
}

/// Reads `NAME=QUANTITY` of a consumable resource.
pub(crate) fn parse_quantity(text: &str) -> Result<ConsumableResourceRequirement, String> {
    let (name, quantity) = parse_pair(text).map_err(|_| "use NAME=QUANTITY".to_owned())?;
    let quantity = quantity.parse().map_err(|_| "the quantity is a whole number".to_owned())?;
    Ok(ConsumableResourceRequirement { consumable_resource: name, quantity })
}

/// Reads an amount of memory in MiB: a bare number counts MiB, `MiB` and `GiB` may follow.
pub(crate) fn parse_memory(text: &str) -> Result<u32, String> {
    let (number, factor) = match (text.strip_suffix("GiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, 1024),
        (None, Some(number)) => (number, 1),
        (None, None) => (text, 1),
    };
    let amount = number.trim().parse::<u32>().ok().and_then(|n| n.checked_mul(factor));
    amount.filter(|mib| *mib > 0).ok_or_else(|| "use MiB, such as `512`, or `2GiB`".to_owned())
}

/// Checks that a text is an amount of vCPUs above zero with at most three decimals, and keeps it
/// as text, which is how the API takes it.
pub(crate) fn parse_vcpus(text: &str) -> Result<String, String> {
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() && decimals <= 3 => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("use a number above 0, such as `1` or `0.25`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn declarations_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn amounts_are_read_with_their_units() {
        assert_eq!(parse_memory("512"), Ok(512));
        assert_eq!(parse_memory("2GiB"), Ok(2048));
        assert_eq!(parse_memory("64 MiB"), Ok(64));
        for bad in ["0", "-1", "2TB", "", "5000000GiB"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_vcpus("0.25"), Ok("0.25".to_owned()));
        for bad in ["0", "-1", "nan", "inf", "0.0001", "x"] {
            assert!(parse_vcpus(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_pair("=x").is_err());
        assert_eq!(parse_moment("1970-01-01T00:00:02Z"), Ok(Timestamp(2_000)));
        assert!(parse_moment("1h").unwrap() < wall_clock());
        assert!(parse_moment("yesterday").is_err());
    }

    #[test]
    fn a_jobs_own_flags_stay_its_own() {
        let cli =
            Cli::try_parse_from(["windrow", "run", "--name", "x", "--", "ls", "-o", "--queue"]);
        let Command::Run(run) = cli.unwrap().command else { panic!("not run") };
        assert_eq!(run.command.words, ["ls", "-o", "--queue"]);
        assert_eq!(run.words.name.unwrap().as_str(), "x");
    }
}
