//! `windrow job cancel` and `windrow job terminate`: of jobs named one by one, or of all that match.

use std::io::{self, IsTerminal, Write};

use windrow_common::api::jobs::{
    BulkResponse, CancelJobs, DescribeJobs, JobStatus, JobSummary, TerminateJobs,
};

use super::list;
use crate::args::{ListArgs, StopArgs};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Attempt, Exit, Failure, Result};
use crate::output::{Answer, Outcome};

/// Jobs of one request: what AWS Batch allows, and so any configuration.
const BATCH: usize = 50;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Cancel,
    Terminate,
}

impl How {
    fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Cancel => "Cancelled by user",
            Self::Terminate => "Terminated by user",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancel requested",
            Self::Terminate => "termination requested",
        }
    }

    /// In which states a job can be ended this way. An array is PENDING while its children run.
    fn statuses(self) -> &'static [JobStatus] {
        let all = &[
            JobStatus::Submitted,
            JobStatus::Pending,
            JobStatus::Runnable,
            JobStatus::Starting,
            JobStatus::Running,
        ];
        match self {
            Self::Cancel => &all[..3],
            Self::Terminate => all,
        }
    }

    async fn request(self, client: &Client, jobs: &[String], reason: &str) -> Result<BulkResponse> {
        let (jobs, reason) = (jobs.to_vec(), reason.to_owned());
        match self {
            Self::Cancel => client.call(&CancelJobs { jobs, reason }).await,
            Self::Terminate => client.call(&TerminateJobs { jobs, reason }).await,
        }
    }
}

pub(super) async fn run(context: &Context, how: How, args: StopArgs) -> Result<Outcome> {
    let client = context.client().await?;
    let mut ids: Vec<String> = args.ids.iter().map(ToString::to_string).collect();
    if ids.is_empty() {
        let jobs = matching(&client, how, &args).await?;
        if args.dry_run {
            return Ok(list::answer(jobs).into());
        }
        if !args.yes && !jobs.is_empty() && !agrees(how, &jobs)? {
            context.printer.say("nothing was done");
            return Ok(Outcome::exit(Exit::Done));
        }
        ids = jobs.into_iter().map(|job| job.job_id).collect();
    }
    if ids.is_empty() {
        context.printer.say("no jobs match");
    }
    let reason = args.reason.as_deref().unwrap_or(how.reason());
    let mut all = BulkResponse::default();
    for batch in ids.chunks(BATCH) {
        let BulkResponse { successful, errors } = how.request(&client, batch, reason).await?;
        all.successful.extend(successful);
        all.errors.extend(errors);
    }
    if !args.ids.is_empty() {
        say_what_stays(context, &client, how, &ids).await?;
    }
    for error in &all.errors {
        context.printer.say(&format!("error: {}: {}", error.job, error.message));
    }
    let exit = if all.errors.is_empty() { Exit::Done } else { Exit::Error };
    let names = all.successful.clone();
    let text = names.iter().map(|id| format!("{id}: {}\n", how.done())).collect();
    Ok(Outcome { answer: Some(Answer::one(&all, names, text)), exit })
}

/// Says which of the jobs named go on or are not known. Both count as a success, as AWS Batch has it.
async fn say_what_stays(
    context: &Context,
    client: &Client,
    how: How,
    ids: &[String],
) -> Result<()> {
    for batch in ids.chunks(BATCH) {
        let jobs = client.call(&DescribeJobs { jobs: batch.to_vec() }).await?.jobs;
        for id in batch {
            match jobs.iter().find(|job| job.job_id == *id).map(|job| job.status) {
                None => context.printer.say(&format!("{id}: there is no such job")),
                Some(status @ (JobStatus::Starting | JobStatus::Running)) if how == How::Cancel => {
                    context.printer.say(&format!(
                        "{id}: it is {status} and goes on; `windrow job terminate {id}` ends it"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Jobs that the selectors name and that can be ended this way.
async fn matching(client: &Client, how: How, args: &StopArgs) -> Result<Vec<JobSummary>> {
    let one = args.status.as_slice();
    let mut jobs = Vec::new();
    for status in if one.is_empty() { how.statuses() } else { one } {
        let select = ListArgs {
            queue: args.queue.clone(),
            status: status.to_string(),
            name: args.name.clone(),
            ..ListArgs::default()
        };
        jobs.extend(list::select(client, select).await?);
    }
    Ok(jobs)
}

/// Asks the person at the terminal.
///
/// Errors: there is none.
fn agrees(how: How, jobs: &[JobSummary]) -> Result<bool> {
    let (verb, count) = (how.verb(), jobs.len());
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::error(format!("{verb} {count} jobs: not without a confirmation"))
            .hint("give `--yes`; `--dry-run` lists them"));
    }
    let attempt = || "ask at the terminal".to_owned();
    let mut err = io::stderr();
    for job in jobs.iter().take(10) {
        writeln!(err, "  {} {} {}", job.job_id, job.job_name, job.status).attempt(attempt)?;
    }
    if count > 10 {
        writeln!(err, "  and {} more", count - 10).attempt(attempt)?;
    }
    write!(err, "{verb} {count} jobs? [y/N] ").attempt(attempt)?;
    err.flush().attempt(attempt)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).attempt(attempt)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
