//! Waiting for jobs to end: by their events, and by looking again now and then in case one is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::SelectAll;
use windrow_common::api::events::ended;
use windrow_common::api::jobs::{DescribeJobs, JobDetail, JobStatus};
use windrow_common::ids::JobRef;

use crate::client::Client;
use crate::failure::{Exit, Failure, Result};
use crate::output::Printer;
use crate::progress::Progress;

/// Jobs described by one request, as AWS Batch limits it.
const DESCRIBE_MAX: usize = 100;
/// How often jobs are looked at without an event: the safety net.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The same while progress is shown.
const LOOK_AGAIN_PROGRESS: Duration = Duration::from_millis(500);

/// How status reasons begin that name something to be mended.
const BLOCKED: [&str; 2] = ["ACTION_REQUIRED", "MISCONFIGURATION"];

/// Describes jobs in the order given. Errors: exit code 4 naming the first one that is not there.
pub(crate) async fn describe(client: &Client, ids: &[JobRef]) -> Result<Vec<JobDetail>> {
    let mut found = BTreeMap::new();
    for batch in ids.chunks(DESCRIBE_MAX) {
        let request = DescribeJobs { jobs: batch.iter().map(ToString::to_string).collect() };
        let jobs = client.call(&request).await?.jobs;
        found.extend(jobs.into_iter().map(|job| (job.job_id.clone(), job)));
    }
    let take = |id: &JobRef| found.get(&id.to_string()).cloned().ok_or_else(|| not_found(*id));
    ids.iter().map(take).collect()
}

fn not_found(id: JobRef) -> Failure {
    Failure::new(Exit::NotFound, format!("job `{id}` does not exist"))
        .hint("`windrow job list` shows the jobs there are")
}

/// Watches jobs until all have ended.
pub(crate) struct Watcher<'a> {
    client: &'a Client,
    printer: &'a Printer,
    ids: Vec<JobRef>,
    jobs: Vec<JobDetail>,
    events: SelectAll<async_nats::Subscriber>,
    look_again: Duration,
    /// Whether the cluster did not answer when last asked.
    is_silent: bool,
    /// What was said about jobs that wait.
    said: BTreeSet<String>,
}

impl<'a> Watcher<'a> {
    /// Subscribes first and looks then, so that no change falls in between.
    ///
    /// Errors: as [`describe`].
    pub(crate) async fn start(
        client: &'a Client,
        printer: &'a Printer,
        ids: &[JobRef],
    ) -> Result<Self> {
        let mut events = SelectAll::new();
        for id in ids {
            events.push(client.events_of(id.job).await?);
        }
        client.flush().await?;
        let jobs = describe(client, ids).await?;
        let (ids, look_again) = (ids.to_vec(), LOOK_AGAIN);
        let (is_silent, said) = (false, BTreeSet::new());
        Ok(Self { client, printer, ids, jobs, events, look_again, is_silent, said })
    }

    /// The jobs as last seen, in the order given.
    pub(crate) fn jobs(&self) -> &[JobDetail] {
        &self.jobs
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.jobs.iter().all(|job| job.status.is_terminal())
    }

