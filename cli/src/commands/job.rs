//! `windrow job ...` and `windrow logs`.

mod show;

use serde_json::json;
use tokio::sync::watch;
use windrow_common::api::jobs::{
    CancelJob, DescribeJobsResponse, JobStatus, JobSummary, ListJobs, ListJobsResponse,
    TerminateJob,
};
use windrow_common::ids::JobRef;

use crate::args::{JobCommand, LogsArgs};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::logs::{self as job_logs, Selection};
use crate::output::{Answer, Outcome, View};
use crate::wait::{self, Watcher, describe, limit};

/// Jobs asked for at once: few answers, each well below NATS' largest message.
const PAGE: usize = 250;

pub(super) async fn run(context: &Context, command: JobCommand) -> Result<Outcome> {
    match command {
        JobCommand::List { queue, status, array, limit } => {
            list(context, queue, status, array, limit).await.map(Outcome::from)
        }
        JobCommand::Get { ids } => {
            let jobs = describe(&context.client().await?, &ids).await?;
            let text = jobs.iter().map(show::details).collect::<Vec<_>>().join("\n");
            let names = jobs.iter().map(|job| job.job_id.clone()).collect();
            let response = DescribeJobsResponse { jobs };
            Ok(Answer::list(&response, "jobs", names, View::Text(text)).into())
        }
        JobCommand::Wait { ids, progress } => {
            let client = context.waiting_client().await?;
            let limit = context.timeout();
            let jobs = wait::until_ended(&client, &context.printer, &ids, progress, limit).await?;
            Ok(Outcome::exit(wait::exit_of(&jobs)))
        }
        JobCommand::Cancel { ids, reason } => {
            let client = context.client().await?;
            for id in &ids {
                let request = CancelJob { job_id: id.to_string(), reason: reason.clone() };
                client.call(&request).await?;
            }
            Ok(done(&ids, "cancel requested").into())
        }
        JobCommand::Terminate { ids, reason } => {
            let client = context.client().await?;
            for id in &ids {
                let request = TerminateJob { job_id: id.to_string(), reason: reason.clone() };
                client.call(&request).await?;
            }
            Ok(done(&ids, "termination requested").into())
        }
        JobCommand::Logs(args) => logs(context, args).await,
    }
}

fn done(ids: &[JobRef], what: &str) -> Answer {
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let text = names.iter().map(|id| format!("{id}: {what}\n")).collect();
    Answer::one(&json!({ "jobIds": names }), names.clone(), text)
}

async fn list(
    context: &Context,
    queue: Option<String>,
    status: String,
    array: Option<String>,
    limit: Option<usize>,
) -> Result<Answer> {
    let status = match status.as_str() {
        all if all.eq_ignore_ascii_case("all") => "ALL".to_owned(),
        one => one.parse::<JobStatus>().map_err(Failure::error)?.to_string(),
    };
    let client = context.client().await?;
    let request = ListJobs {
        job_queue: queue,
        array_job_id: array,
        job_status: Some(status),
        ..Default::default()
    };
    let jobs = all_pages(&client, request, limit.unwrap_or(usize::MAX)).await?;
    let names = jobs.iter().map(|job| job.job_id.clone()).collect();
    let view = View::Grid(show::list(&jobs), "no jobs");
    let response = ListJobsResponse { job_summary_list: jobs, next_token: None };
    Ok(Answer::list(&response, "jobSummaryList", names, view))
}

async fn all_pages(
    client: &Client,
    mut request: ListJobs,
    limit: usize,
) -> Result<Vec<JobSummary>> {
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        let page = PAGE.min(limit - jobs.len());
        request.max_results = u32::try_from(page).ok();
        let response = client.call(&request).await?;
        jobs.extend(response.job_summary_list);
        request.next_token = response.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    jobs.truncate(limit);
    Ok(jobs)
}

/// Prints a job's output; with `-f` until the job has ended.
pub(super) async fn logs(context: &Context, args: LogsArgs) -> Result<Outcome> {
    let client = context.waiting_client().await?;
    let job = &describe(&client, &[args.id]).await?[0];
    let is_array = job.array_properties.as_ref().is_some_and(|array| array.size.is_some());
    let prefix = args.prefix || is_array;
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
