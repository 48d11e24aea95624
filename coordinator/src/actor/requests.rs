//! API requests: reads them into commands or answers them from the state.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use windrow_common::access::ClusterKeys;
use windrow_common::api::access::{CreateAccessKey, ListAccessKeys, RevokeAccessKey};
use windrow_common::api::audit::AuditCluster;
use windrow_common::api::consumables::{
    CreateConsumableResource, DeleteConsumableResource, DescribeConsumableResource,
    ListConsumableResources, ListJobsByConsumableResource, UpdateConsumableResource,
};
use windrow_common::api::definitions::{
    DeregisterJobDefinition, DescribeJobDefinitions, RegisterJobDefinition,
};
use windrow_common::api::explain::{ExplainJob, ExplainQueue, PlanJob};
use windrow_common::api::jobs::{
    CancelJob, CancelJobs, DescribeJobs, ListJobs, RerunJob, SubmitJob, TerminateJob,
    TerminateJobs, UpdateJob,
};
use windrow_common::api::policies::{
    CreateSchedulingPolicy, DeleteSchedulingPolicy, DescribeSchedulingPolicies,
    ListSchedulingPolicies, UpdateSchedulingPolicy,
};
use windrow_common::api::quota::{
    CreateQuotaShare, DeleteQuotaShare, DescribeQuotaShare, ListQuotaShares, UpdateQuotaShare,
};
use windrow_common::api::resources::{
    AcknowledgeAlarm, CreateComputeEnvironment, CreateJobQueue, DeleteComputeEnvironment,
    DeleteJobQueue, DescribeCluster, DescribeClusterResponse, DescribeComputeEnvironments,
    DescribeJobQueues, DrainAgent, ListAgents, UpdateComputeEnvironment, UpdateJobQueue,
};
use windrow_common::api::services::{
    CreateServiceEnvironment, DeleteServiceEnvironment, DescribeServiceEnvironments,
    DescribeServiceJob, ListServiceJobs, SubmitServiceJob, TerminateServiceJob,
    TerminateServiceJobs, UpdateServiceEnvironment, UpdateServiceJob,
};
use windrow_common::api::snapshot::GetJobQueueSnapshot;
use windrow_common::api::tags::{ListTagsForResource, TagResource, UntagResource};
use windrow_common::api::{ApiError, Empty, Operation};
use windrow_common::codec::Encoding;
use windrow_common::ids::JobId;
use windrow_common::streams::REQUEST_BYTES_MAX;
use windrow_common::time::Timestamp;

use crate::core::{Answer, Command, NewAccessKey, ServiceCommand, State, dependencies};
use crate::view;
use crate::view::history::{Answer as About, Later, Shelved};

/// What a request turned out to be.
#[derive(Debug)]
pub enum Asked {
    /// Something to decide.
    Command(Box<Command>),
    /// A question, answered.
    Told(Told),
    /// A question that the actor completes.
    Question(Question),
}

/// An answer to a question.
#[derive(Debug)]
pub enum Told {
    /// As the asker gets it.
    Now(Bytes),
    /// It lacks what the history has.
    Later(Box<Later>),
    /// It is about jobs that have left the memory.
    Shelved(Box<Shelved>),
    /// It lacks what only the process knows.
    Cluster(Box<DescribeClusterResponse>),
    /// The shell looks.
    Audit,
}

/// Questions about what only the actor knows.
#[derive(Debug)]
pub enum Question {
    /// The cluster.
    Cluster,
    /// Whether memory and journal agree.
    Audit,
    /// The agents.
    Agents,
    /// Why a job does not get on.
    Why(ExplainJob),
    /// Where a submission would go.
    Plan(Box<PlanJob>),
}

impl Asked {
    /// The jobs that have to be in memory for it, apart from those that only have to be described.
    pub fn jobs(&self, state: &State) -> BTreeSet<JobId> {
        match self {
            Self::Command(command) => command.jobs(state),
            Self::Question(Question::Plan(request)) => dependencies(&request.job.depends_on),
            Self::Question(
                Question::Cluster | Question::Audit | Question::Agents | Question::Why(_),
            )
            | Self::Told(_) => BTreeSet::new(),
        }
    }
}