    /// Waits until an event says that a job has ended, or until it is time to look again, then
    /// looks.
    ///
    /// A cluster that does not answer is no error here: the wait goes on when it is back.
    async fn change(&mut self) -> Result<()> {
        let awaited: Vec<String> = self.ids.iter().map(ToString::to_string).collect();
        let ended = self.events.by_ref().filter(|message| {
            let ended = ended(&message.payload);
            std::future::ready(ended.iter().any(|(id, _)| awaited.contains(id)))
        });
        let event = tokio::time::timeout(self.look_again, pin!(ended).next()).await;
        if let Ok(None) = event {
            // Only happens when the connection was closed for good.
            return Err(Failure::unreachable("wait for the job: the connection was closed"));
        }
        let unended: Vec<usize> =
            (0..self.jobs.len()).filter(|&i| !self.jobs[i].status.is_terminal()).collect();
        let ids: Vec<JobRef> = unended.iter().map(|&i| self.ids[i]).collect();
        match describe(self.client, &ids).await {
            Ok(jobs) => {
                for (index, job) in unended.into_iter().zip(jobs) {
                    self.say_blocked(&job);
                    self.jobs[index] = job;
                }
                self.is_silent = false;
                Ok(())
            }
            Err(failure) if failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut self.is_silent, true) {
                    self.printer.say(&format!("the wait goes on although: {failure}"));
                }
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Says once why a job waits that somebody has to do something about.
    fn say_blocked(&mut self, job: &JobDetail) {
        let Some(reason) = &job.status_reason else { return };
        let is_blocked = !job.status.is_terminal() && BLOCKED.iter().any(|b| reason.starts_with(b));
        if is_blocked && self.said.insert(format!("{} waits: {reason}", job.job_id)) {
            self.printer.say(&format!("{} waits: {reason}", job.job_id));
        }
    }

    /// Waits until all have ended.
    pub(crate) async fn end(&mut self, mut progress: Option<Progress>) -> Result<()> {
        if progress.is_some() {
            self.look_again = LOOK_AGAIN_PROGRESS;
        }
        loop {
            if let Some(progress) = &mut progress {
                progress.show(&self.jobs);
            }
            if self.all_ended() {
                return Ok(());
            }
            self.change().await?;
        }
    }
}

/// Waits for jobs as `job wait` and `submit --wait` do, and says how they ended.
///
/// Errors: exit codes 124 when `timeout` runs out and 130 on Ctrl-C, with how to go on waiting.
pub(crate) async fn until_ended(
    client: &Client,
    printer: &Printer,
    ids: &[JobRef],
    progress: bool,
    timeout: Option<Duration>,
) -> Result<Vec<JobDetail>> {
    let mut watcher = Watcher::start(client, printer, ids).await?;
    let ended = watcher.end(progress.then(Progress::new));
    let stopped = tokio::select! {
        ended = ended => ended.err(),
        () = limit(timeout) => Some(Failure::new(Exit::TimedOut, "the time limit of the wait ran out")),
        _ = tokio::signal::ctrl_c() => Some(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match stopped {
        None => {
            watcher.jobs().iter().for_each(|job| say_end(printer, job));
            Ok(watcher.jobs().to_vec())
        }
        Some(failure) if matches!(failure.exit, Exit::TimedOut | Exit::Interrupted) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let again =
                format!("the jobs go on; wait again with `windrow job wait {}`", ids.join(" "));
            Err(failure.hint(again))
        }
        Some(failure) => Err(failure),
    }
}

/// Resolves when the limit has passed; never without one.
pub(crate) async fn limit(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn say_end(printer: &Printer, job: &JobDetail) {
    let reason = reason(job).map_or_else(String::new, |reason| format!(": {reason}"));
    printer.say(&format!("{} {}{reason}", job.job_id, job.status));
}

/// Why the job has its status, with what the agent said about its container.
pub(crate) fn reason(job: &JobDetail) -> Option<String> {
    let detail = job.container.as_ref().and_then(|container| container.outcome.reason.as_ref());
    let reasons: Vec<&str> =
        [job.status_reason.as_ref(), detail].into_iter().flatten().map(String::as_str).collect();
    (!reasons.is_empty()).then(|| reasons.join(": "))
}

/// Exit code of a wait: 10 when a job FAILED by itself, else 11 when one was ended by a user.
pub(crate) fn exit_of(jobs: &[JobDetail]) -> Exit {
    let one = |job: &JobDetail| match job.status == JobStatus::Failed {
        true if was_stopped(job) => Exit::JobTerminated,
        true => Exit::JobFailed,
        false => Exit::Done,
    };
    let exits: Vec<Exit> = jobs.iter().map(one).collect();
    let first = [Exit::JobFailed, Exit::JobTerminated].into_iter().find(|e| exits.contains(e));
    first.unwrap_or(Exit::Done)
}

/// Whether a user ended it.
pub(crate) fn was_stopped(job: &JobDetail) -> bool {
    job.is_terminated || job.is_cancelled
}
