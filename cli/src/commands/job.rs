//! `windrow job ...` and `windrow logs`.

mod list;
mod rerun;
mod show;
mod stop;
mod why;

use tokio::sync::watch;
use windrow_common::api::jobs::DescribeJobsResponse;
use windrow_common::ids::JobRef;

use crate::args::{JobCommand, LogsArgs};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::logs::{self as job_logs, Selection};
use crate::output::{Answer, Outcome, View};
use crate::wait::{self, Watcher, describe, limit};

pub(super) async fn run(context: &Context, command: JobCommand) -> Result<Outcome> {
    match command {
        JobCommand::List(args) => list::run(context, args).await,
        JobCommand::Get { ids } => {
            let client = context.client().await?;
            let jobs = describe(&client, &ids).await?;
            let mut texts = Vec::with_capacity(jobs.len());
            for (id, job) in ids.iter().zip(&jobs) {
                let nodes = job_logs::parts(*id, job).filter(|_| job.node_properties.is_some());
                let nodes: Vec<JobRef> = nodes.into_iter().flatten().collect();
                let nodes = describe(&client, &nodes).await?;
                texts.push(show::details(job) + &show::nodes(&nodes));
            }
            let text = texts.join("\n");
            let names = jobs.iter().map(|job| job.job_id.clone()).collect();
            let response = DescribeJobsResponse { jobs };
            Ok(Answer::list(&response, "jobs", names, View::Text(text)).into())
        }
        JobCommand::Why { id } => why::run(context, id).await.map(Outcome::from),
        JobCommand::Wait { ids, progress } => {
            let client = context.waiting_client().await?;
            let limit = context.timeout();
            let jobs = wait::until_ended(&client, &context.printer, &ids, progress, limit).await?;
            Ok(Outcome::exit(wait::exit_of(&jobs)))
        }
        JobCommand::Cancel(args) => stop::run(context, stop::How::Cancel, args).await,
        JobCommand::Terminate(args) => stop::run(context, stop::How::Terminate, args).await,
        JobCommand::Rerun(args) => rerun::run(context, args).await,
        JobCommand::Logs(args) => logs(context, args).await,
    }
}

/// Prints a job's output; with `-f` until the job has ended.
pub(super) async fn logs(context: &Context, args: LogsArgs) -> Result<Outcome> {
    let client = context.waiting_client().await?;
    let job = &describe(&client, &[args.id]).await?[0];
    let prefix = args.prefix || job_logs::has_parts(job);
    let what = Selection { job: args.id, attempt: args.attempt, prefix };
    if !args.follow {
        job_logs::print_kept(&client, &context.printer, what).await?;
        return Ok(Outcome::exit(Exit::Done));
    }
    let (ended, end) = watch::channel(None);
    let wait = async {
        let mut watcher = Watcher::start(&client, &context.printer, &[args.id]).await?;
        watcher.end(None).await?;
        ended.send_replace(Some(watcher.jobs()[0].clone()));
        Ok(())
    };
    let show = job_logs::follow(&client, &context.printer, what, end);
    tokio::select! {
        shown = async { tokio::try_join!(wait, show) } => {
            shown?;
            Ok(Outcome::exit(Exit::Done))
        }
        () = limit(context.timeout()) => {
            Err(Failure::new(Exit::TimedOut, "the time limit ran out; the job goes on"))
        }
        _ = tokio::signal::ctrl_c() => Ok(Outcome::exit(Exit::Interrupted)),
    }
}