/// Reads a request and answers it if it is a question.
///
/// # Errors
/// It is unreadable, unknown, too large, or refused.
pub fn ask(
    state: &State,
    operation: &str,
    encoding: Encoding,
    payload: &[u8],
    now: Timestamp,
    new_id: &mut dyn FnMut() -> JobId,
) -> Result<Asked, ApiError> {
    if payload.len() > REQUEST_BYTES_MAX {
        return Err(too_large(operation, payload.len()));
    }
    if let Some(command) = command(operation, encoding, payload, new_id)? {
        return Ok(Asked::Command(Box::new(command)));
    }
    let (o, e, p) = (operation, encoding, payload);
    match operation {
        DescribeJobs::NAME => {
            let request = read(operation, encoding, payload)?;
            let known = view::describe_jobs(state, &request, now)?;
            Ok(Asked::Told(match Shelved::describe(state, request, known, now) {
                Ok(question) => Told::Shelved(Box::new(question)),
                Err(known) => now_or_later(state, encoding, About::Described(known)),
            }))
        }
        ListJobs::NAME => {
            let request = read(operation, encoding, payload)?;
            if let Some(question) = Shelved::list(state, &request, now)? {
                return Ok(Asked::Told(Told::Shelved(Box::new(question))));
            }
            let answer = view::list_jobs(state, &request, now)?;
            Ok(Asked::Told(now_or_later(state, encoding, About::Listed(answer))))
        }
        DescribeJobQueues::NAME => told(o, e, p, |r| view::describe_queues(state, r)),
        DescribeComputeEnvironments::NAME => {
            told(o, e, p, |r| view::describe_environments(state, r))
        }
        DescribeJobDefinitions::NAME => told(o, e, p, |r| view::describe_definitions(state, r)),
        DescribeConsumableResource::NAME => told(o, e, p, |r| view::describe_consumable(state, r)),
        ListConsumableResources::NAME => told(o, e, p, |r| view::list_consumables(state, r)),
        DescribeQuotaShare::NAME => told(o, e, p, |r| view::describe_quota_share(state, r)),
        ListQuotaShares::NAME => told(o, e, p, |r| view::list_quota_shares(state, r)),
        ListJobsByConsumableResource::NAME => told(o, e, p, |r| view::list_consumers(state, r)),
        DescribeSchedulingPolicies::NAME => told(o, e, p, |r| view::describe_policies(state, r)),
        ListSchedulingPolicies::NAME => told(o, e, p, |r| view::list_policies(state, r)),
        ListTagsForResource::NAME => {
            let request = read(operation, encoding, payload)?;
            if let Some(question) = Shelved::tags(state, &request, now) {
                return Ok(Asked::Told(Told::Shelved(Box::new(question))));
            }
            let answer = view::list_tags(state, &request)?;
            Ok(Asked::Told(Told::Now(encoding.write(&answer).into())))
        }
        AuditCluster::NAME => read::<AuditCluster>(operation, encoding, payload)
            .map(|_| Asked::Question(Question::Audit)),
        DescribeCluster::NAME => read::<DescribeCluster>(operation, encoding, payload)
            .map(|_| Asked::Question(Question::Cluster)),
        ListAgents::NAME => read::<ListAgents>(operation, encoding, payload)
            .map(|_| Asked::Question(Question::Agents)),
        ExplainJob::NAME => {
            read(operation, encoding, payload).map(|r| Asked::Question(Question::Why(r)))
        }
        PlanJob::NAME => read(operation, encoding, payload)
            .map(|request| Asked::Question(Question::Plan(Box::new(request)))),
        DescribeServiceEnvironments::NAME => {
            told(o, e, p, |r| view::describe_service_environments(state, r))
        }
        DescribeServiceJob::NAME => told(o, e, p, |r| view::describe_service_job(state, r)),
        ListServiceJobs::NAME => told(o, e, p, |r| view::list_service_jobs(state, r)),
        ListAccessKeys::NAME => told(o, e, p, |r| view::list_access_keys(state, r)),
        GetJobQueueSnapshot::NAME => told(o, e, p, |r| view::queue_snapshot(state, r, now)),
        ExplainQueue::NAME => told(o, e, p, |r| view::explain_queue(state, r, now)),
        other => {
            let shown: String = other.chars().take(80).collect();
            Err(ApiError::not_found(format!("there is no operation `{shown}`"))
                .hint("operations are named as in AWS Batch, such as SubmitJob"))
        }
    }
}

