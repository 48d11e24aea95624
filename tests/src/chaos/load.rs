//! What users do: submit, wait for one another, end jobs, and remember what they were told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use windrow_common::api::definitions::RetryStrategy;
use windrow_common::api::jobs::{
    ArrayProperties, CancelJob, ContainerOverrides, DependencyType, DescribeJobs, JobDependency,
    JobDetail, SubmitJob, TerminateJob,
};
use windrow_common::time::wall_clock;

use super::client::Client;
use super::history::{Awaits, Fault, Stop, Submission};
use super::rig::NAME;
use super::truth::{ALIVE, Task};
use crate::{program, wait_until};

/// How long users repeat a request: longer than any fault lasts.
const ANSWER_SECONDS: u64 = 180;
/// Jobs of one DescribeJobs.
const DESCRIBED_MAX: usize = 100;

/// What to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// Children; none for a single job.
    pub size: Option<u32>,
    pub task: Task,
    /// Attempts allowed.
    pub attempts: u32,
    pub awaits: Vec<Awaits>,
}

impl Order {
    /// A single job that runs so many milliseconds and succeeds.
    pub fn single(run: u64) -> Self {
        Self { size: None, task: Task { run, fails: 0 }, attempts: 1, awaits: Vec::new() }
    }

    /// An array of these.
    pub fn array(size: u32, run: u64) -> Self {
        Self { size: Some(size), ..Self::single(run) }
    }
}

/// What users remember, and what was done to the cluster.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub submissions: Vec<Submission>,
    pub keys: BTreeSet<String>,
    pub stops: Vec<Stop>,
    pub faults: Vec<Fault>,
}

/// Users' place of work. Clones share what they remember.
#[derive(Clone)]
pub struct Desk {
    /// To the cluster.
    pub client: Arc<Client>,
    seen: Arc<Mutex<Seen>>,
    truth: PathBuf,
}

impl Desk {
    /// Jobs that are submitted here write to the file `truth`.
    pub fn new(client: Arc<Client>, truth: PathBuf) -> Self {
        Self { client, seen: Arc::default(), truth }
    }

    /// What is remembered.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no user panics while remembering")
    }

    /// Submits under a new key, as often as it takes, and gives the job's id.
    ///
    /// # Panics
    /// When it is refused, or not answered for minutes.
    pub fn submit(&self, order: &Order) -> String {
        let key = {
            let mut seen = self.seen();
            let key = format!("job-{}", seen.keys.len() + 1);
            seen.keys.insert(key.clone());
            key
        };
        let request = self.request(order, &key);
        let answer = self.client.ask(&request, ANSWER_SECONDS);
        let job = answer.unwrap_or_else(|error| panic!("submit {key}: {error}")).job_id;
        let Order { size, attempts, awaits, .. } = order.clone();
        self.seen().submissions.push(Submission { key, job: job.clone(), size, attempts, awaits });
        job
    }

    /// The request that [`Self::submit`] sends.
    pub fn request(&self, order: &Order, key: &str) -> SubmitJob {
        let depends_on = order.awaits.iter().map(|awaits| match awaits {
            Awaits::Job(id) => JobDependency { job_id: Some(id.clone()), ..Default::default() },
            Awaits::NToN(id) => JobDependency {
                job_id: Some(id.clone()),
                kind: Some(DependencyType::NToN),
                ..Default::default()
            },
        });
        let program = program::directory().join("windrow-chaos");
        SubmitJob {
            job_name: key.to_owned(),
            job_queue: NAME.to_owned(),
            job_definition: NAME.to_owned(),
            idempotency_key: Some(key.to_owned()),
            array_properties: order
                .size
                .map(|size| ArrayProperties { size: Some(size), ..Default::default() }),
            retry_strategy: Some(RetryStrategy {
                attempts: Some(order.attempts),
                ..Default::default()
            }),
            container_overrides: Some(ContainerOverrides {
                command: order.task.command(&program, &self.truth),
                ..Default::default()
            }),
            depends_on: depends_on.collect(),
            ..Default::default()
        }
    }

    /// Ends a job: what runs of it is stopped.
    ///
    /// # Panics
    /// When it is refused, or not answered for minutes.
    pub fn terminate(&self, job: &str) {
        let reason = "no longer wanted".to_owned();
        let request = TerminateJob { job_id: job.to_owned(), reason };
        let answer = self.client.ask(&request, ANSWER_SECONDS);
        answer.unwrap_or_else(|error| panic!("terminate {job}: {error}"));
        self.note_stop(job);
    }

    /// Cancels a job: what runs of it goes on.
    ///
    /// # Panics
    /// When it is refused, or not answered for minutes.
    pub fn cancel(&self, job: &str) {
        let reason = "no longer wanted".to_owned();
        let request = CancelJob { job_id: job.to_owned(), reason };
        let answer = self.client.ask(&request, ANSWER_SECONDS);
        answer.unwrap_or_else(|error| panic!("cancel {job}: {error}"));
        self.note_stop(job);
    }

    fn note_stop(&self, job: &str) {
        let answered = wall_clock().0;
        self.seen().stops.push(Stop { job: job.to_owned(), answered });
    }

    /// Describes jobs or children, all of which must be known.
    pub fn describe(&self, ids: &[String]) -> Vec<JobDetail> {
        let pages = ids.chunks(DESCRIBED_MAX);
        pages.flat_map(|ids| self.client.call(&DescribeJobs { jobs: ids.to_vec() }).jobs).collect()
    }

    /// Waits until a job has ended.
    ///
    /// # Panics
    /// When it does not within `seconds`.
    pub fn wait(&self, job: &str, seconds: u64) -> JobDetail {
        wait_until(&format!("job {job} to end"), seconds, || {
            let found = self.describe(&[job.to_owned()]).pop()?;
            found.status.is_terminal().then_some(found)
        })
    }

    /// Something is done to a node from now on.
    pub fn fault_begins(&self, node: &str, what: &str) {
        let from = wall_clock().0;
        eprintln!("{}: {node}: {what}", wall_clock());
        let (node, what) = (node.to_owned(), what.to_owned());
        self.seen().faults.push(Fault { node, what, from, until: u64::MAX });
    }

    /// What was done to it is undone.
    pub fn fault_ends(&self, node: &str) {
        let until = wall_clock().0;
        eprintln!("{}: {node}: over", wall_clock());
        for fault in &mut self.seen().faults {
            if fault.node == node {
                fault.until = fault.until.min(until);
            }
        }
    }

    /// Lines of starts and ends that attempts have written so far.
    pub fn written(&self) -> usize {
        let text = std::fs::read_to_string(&self.truth).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with(ALIVE)).count()
    }

    /// Waits until attempts have written so many lines, two for each that ends by itself.
    ///
    /// # Panics
    /// When they do not within `seconds`.
    pub fn wait_for_written(&self, lines: usize, seconds: u64) {
        wait_until(&format!("{lines} lines of attempts"), seconds, || {
            (self.written() >= lines).then_some(())
        });
    }
}
