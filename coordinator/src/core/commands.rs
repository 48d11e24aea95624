//! Commands and what they decide. One file for each group of commands.

mod access;
mod agents;
mod archive;
mod blocked;
mod consumables;
mod definitions;
mod dependencies;
mod environments;
mod named;
mod nodes;
mod place;
mod policies;
mod queues;
mod quota;
mod reclaim;
mod report;
mod rerun;
mod services;
mod stop;
mod submit;
mod tags;
mod tick;
mod update;
mod work;

pub use access::NewAccessKey;
pub use named::dependencies;
pub use services::ServiceCommand;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use windrow_common::api::ApiError;
use windrow_common::api::access::{CreateAccessKeyResponse, RevokeAccessKey};
use windrow_common::api::consumables::{
    CreateConsumableResource, CreateConsumableResourceResponse, DeleteConsumableResource,
    UpdateConsumableResource, UpdateConsumableResourceResponse,
};
use windrow_common::api::definitions::{
    DeregisterJobDefinition, RegisterJobDefinition, RegisterJobDefinitionResponse,
};
use windrow_common::api::jobs::{
    BulkResponse, CancelJob, CancelJobs, RerunJob, RerunJobResponse, SubmitJob, SubmitJobResponse,
    TerminateJob, TerminateJobs, UpdateJob, UpdateJobResponse,
};
use windrow_common::api::policies::{
    CreateSchedulingPolicy, CreateSchedulingPolicyResponse, DeleteSchedulingPolicy,
    UpdateSchedulingPolicy,
};
use windrow_common::api::quota::{
    CreateQuotaShare, DeleteQuotaShare, QuotaShareResponse, UpdateQuotaShare,
};
use windrow_common::api::resources::{
    AcknowledgeAlarm, ComputeEnvironmentResponse, CreateComputeEnvironment, CreateJobQueue,
    DeleteComputeEnvironment, DeleteJobQueue, DrainAgent, JobQueueResponse,
    UpdateComputeEnvironment, UpdateJobQueue,
};
use windrow_common::api::services::{ServiceEnvironmentResponse, ServiceJobResponse};
use windrow_common::api::tags::{TagResource, UntagResource};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Held, Register, ReportMessage};

use super::State;
use super::alarms::{self, Numbers};
use super::children::NeverRan;
use super::event::{Event, Preempted};
use super::limits::{EVENT_RANGES_MAX, Limits};
use super::shelf::{PageId, Record};
use crate::scheduler::{Placement, Reservation};