/// Reads a request for an access key and makes the key, as its secret is known here only.
///
/// # Errors
/// It is unreadable, or this coordinator has no cluster key.
pub fn ask_for_access_key(
    keys: Option<&ClusterKeys>,
    encoding: Encoding,
    payload: &[u8],
    unique: JobId,
) -> Result<Asked, ApiError> {
    if payload.len() > REQUEST_BYTES_MAX {
        return Err(too_large(CreateAccessKey::NAME, payload.len()));
    }
    let request = read(CreateAccessKey::NAME, encoding, payload)?;
    let key = keys.map(ClusterKeys::newest).ok_or_else(|| {
        ApiError::invalid("an access key cannot be made: the coordinator has no cluster key").hint(
            "make a file with `windrow key init FILE` and set `cluster_key_file` of coordinators and gateways",
        )
    })?;
    let id = key.access_key_id(&unique.to_string());
    let (secret, cluster_key) = (key.secret(&id), key.fingerprint());
    let new = NewAccessKey { id, secret, cluster_key, request };
    Ok(Asked::Command(Box::new(Command::CreateAccessKey(Box::new(new)))))
}

/// An answer about jobs: at once unless it lacks what the history has.
pub fn now_or_later(state: &State, encoding: Encoding, answer: About) -> Told {
    match Later::new(state, answer) {
        Ok(later) => Told::Later(Box::new(later)),
        Err(answer) => Told::Now(write_about(encoding, &answer)),
    }
}

/// An answer about jobs, as the asker gets it.
pub fn write_about(encoding: Encoding, answer: &About) -> Bytes {
    match answer {
        About::Described(answer) => encoding.write(answer).into(),
        About::Listed(answer) => encoding.write(answer).into(),
        About::Explained(answer) => encoding.write(answer).into(),
        About::Tagged(answer) => encoding.write(answer).into(),
    }
}

/// Reads a question and answers it by this view.
fn told<Q: DeserializeOwned, R: Serialize>(
    operation: &str,
    encoding: Encoding,
    payload: &[u8],
    view: impl FnOnce(&Q) -> Result<R, ApiError>,
) -> Result<Asked, ApiError> {
    let question = read(operation, encoding, payload)?;
    Ok(Asked::Told(Told::Now(encoding.write(&view(&question)?).into())))
}

/// A request larger than the limit.
pub fn too_large(operation: &str, bytes: usize) -> ApiError {
    ApiError::new(
        windrow_common::api::ErrorKind::TooLarge,
        format!(
            "{operation} request is {} KiB large, at most {} KiB are allowed",
            bytes.div_ceil(1024),
            REQUEST_BYTES_MAX / 1024
        ),
    )
    .hint("put large data into files and pass their names")
}

pub(crate) fn command(
    operation: &str,
    encoding: Encoding,
    payload: &[u8],
    new_id: &mut dyn FnMut() -> JobId,
) -> Result<Option<Command>, ApiError> {
    /// Reads the request and makes the command of it.
    fn one<T: DeserializeOwned>(
        operation: &str,
        encoding: Encoding,
        payload: &[u8],
        make: impl FnOnce(T) -> Command,
    ) -> Result<Option<Command>, ApiError> {
        Ok(Some(make(read(operation, encoding, payload)?)))
    }
    let (o, e, p) = (operation, encoding, payload);
    match operation {
        SubmitJob::NAME => {
            one(o, e, p, |request| Command::Submit { id: new_id(), request: Box::new(request) })
        }
        CancelJob::NAME => one(o, e, p, Command::Cancel),
        TerminateJob::NAME => one(o, e, p, Command::Terminate),
        CancelJobs::NAME => one(o, e, p, Command::CancelMany),
        TerminateJobs::NAME => one(o, e, p, Command::TerminateMany),
        RerunJob::NAME => {
            one(o, e, p, |request| Command::Rerun { id: new_id(), request: Box::new(request) })
        }
        RegisterJobDefinition::NAME => one(o, e, p, |r| Command::RegisterDefinition(Box::new(r))),
        DeregisterJobDefinition::NAME => one(o, e, p, Command::DeregisterDefinition),
        CreateJobQueue::NAME => one(o, e, p, Command::CreateQueue),
        UpdateJobQueue::NAME => one(o, e, p, Command::UpdateQueue),
        DeleteJobQueue::NAME => one(o, e, p, Command::DeleteQueue),
        CreateComputeEnvironment::NAME => one(o, e, p, Command::CreateEnvironment),
        UpdateComputeEnvironment::NAME => one(o, e, p, Command::UpdateEnvironment),
        DeleteComputeEnvironment::NAME => one(o, e, p, Command::DeleteEnvironment),
        CreateSchedulingPolicy::NAME => one(o, e, p, Command::CreatePolicy),
        UpdateSchedulingPolicy::NAME => one(o, e, p, Command::UpdatePolicy),
        DeleteSchedulingPolicy::NAME => one(o, e, p, Command::DeletePolicy),
        DrainAgent::NAME => one(o, e, p, Command::DrainAgent),
        AcknowledgeAlarm::NAME => one(o, e, p, Command::AcknowledgeAlarm),
        CreateConsumableResource::NAME => one(o, e, p, Command::CreateConsumable),
        UpdateConsumableResource::NAME => one(o, e, p, Command::UpdateConsumable),
        DeleteConsumableResource::NAME => one(o, e, p, Command::DeleteConsumable),
        UpdateJob::NAME => one(o, e, p, Command::UpdateJob),
        TagResource::NAME => one(o, e, p, Command::Tag),
        UntagResource::NAME => one(o, e, p, Command::Untag),
        CreateQuotaShare::NAME => one(o, e, p, Command::CreateQuotaShare),
        UpdateQuotaShare::NAME => one(o, e, p, Command::UpdateQuotaShare),
        DeleteQuotaShare::NAME => one(o, e, p, Command::DeleteQuotaShare),
        RevokeAccessKey::NAME => one(o, e, p, Command::RevokeAccessKey),
        _ => service_command(operation, encoding, payload, new_id),
    }
}

