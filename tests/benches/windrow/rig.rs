//! A cluster and a client of it in this process.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::client::Request;
use futures::StreamExt;
use windrow_common::api::events::ended;
use windrow_common::api::jobs::{
    ArrayProperties, ContainerOverrides, DescribeJobs, JobStatus, SubmitJob,
};
use windrow_common::api::{ApiError, Operation};
use windrow_common::ids::JobId;
use windrow_common::streams::HEADER_ERROR;
use windrow_common::subjects::Subjects;
use windrow_tests::Cluster;

/// Prefix that `windrow up` gives a cluster by default.
const CLUSTER: &str = "windrow";
/// What `windrow up` creates.
pub(crate) const QUEUE: &str = "default";
const DEFINITION: &str = "adhoc";
/// Longest time that one request or one job of a bench takes, on a very busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// A running cluster with one agent, and a connection to it.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    nats: async_nats::Client,
    subjects: Subjects,
}

impl Rig {
    /// Starts a cluster whose agent offers as many vCPUs as the floor has threads.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let vcpus = super::floor::THREADS.to_string();
        let cluster = Cluster::start_with(&["--agents", "1", "--vcpus-per-agent", &vcpus]);
        let options = async_nats::ConnectOptions::new().request_timeout(Some(LIMIT));
        let nats = options.connect(cluster.nats_url()).await.context("connect to the cluster")?;
        let subjects = Subjects::new(CLUSTER.parse().context("the cluster's name")?);
        Ok(Self { cluster, nats, subjects })
    }

    /// One request of the API. Errors: no answer, or an error as answer.
    pub(crate) async fn call<O: Operation>(&self, request: &O) -> anyhow::Result<O::Response> {
        let request = Request::new().payload(serde_json::to_vec(request)?.into());
        let answer = self.nats.send_request(self.subjects.api(O::NAME), request).await;
        let answer = answer.with_context(|| format!("request {}", O::NAME))?;
        if answer.headers.is_some_and(|headers| headers.get(HEADER_ERROR).is_some()) {
            let error: ApiError = serde_json::from_slice(&answer.payload)?;
            return Err(error).with_context(|| format!("request {}", O::NAME));
        }
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    /// Submits and gives the job's id.
    pub(crate) async fn submit(&self, request: &SubmitJob) -> anyhow::Result<JobId> {
        let id = self.call(request).await?.job_id;
        id.parse().map_err(|error| anyhow::anyhow!("the id of a new job: {error}"))
    }

    /// Waits for the event that says that the job succeeded.
    pub(crate) async fn succeeded(&self, job: JobId) -> anyhow::Result<()> {
        let mut events = self.nats.subscribe(self.subjects.event_of(job)).await?;
        self.nats.flush().await?;
        // It may have ended before we listened.
        let described = self.call(&DescribeJobs { jobs: vec![job.to_string()] }).await?;
        let mut status = described.jobs.first().map(|job| job.status);
        while status != Some(JobStatus::Succeeded) {
            if status == Some(JobStatus::Failed) {
                bail!("job {job} failed");
            }
            let next = tokio::time::timeout(LIMIT, events.next()).await;
            let event = next.with_context(|| format!("wait for job {job}"))?;
            let event = event.context("the connection was closed")?;
            let ended = ended(&event.payload).into_iter().find(|(id, _)| *id == job.to_string());
            status = ended.map(|(_, ended)| ended).or(status);
        }
        Ok(())
    }
}

/// A request for a plain process; `size` makes it an array.
pub(crate) fn job(queue: &str, command: &[&str], size: Option<u32>) -> SubmitJob {
    SubmitJob {
        job_name: "bench".to_owned(),
        job_queue: queue.to_owned(),
        job_definition: DEFINITION.to_owned(),
        array_properties: size
            .map(|size| ArrayProperties { size: Some(size), ..Default::default() }),
        container_overrides: Some(ContainerOverrides {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
