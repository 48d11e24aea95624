//! `windrow run`: submit, show the output as it comes, exit with the job's code.

use tokio::sync::watch;
use windrow_common::api::jobs::{JobDetail, JobStatus, SubmitJob, TerminateJob};
use windrow_common::ids::{JobId, JobRef};

use super::submit::{parse_id, submit};
use crate::args::RunArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::logs::{self, Selection};
use crate::output::Outcome;
use crate::wait::{self, Watcher, limit, was_stopped};

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<Outcome> {
    if args.command.words.is_empty() && args.words.overrides.image.is_none() {
        return Err(Failure::error("run: there is no command")
            .hint("give one after `--`, such as `windrow run -- echo hello`"));
    }
    let client = context.waiting_client().await?;
    let response = submit(&client, SubmitJob::default(), &args.words, &args.command.words).await?;
    let id = parse_id(&response)?;
    let is_array = args.words.array.is_some();
    let has_parts = is_array || args.words.nodes.is_some();
    let job = tokio::select! {
        ended = attend(context, &client, id.into(), has_parts) => ended?,
        () = limit(context.timeout()) => {
            return Err(detached(id, Exit::TimedOut, "the time limit ran out"));
        }
        _ = tokio::signal::ctrl_c() => {
            if !args.cancel_on_interrupt {
                return Err(detached(id, Exit::Interrupted, "interrupted"));
            }
            terminate(&client, id).await?;
            return Err(Failure::new(Exit::Interrupted, format!("job `{id}` was terminated")));
        }
    };
    let exit = exit_of(&job, is_array);
    if exit != Exit::Done {
        let reason = wait::reason(&job).unwrap_or_else(|| "no reason was given".to_owned());
        context.printer.say(&format!("job `{id}` {}: {reason}", job.status));
    }
    Ok(Outcome::exit(exit))
}

/// Shows the output until the job has ended and all of it was shown.
async fn attend(
    context: &Context,
    client: &Client,
    id: JobRef,
    has_parts: bool,
) -> Result<JobDetail> {
    let (ended, end) = watch::channel(None);
    let wait = async {
        let mut watcher = Watcher::start(client, &context.printer, &[id]).await?;
        watcher.end(None).await?;
        let job = watcher.jobs()[0].clone();
        ended.send_replace(Some(job.clone()));
        Ok(job)
    };
    let what = Selection { job: id, attempt: None, prefix: has_parts, container: None };
    let show = logs::follow(client, &context.printer, what, end);
    let (job, ()) = tokio::try_join!(wait, show)?;
    Ok(job)
}

async fn terminate(client: &Client, id: JobId) -> Result<()> {
    let reason = "Terminated by user (interrupt)".to_owned();
    client.call(&TerminateJob { job_id: id.to_string(), reason }).await?;
    Ok(())
}

fn detached(id: JobId, exit: Exit, why: &str) -> Failure {
    Failure::new(exit, format!("{why}; job `{id}` goes on")).hint(format!(
        "see it with `windrow logs -f {id}`, end it with `windrow job terminate {id}`"
    ))
}

/// The job's own exit code; 10 and 11 where it has none.
fn exit_of(job: &JobDetail, is_array: bool) -> Exit {
    let code = job.container.as_ref().and_then(|container| container.outcome.exit_code);
    let code = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    match code {
        Some(code) if job.status == JobStatus::Failed && !is_array && !was_stopped(job) => {
            Exit::Job(code)
        }
        Some(_) | None => wait::exit_of(std::slice::from_ref(job)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_is_the_jobs_own() {
        let job = |status: &str, code: Option<i32>, terminated: bool| -> JobDetail {
            serde_json::from_value(json!({"jobArn": "", "jobId": "", "jobName": "", "jobQueue": "",
                "jobDefinition": "", "createdAt": 0, "status": status,
                "container": {"exitCode": code}, "isTerminated": terminated}))
            .unwrap()
        };
        assert_eq!(exit_of(&job("SUCCEEDED", Some(0), false), false), Exit::Done);
        assert_eq!(exit_of(&job("FAILED", Some(3), false), false), Exit::Job(3));
        assert_eq!(exit_of(&job("FAILED", Some(3), false), true), Exit::JobFailed);
        assert_eq!(exit_of(&job("FAILED", None, false), false), Exit::JobFailed);
        assert_eq!(exit_of(&job("FAILED", Some(0), false), false), Exit::JobFailed);
        assert_eq!(exit_of(&job("FAILED", Some(143), true), false), Exit::JobTerminated);
    }
}
