//! The agent's program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use windrow_agent::keeper;

/// Runs jobs on this host for a Windrow cluster.
#[derive(Debug, Parser)]
#[command(name = "windrow-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
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

fn main() -> ExitCode {
    // Before anything else: these run in the place of a job, many times a second.
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == keeper::ENTER) {
        eprintln!("windrow: {:#}", keeper::enter(raw));
        return ExitCode::from(126);
    }
    let Command::Keeper { directory } = Arguments::parse().command;
    match keeper::run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
