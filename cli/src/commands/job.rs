//! `windrow job ...` and `windrow logs`.

mod list;
mod rerun;
mod show;
mod stop;
pub(super) mod why;

use tokio::sync::watch;
use windrow_common::api::jobs::{DescribeJobsResponse, JobDetail, JobStatus, UpdateJob};
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
        JobCommand::Update { id, max_parallel, priority } => {
            let request =
                UpdateJob { job_id: id.to_string(), max_parallel, scheduling_priority: priority };
            let response = context.client().await?.call(&request).await?;
            let text = format!("{id}: updated\n");
            Ok(Answer::one(&response, vec![id.to_string()], text).into())
        }
        JobCommand::Logs(args) => logs(context, args).await,
    }
}

/// Refuses a container that the job does not have.
fn check_container(job: &JobDetail, container: &str) -> Result<()> {
    let tasks = job.ecs_properties.iter().flat_map(|ecs| &ecs.task_properties);
    let names: Vec<&str> =
        tasks.flat_map(|t| &t.containers).filter_map(|c| c.properties.name.as_deref()).collect();
    if names.len() > 1 && names.contains(&container) {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::NotFound,
        format!("job `{}` has no container `{container}` with output of its own", job.job_id),
    );
    Err(match names.len() {
        0 | 1 => failure.hint("it has only one container; leave `--container` out"),
        _ => failure.hint(format!("its containers are {}", names.join(", "))),
    })
}

/// Refuses an attempt that there has not been. Of the children of an array each has its own, and of a
/// job whose records are gone none is known.
fn check_attempt(job: &JobDetail, attempt: u32) -> Result<()> {
    let runs = matches!(job.status, JobStatus::Starting | JobStatus::Running);
    let count = job.attempts.len() + usize::from(runs);
    if job_logs::has_parts(job) || count == 0 || (1..=count).contains(&(attempt as usize)) {
        return Ok(());
    }
    let message = format!("job `{}` has no attempt {attempt}: it has had {count}", job.job_id);
    Err(Failure::new(Exit::NotFound, message)
        .hint(format!("`windrow job get {}` shows its attempts", job.job_id)))
}

/// Prints a job's output; with `-f` until the job has ended.
pub(super) async fn logs(context: &Context, args: LogsArgs) -> Result<Outcome> {
    let client = context.waiting_client().await?;
    let job = &describe(&client, &[args.id]).await?[0];
    let prefix = args.prefix || job_logs::has_parts(job);
    if let Some(container) = &args.container {
        check_container(job, container)?;
    }
    let LogsArgs { id, follow, attempt, container, .. } = args;
    if let Some(attempt) = attempt.filter(|_| !follow) {
        check_attempt(job, attempt)?;
    }
    let what = Selection { job: id, attempt, prefix, container };
    if !follow {
        job_logs::print_kept(&client, &context.printer, what).await?;
        return Ok(Outcome::exit(Exit::Done));
    }
    let (ended, end) = watch::channel(None);
    let wait = async {
        let mut watcher = Watcher::start(&client, &context.printer, &[id]).await?;
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