/// What somebody asks of the core.
#[derive(Clone, Debug)]
pub enum Command {
    /// A coordinator begins to lead.
    StartTerm,
    /// Something was lost, as these numbers or the journal show; the text names it.
    Recover {
        seen: Numbers,
        text: String,
    },
    /// `id` is used if it becomes a new job.
    Submit {
        id: JobId,
        request: Box<SubmitJob>,
    },
    /// A message of the submission stream; decided once for each sequence.
    SubmitFromStream {
        sequence: u64,
        /// By the clock of the stream.
        published: Timestamp,
        id: JobId,
        request: Box<SubmitJob>,
    },
    /// A message of the submission stream that is no request; it goes to the dead letters.
    SubmissionUnreadable {
        sequence: u64,
        published: Timestamp,
    },
    Cancel(CancelJob),
    Terminate(TerminateJob),
    CancelMany(CancelJobs),
    TerminateMany(TerminateJobs),
    /// `id` is used if it becomes a new job.
    Rerun {
        id: JobId,
        request: Box<RerunJob>,
    },
    RegisterDefinition(Box<RegisterJobDefinition>),
    DeregisterDefinition(DeregisterJobDefinition),
    CreateQueue(CreateJobQueue),
    UpdateQueue(UpdateJobQueue),
    DeleteQueue(DeleteJobQueue),
    CreateEnvironment(CreateComputeEnvironment),
    UpdateEnvironment(UpdateComputeEnvironment),
    DeleteEnvironment(DeleteComputeEnvironment),
    DrainAgent(DrainAgent),
    AcknowledgeAlarm(AcknowledgeAlarm),
    RegisterAgent(Box<Register>),
    /// An agent was not heard for too long.
    AgentUnheard(Name),
    Report(ReportMessage),
    Tag(TagResource),
    Untag(UntagResource),
    /// The scheduler's wish.
    Place(Placement),
    /// The first piece of follow-up work.
    Work,
    /// The history has what archiving these finished jobs loses; each with the time of its end.
    Archive(Vec<(Timestamp, JobId)>),
    /// Jobs that ended at or before this time need not be known any longer.
    Forget(Timestamp),
    /// A page of the history has these finished jobs as they are here: they need not be here.
    Shelve(Box<Shelve>),
    /// The history was asked for a shelved job, and this is it.
    Load(Box<Record>),
    /// The first thing that is due by time, if there is one; asked for until nothing is due.
    Tick,
    CreateConsumable(CreateConsumableResource),
    UpdateConsumable(UpdateConsumableResource),
    DeleteConsumable(DeleteConsumableResource),
    UpdateJob(UpdateJob),
    CreatePolicy(CreateSchedulingPolicy),
    UpdatePolicy(UpdateSchedulingPolicy),
    DeletePolicy(DeleteSchedulingPolicy),
    CreateQuotaShare(CreateQuotaShare),
    UpdateQuotaShare(UpdateQuotaShare),
    DeleteQuotaShare(DeleteQuotaShare),
    /// The scheduler's wish to stop children so that another job can start.
    Preempt(Preempted),
    /// The scheduler's wish, after a pass, which agents stay kept for the first jobs of queues.
    Reserve(BTreeMap<Name, Reservation>),
    /// Which heads of queues are blocked; asked for until nothing changes.
    WatchQueues,
    CreateAccessKey(Box<NewAccessKey>),
    RevokeAccessKey(RevokeAccessKey),
    /// About service environments and service jobs.
    Service(Box<ServiceCommand>),
}

/// A page of finished jobs that is stored.
#[derive(Clone, Debug)]
pub struct Shelve {
    pub page: PageId,
    /// What the page has.
    pub jobs: Arc<Vec<Record>>,
    /// How many idempotency keys of shelved jobs may be known.
    pub keys_max: u64,
}

/// What a command leads to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What happens, in this order.
    pub events: Vec<Event>,
    /// What the asker is told once it has happened.
    pub answer: Answer,
}

/// What the asker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    #[default]
    Done,
    Submitted(SubmitJobResponse),
    Bulk(BulkResponse),
    Rerun(RerunJobResponse),
    Definition(RegisterJobDefinitionResponse),
    Queue(JobQueueResponse),
    Environment(ComputeEnvironmentResponse),
    Registered {
        session: u64,
        fenced: Vec<Held>,
    },
    /// Another process has the agent's name; who that is.
    Replaced(String),
    /// The agent has to register (again) before its messages count.
    MustRegister,
    /// A submission refused: it goes to the dead letters.
    Refused(ApiError),
    ConsumableCreated(CreateConsumableResourceResponse),
    ConsumableUpdated(UpdateConsumableResourceResponse),
    JobUpdated(UpdateJobResponse),
    Policy(CreateSchedulingPolicyResponse),
    QuotaShare(QuotaShareResponse),
    AccessKey(Box<CreateAccessKeyResponse>),
    ServiceEnvironment(ServiceEnvironmentResponse),
    ServiceJob(ServiceJobResponse),
}

impl From<Vec<Event>> for Decision {
    fn from(events: Vec<Event>) -> Self {
        Self { events, answer: Answer::Done }
    }
}

/// May this happen, and what is it? Reads the state, changes nothing.
///
/// # Errors
/// A refusal is an answer for the asker; nothing happens.
pub fn decide(
    state: &State,
    limits: &Limits,
    command: &Command,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let mut decision = decide_command(state, limits, command, now)?;
    // Use of shares is counted in time, and events have none of their own.
    if !decision.events.is_empty() && !state.policies.is_empty() && now > state.clock {
        decision.events.insert(0, Event::TimePassed { at: now });
    }
    Ok(decision)
}

