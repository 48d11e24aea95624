//! `windrow up` and `windrow down`: a whole cluster on this machine.
//!
//! `up` starts nats-server, then the coordinator, then creates what a first job needs, then starts the
//! gateway and agents; it restarts what dies, and stops them in the opposite order. It decides nothing about
//! jobs: all state is in NATS' store and the agents' directories below the data directory.

mod background;
mod bootstrap;
mod gateway;
mod host;
pub(crate) mod nats_server;
mod part;
mod port;
mod record;
mod supervisor;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::args::UpArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::layout::{Layout, ProcessId};
use crate::output::{Answer, Outcome};

pub(crate) use supervisor::Ready;

/// Starts a cluster and keeps it running, or leaves that to a process in the background.
pub(crate) async fn run(context: &Context, args: &UpArgs) -> Result<Outcome> {
    let layout = context.layout()?;
    if args.detach {
        let ready = background::start(&layout).await?;
        return Ok(summary(&ready).into());
    }
    if args.background {
        background::leave_session()?;
    }
    layout.create()?;
    let report = |ready: &Ready| match args.background {
        true => {
            background::report(ready);
            Ok(())
        }
        false => context.printer.print(&summary(ready)),
    };
    match supervisor::run(context, args, &layout, report).await {
        Ok(()) => Ok(Outcome::exit(Exit::Done)),
        Err(failure) => {
            if args.background {
                background::report_failure(&failure);
            }
            Err(failure)
        }
    }
}

/// What is running and what to type next.
fn summary(ready: &Ready) -> Answer {
    let Ready { nats_url, gateway_url, data_directory, cluster, agents } = ready;
    let text = format!(
        "Cluster `{cluster}` is up with {agents} agent{}.
  NATS             {nats_url}
  AWS Batch API    {gateway_url}
  data directory   {data_directory}
Try:
  windrow run -- echo hello
  windrow job list
AWS CLI and SDKs use this cluster after
  export AWS_ENDPOINT_URL_BATCH={gateway_url}
Stop it with `windrow down`; jobs are kept.
",
        if *agents == 1 { "" } else { "s" },
    );
    Answer::one(ready, vec![nats_url.clone()], text)
}

/// Stops the cluster of the data directory. Harmless when none runs.
pub(crate) async fn down(context: &Context) -> Result<Answer> {
    let layout = context.layout()?;
    let root = layout.root().display().to_string();
    let supervisor = layout.read_cluster().and_then(|cluster| cluster.supervisor);
    let Some(supervisor) = supervisor.filter(|process| process.is_alive()) else {
        let stopped = stop_orphans(&layout).await;
        let text = format!("no cluster runs in `{root}`\n");
        return Ok(Answer::one(&json!({ "stopped": stopped > 0 }), vec![], text));
    };
    send(supervisor, Signal::SIGTERM);
    if !part::gone(supervisor, supervisor::STOP_LIMIT).await {
        let pid = supervisor.pid;
        let message = format!("stop the cluster in `{root}`: process {pid} is still there");
        return Err(
            Failure::error(message).hint(format!("look into `{}`", layout.log("up").display()))
        );
    }
    let text = format!("the cluster in `{root}` has stopped; its jobs are kept\n");
    Ok(Answer::one(&json!({ "stopped": true }), vec![], text))
}

/// Stops parts whose supervisor died without stopping them; agents first. Answers how many.
async fn stop_orphans(layout: &Layout) -> usize {
    let parts = layout.read_cluster().map(|cluster| cluster.parts).unwrap_or_default();
    let mut stopped = 0;
    // Written in the order of their start.
    for part in parts.iter().rev().filter(|part| part.process.is_alive()) {
        stopped += 1;
        send(part.process, Signal::SIGTERM);
        if !part::gone(part.process, part::stop_limit(&part.name)).await {
            send(part.process, Signal::SIGKILL);
            part::gone(part.process, part::KILL_LIMIT).await;
        }
    }
    stopped
}

/// Signals a process. One that has gone meanwhile is what was wanted.
fn send(process: ProcessId, signal: Signal) {
    if let Ok(pid) = i32::try_from(process.pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
