//! Service environments and service jobs. They are kept, listed and ended; no backend of a cluster runs
//! them, so that a job is RUNNABLE until it is terminated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_common::api::resources::ResourceState;
use windrow_common::api::services::{ServiceJobRetryAction, ServiceType};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::state::{State, Work};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    pub environments: BTreeMap<Name, ServiceEnvironment>,
    pub jobs: BTreeMap<JobId, ServiceJob>,
    /// Jobs by the client token they were submitted with.
    pub tokens: BTreeMap<String, JobId>,
    /// Ended jobs by the time of their end.
    pub ended: BTreeSet<(Timestamp, JobId)>,
}

/// A service environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEnvironment {
    pub kind: ServiceType,
    pub state: ResourceState,
    /// Most of each unit; recorded, as nothing runs.
    pub capacity: Vec<(String, u32)>,
    pub tags: BTreeMap<String, String>,
}

/// A service job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceJob {
    pub kind: ServiceType,
    pub name: Name,
    pub queue: Name,
    /// For the service: a JSON object.
    pub payload: Arc<str>,
    pub retry: Option<ServiceRetry>,
    pub priority: Option<u32>,
    pub share: Option<Name>,
    pub timeout_seconds: Option<u32>,
    pub tags: BTreeMap<String, String>,
    /// The client token and the digest of the request.
    pub token: Option<(String, u64)>,
    pub created_at: Timestamp,
    /// When it was terminated, and the reason given.
    pub ended: Option<(Timestamp, Arc<str>)>,
}

/// How often a service job would be tried, and the rules for another try: action and status reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRetry {
    pub attempts: u32,
    pub rules: Vec<(Option<ServiceJobRetryAction>, Option<String>)>,
}

/// What happened to them. Append only, as all events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceEvent {
    EnvironmentSet {
        name: Name,
        environment: ServiceEnvironment,
    },
    EnvironmentDeleted {
        name: Name,
    },
    JobSubmitted {
        job: JobId,
        submitted: ServiceJob,
    },
    /// Jobs were terminated.
    JobsEnded {
        jobs: Vec<JobId>,
        reason: Arc<str>,
        at: Timestamp,
    },
    JobUpdated {
        job: JobId,
        priority: u32,
    },
    /// These ended jobs are unknown from now on.
    JobsForgotten {
        jobs: Vec<JobId>,
    },
}

/// It happened.
pub(super) fn apply(state: &mut State, event: &ServiceEvent) {
    let services = &mut state.services;
    match event {
        ServiceEvent::EnvironmentSet { name, environment } => {
            services.environments.insert(name.clone(), environment.clone());
        }
        ServiceEvent::EnvironmentDeleted { name } => drop(services.environments.remove(name)),
        ServiceEvent::JobSubmitted { job, submitted } => {
            if let Some((token, _)) = &submitted.token {
                services.tokens.insert(token.clone(), *job);
            }
            services.jobs.insert(*job, submitted.clone());
            if let Some(queue) = state.queues.get_mut(&submitted.queue) {
                queue.active_jobs += 1;
            }
        }
        ServiceEvent::JobsEnded { jobs, reason, at } => {
            jobs.iter().for_each(|id| end(state, *id, reason, *at));
        }
        ServiceEvent::JobUpdated { job, priority } => {
            if let Some(job) = services.jobs.get_mut(job) {
                job.priority = Some(*priority);
            }
        }
        ServiceEvent::JobsForgotten { jobs } => {
            jobs.iter().for_each(|id| services.forget(*id));
        }
    }
}

fn end(state: &mut State, id: JobId, reason: &Arc<str>, at: Timestamp) {
    let services = &mut state.services;
    let Some(job) = services.jobs.get_mut(&id).filter(|job| job.ended.is_none()) else { return };
    job.ended = Some((at, reason.clone()));
    services.ended.insert((at, id));
    let Some(queue) = state.queues.get_mut(&job.queue) else { return };
    queue.active_jobs = queue.active_jobs.saturating_sub(1);
    if queue.is_deleting && queue.active_jobs == 0 {
        state.work.push_back(Work::RemoveQueue(job.queue.clone()));
    }
}

impl Services {
    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some((at, _)) = job.ended {
            self.ended.remove(&(at, id));
        }
        if let Some((token, _)) = job.token {
            self.tokens.remove(&token);
        }
    }

    /// The tables agree with the jobs.
    ///
    /// # Errors
    /// Says where they do not.
    pub(super) fn check(&self) -> Result<(), String> {
        let ended = self.jobs.iter().filter_map(|(id, job)| Some((job.ended.as_ref()?.0, *id)));
        if ended.collect::<BTreeSet<_>>() != self.ended {
            return Err("the table of ended service jobs differs from the jobs".to_owned());
        }
        let token = |(id, job): (&JobId, &ServiceJob)| Some((job.token.as_ref()?.0.clone(), *id));
        if self.jobs.iter().filter_map(token).collect::<BTreeMap<_, _>>() != self.tokens {
            return Err("the client tokens of service jobs differ from the jobs".to_owned());
        }
        Ok(())
    }
}
