//! The agent's program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use windrow_agent::config::Config;
use windrow_agent::{keeper, shell};
use windrow_common::telemetry;

/// Runs jobs on this host for a Windrow cluster.
///
/// Settings come from flags, then environment variables such as `WINDROW_AGENT_NATS__URL`, then the
/// configuration file.
#[derive(Debug, Parser)]
#[command(name = "windrow-agent", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keeps the processes of one agent; started by the agent itself.
    #[command(hide = true)]
    Keeper {
        /// Where its socket, lock and log are.
        #[arg(long)]
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// NATS servers, separated by commas [setting `nats.url`].
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// The cluster's name [setting `cluster`].
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The agent's name; else the one it had, else the host's [setting `name`].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What must survive a restart is here; one directory an agent [setting `state_directory`].
    #[arg(long, value_name = "DIR")]
    state_directory: Option<String>,
    /// The compute environment to join [setting `compute_environment`].
    #[arg(long, value_name = "NAME")]
    compute_environment: Option<String>,
    /// vCPUs for jobs, such as `4` or `0.5`; else the host's [setting `resources.vcpus`].
    #[arg(long, value_name = "NUMBER")]
    vcpus: Option<String>,
    /// MiB of memory for jobs; else the host's less a reserve [setting `resources.memory`].
    #[arg(long, value_name = "MIB")]
    memory: Option<String>,
    /// Any setting, such as `stop_timeout=10s`; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Check the configuration, print what is in effect, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    // Before anything else: these run in the place of a job, many times a second.
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == keeper::LAUNCH) {
        eprintln!("windrow: {:#}", keeper::launch(raw));
        return ExitCode::from(126);
    }
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Keeper { directory }) => keeper::run(&directory),
        None => run(arguments.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let check = arguments.check;
    let file = arguments.config.clone();
    let config = Config::read(file, flags(arguments)?)?;
    if check {
        print!("{}", config.to_toml()?);
        return Ok(());
    }
    telemetry::start(&config.log, config.log_json).map_err(anyhow::Error::msg)?;
    // One thread: the agent shall leave the host to its jobs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(shell::agent::run(config))
}

/// The flags as settings, `--set` first so that a flag of its own wins.
fn flags(arguments: RunArguments) -> anyhow::Result<Vec<(String, String)>> {
    let mut flags = Vec::new();
    for setting in arguments.set {
        let Some((key, value)) = setting.split_once('=') else {
            anyhow::bail!("`--set {setting}` has no value; write `--set KEY=VALUE`");
        };
        flags.push((key.to_owned(), value.to_owned()));
    }
    let own = [
        ("nats.url", arguments.nats_url),
        ("cluster", arguments.cluster),
        ("name", arguments.name),
        ("state_directory", arguments.state_directory),
        ("compute_environment", arguments.compute_environment),
        ("resources.vcpus", arguments.vcpus),
        ("resources.memory", arguments.memory),
    ];
    let given = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    flags.extend(given);
    Ok(flags)
}
