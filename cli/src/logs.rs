//! Reading job output from the log stream: in order, without gap or repeat.

mod join;
mod reader;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use windrow_common::api::jobs::JobDetail;
use windrow_common::ids::JobRef;

use crate::client::Client;
use crate::failure::Result;
use crate::output::{Printer, write_out};
use crate::wait::describe;
use join::Join;
use reader::{Chunk, Reader};

/// How long the rest of the output is waited for once the job has ended.
const REST_LIMIT: Duration = Duration::from_secs(10);
/// Arrays with more children than this are not asked child by child how much they wrote.
const EXACT_CHILDREN_MAX: usize = 1_000;
/// For those: how long no more output must come before the output counts as complete.
const QUIET: Duration = Duration::from_secs(5);

/// Whose output, and how to show it.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) job: JobRef,
    /// Only this attempt.
    pub(crate) attempt: Option<u32>,
    /// Put `[INDEX]` before each line.
    pub(crate) prefix: bool,
    /// Only this one of several containers.
    pub(crate) container: Option<String>,
}

/// Bytes each (child, attempt) wrote, for those that ended; `attempt` is the least the latest can be.
type Needed = BTreeMap<(u32, u32), u64>;

/// Prints what there is now.
pub(crate) async fn print_kept(client: &Client, printer: &Printer, what: Selection) -> Result<()> {
    let mut reader = Reader::new(client, what.job);
    let mut join = Join::new(what.prefix, what.container.as_deref());
    let mut left = reader.pending().await?;
    while left > 0 {
        let chunk = reader.next().await?;
        left = chunk.pending;
        print(printer, &mut join, &what, &chunk)?;
    }
    write_out(&join.finish())
}

/// Prints what there is and what comes, until the job has ended (`ended` holds it then) and all
/// of its output has been printed.
pub(crate) async fn follow(
    client: &Client,
    printer: &Printer,
    what: Selection,
    mut ended: watch::Receiver<Option<JobDetail>>,
) -> Result<()> {
    let mut reader = Reader::new(client, what.job);
    let mut join = Join::new(what.prefix, what.container.as_deref());
    let mut end: Option<End> = None;
    loop {
        if end.as_ref().is_some_and(|end| end.is_reached(&join)) {
            break;
        }
        let deadline = end.as_ref().map(|end| end.deadline);
        tokio::select! {
            chunk = reader.next() => {
                print(printer, &mut join, &what, &chunk?)?;
                if let Some(end) = &mut end {
                    end.on_output();
                }
            }
            changed = ended.wait_for(Option::is_some), if end.is_none() => {
                let Ok(job) = changed.map(|job| job.clone()) else { break };
                let Some(job) = job else { break };
                end = Some(End::of(client, &what, &job).await?);
            }
            () = at(deadline) => {
                if end.as_ref().is_some_and(|end| end.needed.is_some()) {
                    printer.say("warning: the end of the output did not arrive");
                }
                break;
            }
        }
    }
    write_out(&join.finish())
}

/// The children of an array or the nodes of a multi-node job; none when the id names a part itself, or
/// the job is a single one.
pub(crate) fn parts(id: JobRef, job: &JobDetail) -> Option<impl ExactSizeIterator<Item = JobRef>> {
    let children = job.array_properties.as_ref().and_then(|array| array.size);
    let nodes = job.node_properties.as_ref().map(|nodes| nodes.num_nodes);
    let count = children.or(nodes)?;
    let part = move |index| match nodes {
        Some(_) => JobRef::node(id.job, index),
        None => JobRef::child(id.job, index),
    };
    Some((0..count).map(part))
}

/// Whether the job's output is that of several children or nodes.
pub(crate) fn has_parts(job: &JobDetail) -> bool {
    job.node_properties.is_some()
        || job.array_properties.as_ref().is_some_and(|array| array.size.is_some())
}

/// When to stop following a job that has ended.
struct End {
    /// What must have been read; none when it is not known.
    needed: Option<Needed>,
    deadline: Instant,
}

impl End {
    async fn of(client: &Client, what: &Selection, job: &JobDetail) -> Result<Self> {
        let parts = parts(what.job, job);
        let now = Instant::now();
        let needed = match parts {
            None => needed(&[(what.job.child.unwrap_or(0), job.clone())], what.attempt),
            Some(parts) if parts.len() <= EXACT_CHILDREN_MAX => {
                let ids: Vec<JobRef> = parts.collect();
                let jobs = describe(client, &ids).await?;
                needed(&(0..).zip(jobs).collect::<Vec<_>>(), what.attempt)
            }
            Some(_) => return Ok(Self { needed: None, deadline: now + QUIET }),
        };
        Ok(Self { needed: Some(needed), deadline: now + REST_LIMIT })
    }

    fn is_reached(&self, join: &Join) -> bool {
        let Some(needed) = &self.needed else { return false };
        needed.iter().all(|((child, attempt), bytes)| join.has_read(*child, *attempt, *bytes))
    }

    fn on_output(&mut self) {
        let wait = if self.needed.is_some() { REST_LIMIT } else { QUIET };
        self.deadline = Instant::now() + wait;
    }
}

/// What the children's latest attempts (or attempt `only`) wrote.
fn needed(jobs: &[(u32, JobDetail)], only: Option<u32>) -> Needed {
    let one = |(child, job): &(u32, JobDetail)| {
        let latest = u32::try_from(job.attempts.len()).unwrap_or(u32::MAX);
        let attempt = only.unwrap_or(latest);
        let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let bytes = job.attempts.get(index)?.container.log_bytes?;
        (bytes > 0).then_some(((*child, attempt), bytes))
    };
    jobs.iter().filter_map(one).collect()
}

fn print(printer: &Printer, join: &mut Join, what: &Selection, chunk: &Chunk) -> Result<()> {
    if what.attempt.is_some_and(|attempt| attempt != chunk.attempt) {
        return Ok(());
    }
    if chunk.dropped > 0 {
        let Chunk { child, attempt, dropped, .. } = chunk;
        printer.say(&format!(
            "warning: {dropped} bytes of output were left out here (child {child}, attempt {attempt})"
        ));
    }
    write_out(&join.add(chunk))
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_attempts_length_is_what_must_be_read() {
        let attempt = |bytes: Option<u64>| json!({"container": {"logBytes": bytes}});
        let job = |attempts: Vec<serde_json::Value>| -> JobDetail {
            serde_json::from_value(json!({"jobArn": "", "jobId": "", "jobName": "", "jobQueue": "",
                "jobDefinition": "", "createdAt": 0, "status": "FAILED", "attempts": attempts}))
            .unwrap()
        };
        let twice = job(vec![attempt(Some(7)), attempt(Some(9))]);
        let never = job(vec![]);
        let silent = job(vec![attempt(Some(0))]);
        let jobs = [(0, twice.clone()), (1, never), (2, silent)];
        assert_eq!(needed(&jobs, None), Needed::from([((0, 2), 9)]));
        assert_eq!(needed(&[(0, twice)], Some(1)), Needed::from([((0, 1), 7)]));
    }
}
