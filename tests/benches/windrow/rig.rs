//! A cluster and a client of it in this process.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::client::Request;
use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use windrow_common::api::events::ended;
use windrow_common::api::jobs::{
    ArrayProperties, ContainerOverrides, DescribeJobs, JobStatus, SubmitJob,
};
use windrow_common::api::resources::DescribeCluster;
use windrow_common::api::{ApiError, Operation};
use windrow_common::ids::JobId;
use windrow_common::streams::{HEADER_ERROR, Streams};
use windrow_common::subjects::Subjects;
use windrow_tests::Cluster;

/// Prefix that `windrow up` gives a cluster by default.
pub(crate) const CLUSTER: &str = "windrow";
/// What `windrow up` creates.
pub(crate) const QUEUE: &str = "default";
const DEFINITION: &str = "adhoc";
/// Longest time that one request or one job of a bench takes, on a very busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// A coordinator that is there answers within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// A running cluster with one agent, and a connection to it.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    client: Client,
}

/// A connection to a cluster.
pub(crate) struct Client {
    nats: async_nats::Client,
    jetstream: jetstream::Context,
    subjects: Subjects,
}

impl Deref for Rig {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Rig {
    /// Starts a cluster whose agent offers as many vCPUs as the floor has threads.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::with(super::floor::THREADS, &[]).await
    }

    /// Starts a cluster whose agent offers so many vCPUs, with more options of `windrow up`.
    pub(crate) async fn with(vcpus: u32, options: &[&str]) -> anyhow::Result<Self> {
        let vcpus = vcpus.to_string();
        let agent = ["--agents", "1", "--vcpus-per-agent", &vcpus];
        let cluster = Cluster::start_with(&[&agent, options].concat());
        let client = Client::connect(&cluster.nats_url()).await?;
        Ok(Self { cluster, client })
    }

    /// Host and port of the cluster's gateway.
    pub(crate) fn gateway_address(&self) -> anyhow::Result<String> {
        let url = self.cluster.state()["gatewayUrl"].as_str().context("gatewayUrl")?.to_owned();
        Ok(url.strip_prefix("http://").context("a plain address")?.to_owned())
    }
}

impl Client {
    /// Connects to the server with this address.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let options = async_nats::ConnectOptions::new().request_timeout(Some(LIMIT));
        let nats = options.connect(url).await.context("connect to the cluster")?;
        let subjects = Subjects::new(CLUSTER.parse().context("the cluster's name")?);
        let jetstream = jetstream::new(nats.clone());
        Ok(Self { nats, jetstream, subjects })
    }

    /// Publishes a job; it is in the submission stream when this ends.
    pub(crate) async fn publish(&self, queue: &str, payload: Vec<u8>) -> anyhow::Result<()> {
        let queue = queue.parse().context("the queue's name")?;
        let stored = self.jetstream.publish(self.subjects.submit(&queue), payload.into()).await?;
        stored.await.context("publish a job")?;
        Ok(())
    }

    /// Whether a coordinator answers, and that soon.
    pub(crate) async fn is_answering(&self) -> bool {
        let asked = self.call(&DescribeCluster {});
        matches!(tokio::time::timeout(ANSWER_LIMIT, asked).await, Ok(Ok(_)))
    }

    /// Size of the newest snapshot; 0 if there is none.
    pub(crate) async fn snapshot_bytes(&self) -> anyhow::Result<u64> {
        let bucket = Streams::new(self.subjects.clone()).snapshots_bucket();
        let bucket = self.jetstream.get_object_store(bucket).await?;
        let mut list = bucket.list().await?;
        let mut newest = (String::new(), 0);
        while let Some(snapshot) = list.next().await {
            let snapshot = snapshot?;
            newest = newest.max((snapshot.name, u64::try_from(snapshot.size)?));
        }
        Ok(newest.1)
    }

    /// One request of the API. Errors: no answer, or an error as answer.
    pub(crate) async fn call<O: Operation>(&self, request: &O) -> anyhow::Result<O::Response> {
        Ok(serde_json::from_slice(&self.ask(O::NAME, serde_json::to_vec(request)?).await?)?)
    }

    /// The answer to a request, both in JSON.
    pub(crate) async fn ask(&self, operation: &str, request: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = Request::new().payload(request.into());
        let answer = self.nats.send_request(self.subjects.api(operation), request).await;
        let answer = answer.with_context(|| format!("request {operation}"))?;
        if answer.headers.is_some_and(|headers| headers.get(HEADER_ERROR).is_some()) {
            let error: ApiError = serde_json::from_slice(&answer.payload)?;
            return Err(error).with_context(|| format!("request {operation}"));
        }
        Ok(answer.payload)
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
