//! `windrow`: operates a cluster and runs jobs on it, over NATS requests only.

mod args;
mod client;
mod commands;
mod context;
mod failure;
mod layout;
mod logs;
mod output;
mod pages;
mod progress;
mod redact;
mod stream;
mod submission;
mod up;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use context::Context;
use failure::Attempt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.global);
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .attempt(|| "start the runtime".to_owned())
        .and_then(|runtime| runtime.block_on(commands::run(&context, cli.command)))
        .and_then(|outcome| match &outcome.answer {
            Some(answer) => context.printer.print(answer).map(|()| outcome.exit),
            None => Ok(outcome.exit),
        });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            context.printer.fail(&failure);
            failure.exit.into()
        }
    }
}