/// The same, of service environments and service jobs.
fn service_command(
    operation: &str,
    encoding: Encoding,
    payload: &[u8],
    new_id: &mut dyn FnMut() -> JobId,
) -> Result<Option<Command>, ApiError> {
    let (o, e, p) = (operation, encoding, payload);
    let command = match operation {
        CreateServiceEnvironment::NAME => ServiceCommand::CreateEnvironment(read(o, e, p)?),
        UpdateServiceEnvironment::NAME => ServiceCommand::UpdateEnvironment(read(o, e, p)?),
        DeleteServiceEnvironment::NAME => ServiceCommand::DeleteEnvironment(read(o, e, p)?),
        SubmitServiceJob::NAME => ServiceCommand::Submit { request: read(o, e, p)?, id: new_id() },
        UpdateServiceJob::NAME => ServiceCommand::Update(read(o, e, p)?),
        TerminateServiceJob::NAME => ServiceCommand::Terminate(read(o, e, p)?),
        TerminateServiceJobs::NAME => ServiceCommand::TerminateMany(read(o, e, p)?),
        _ => return Ok(None),
    };
    Ok(Some(Command::Service(Box::new(command))))
}

/// Reads a request of this operation.
///
/// # Errors
/// Says what about it cannot be read.
pub fn read<T: DeserializeOwned>(
    operation: &str,
    encoding: Encoding,
    payload: &[u8],
) -> Result<T, ApiError> {
    // A sequence could be read as the fields of a struct by position.
    if matches!(encoding, Encoding::Json) && payload.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid(format!("{operation} request must be a JSON object")));
    }
    encoding.read(payload).map_err(|e| {
        ApiError::invalid(format!(
            "{operation} request cannot be read as {}: {e}",
            encoding.content_type()
        ))
    })
}

/// The answer to a command, as the asker gets it.
pub fn write_answer(encoding: Encoding, answer: &Answer) -> Bytes {
    fn write<T: Serialize>(encoding: Encoding, value: &T) -> Bytes {
        encoding.write(value).into()
    }
    match answer {
        Answer::Submitted(response) => write(encoding, response),
        Answer::Bulk(response) => write(encoding, response),
        Answer::Rerun(response) => write(encoding, response),
        Answer::Definition(response) => write(encoding, response),
        Answer::Queue(response) => write(encoding, response),
        Answer::Environment(response) => write(encoding, response),
        Answer::ConsumableCreated(response) => write(encoding, response),
        Answer::ConsumableUpdated(response) => write(encoding, response),
        Answer::Policy(response) => write(encoding, response),
        Answer::JobUpdated(response) => write(encoding, response),
        Answer::QuotaShare(response) => write(encoding, response),
        Answer::ServiceEnvironment(response) => write(encoding, response),
        Answer::ServiceJob(response) => write(encoding, response),
        Answer::AccessKey(response) => write(encoding, response),
        Answer::Done
        | Answer::Registered { .. }
        | Answer::Replaced(_)
        | Answer::MustRegister
        | Answer::Refused(_) => write(encoding, &Empty {}),
    }
}
