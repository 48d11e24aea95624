//! One module for each noun; each command returns data.

mod agent;
mod ce;
mod cluster;
mod consumable;
mod deadletter;
mod debug;
mod doctor;
mod events;
mod job;
mod jobdef;
mod key;
mod policy;
mod queue;
mod quota;
mod run;
mod submit;
mod tag;

use std::io::Write;

use clap::CommandFactory;
use windrow_common::api::resources::ResourceState;

use crate::args::{Cli, Command, SubmitArgs};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Outcome};
use crate::up;

pub(crate) use jobdef::ensure_definition;

/// Carries out a command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Up(args) => up::run(context, &args).await,
        Command::Down => up::down(context).await.map(Outcome::from),
        Command::Run(args) => run::run(context, args).await,
        Command::Submit(args) => submit::run(context, args).await,
        Command::Plan(args) => submit::run(context, SubmitArgs { dry_run: true, ..args }).await,
        Command::Job(command) => job::run(context, command).await,
        Command::Logs(args) => job::logs(context, args).await,
        Command::Jobdef(command) => jobdef::run(context, command).await.map(Outcome::from),
        Command::Queue(command) => queue::run(context, command).await.map(Outcome::from),
        Command::Ce(command) => ce::run(context, command).await.map(Outcome::from),
        Command::Policy(command) => policy::run(context, command).await.map(Outcome::from),
        Command::QuotaShare(command) => quota::run(context, command).await.map(Outcome::from),
        Command::Consumable(command) => consumable::run(context, command).await.map(Outcome::from),
        Command::Agent(command) => agent::run(context, command).await.map(Outcome::from),
        Command::Key(command) => key::run(context, command).await.map(Outcome::from),
        Command::Tag(command) => tag::run(context, command).await.map(Outcome::from),
        Command::Events(args) => events::run(context, args).await,
        Command::Deadletter(command) => deadletter::run(context, command).await.map(Outcome::from),
        Command::Cluster(command) => cluster::run(context, command).await.map(Outcome::from),
        Command::Debug(command) => debug::run(context, command).await.map(Outcome::from),
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Completions { shell } => completions(shell),
        Command::Version => Ok(version().into()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "windrow", &mut script);
    script.flush().expect("a vector takes every write");
    crate::output::write_out(&script)?;
    Ok(Outcome::exit(Exit::Done))
}

fn version() -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    let json = serde_json::json!({ "version": version });
    Answer::one(&json, vec![version.to_owned()], format!("windrow {version}\n"))
}

/// Refuses names or ARNs that nothing was found for.
///
/// `kind`: what they name, in words and as the noun of its commands; `known_by`: name and ARN.
fn all_found<T>(
    kind: (&str, &str),
    names: &[String],
    found: &[T],
    known_by: impl Fn(&T) -> [&String; 2],
) -> Result<()> {
    let is_missing = |name: &&String| !found.iter().any(|one| known_by(one).contains(name));
    match names.iter().find(is_missing) {
        None => Ok(()),
        Some(name) => {
            let (what, noun) = kind;
            let failure = Failure::new(Exit::NotFound, format!("{what} `{name}` does not exist"));
            Err(failure.hint(format!("`windrow {noun} list` shows those there are")))
        }
    }
}

/// The state that `--enable` or `--disable` asks for.
fn state(enable: bool, disable: bool) -> Option<ResourceState> {
    match (enable, disable) {
        (true, _) => Some(ResourceState::Enabled),
        (false, true) => Some(ResourceState::Disabled),
        (false, false) => None,
    }
}