fn decide_command(
    state: &State,
    limits: &Limits,
    command: &Command,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    match command {
        Command::StartTerm => Ok(vec![Event::TermStarted { term: state.term + 1 }].into()),
        Command::Submit { id, request } => submit::submit(state, limits, *id, request, now),
        Command::Recover { seen, text } => {
            let recovered = alarms::recover(state, *seen, text, now);
            Ok(vec![Event::Recovered(Box::new(recovered))].into())
        }
        Command::SubmitFromStream { sequence, published, id, request } => {
            let place = (*sequence, *published);
            Ok(submit::from_stream(state, limits, place, *id, request, now))
        }
        Command::SubmissionUnreadable { sequence, published } => {
            let (sequence, published) = (*sequence, *published);
            Ok(vec![Event::SubmissionTaken { sequence, published }].into())
        }
        Command::Cancel(request) => stop::cancel(state, request, now),
        Command::Terminate(request) => stop::terminate(state, request, now),
        Command::CancelMany(request) => stop::cancel_many(state, limits, request, now),
        Command::TerminateMany(request) => stop::terminate_many(state, limits, request, now),
        Command::Rerun { id, request } => rerun::rerun(state, limits, *id, request, now),
        Command::RegisterDefinition(request) => definitions::register(state, limits, request),
        Command::DeregisterDefinition(request) => definitions::deregister(state, request),
        Command::CreateQueue(request) => queues::create(state, limits, request),
        Command::UpdateQueue(request) => queues::update(state, limits, request),
        Command::DeleteQueue(request) => queues::delete(state, request),
        Command::CreateEnvironment(request) => environments::create(state, limits, request),
        Command::UpdateEnvironment(request) => environments::update(state, limits, request),
        Command::DeleteEnvironment(request) => environments::delete(state, request),
        Command::DrainAgent(request) => agents::drain(state, request),
        Command::AcknowledgeAlarm(request) => alarms::acknowledge(state, request, now),
        Command::RegisterAgent(request) => agents::register(state, limits, request, now),
        Command::AgentUnheard(agent) => Ok(agents::unheard(state, agent).into()),
        Command::Report(message) => Ok(report::report(state, limits, message, now)),
        Command::Tag(request) => tags::tag(state, request),
        Command::Untag(request) => tags::untag(state, request),
        Command::Archive(stored) => Ok(archive::archive(state, stored).into()),
        Command::Forget(upto) => Ok(archive::forget(state, *upto).into()),
        Command::Shelve(shelve) => Ok(archive::shelve(state, shelve).into()),
        Command::Load(record) => Ok(archive::load(state, record).into()),
        Command::Place(placement) => Ok(place::place(state, placement, now).into()),
        Command::Work => Ok(work::work(state, limits, now).into()),
        Command::Tick => Ok(tick::tick(state, now).into()),
        Command::CreateConsumable(request) => consumables::create(state, limits, request, now),
        Command::UpdateConsumable(request) => consumables::update(state, request, now),
        Command::DeleteConsumable(request) => consumables::delete(state, request),
        Command::CreatePolicy(request) => policies::create(state, limits, request),
        Command::UpdatePolicy(request) => policies::update(state, limits, request),
        Command::DeletePolicy(request) => policies::delete(state, request),
        Command::UpdateJob(request) => update::update(state, request),
        Command::CreateQuotaShare(request) => quota::create(state, limits, request),
        Command::UpdateQuotaShare(request) => quota::update(state, request),
        Command::DeleteQuotaShare(request) => quota::delete(state, request),
        Command::Preempt(wish) => Ok(place::preempt(state, wish).into()),
        Command::Reserve(wish) => Ok(place::reserve(state, wish).into()),
        Command::WatchQueues => Ok(blocked::watch(state, now).into()),
        Command::CreateAccessKey(new) => access::create(state, limits, new, now),
        Command::RevokeAccessKey(request) => access::revoke(state, request),
        Command::Service(command) => services::decide(state, limits, command, now),
    }
}

/// These children end without running (again), in events of bounded size.
fn fail(job: JobId, children: &[Range<u32>], ended: &NeverRan) -> Vec<Event> {
    let parts = children.chunks(EVENT_RANGES_MAX);
    parts
        .map(|part| Event::ChildrenFailed { job, children: part.to_vec(), ended: ended.clone() })
        .collect()
}
