//! The command line of `windrow-sim`.

use std::process::ExitCode;

use clap::Parser;

use crate::runner::{self, Options};

/// Simulates whole clusters, each from a seed, and judges what happens.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop after so many seconds, if the seeds last longer.
    #[arg(long)]
    seconds: Option<u64>,
    /// Run this one alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With `--seed`: print everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// The run with 1,000 kills of the coordinator.
    #[arg(long)]
    kills: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A deliberate bug to switch on, or `all` for one after the other: each must be found.
    #[cfg(feature = "sabotage")]
    #[arg(long)]
    sabotage: Option<String>,
}

/// Does what the arguments say.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        from: arguments.from,
        seeds: arguments.seeds,
        seconds: arguments.seconds,
        threads: arguments.threads.max(1),
    };
    #[cfg(feature = "sabotage")]
    if let Some(bug) = &arguments.sabotage {
        return code(runner::sabotage(&options, bug));
    }
    let is_good = match arguments.seed {
        Some(seed) => runner::one(seed, arguments.trace),
        None if arguments.kills => runner::kills(arguments.from),
        None => runner::many(&options),
    };
    code(is_good)
}

fn code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
