//! A model of jobs, made from the journal's events by rules of its own.

mod disconnect;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use windrow_agent::executor::AttemptKey;
use windrow_common::api::jobs::{DependencyCondition, JobStatus};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::wire::lease::{Lease, SpecDigest};
use windrow_coordinator::core::State;
use windrow_coordinator::core::event::{ChildEnd, Event, Granted, Submitted, Then};
use windrow_coordinator::core::state::{Awaited, Dependency};

use super::truth::Truth;

/// How long an attempt may go on after it was stopped or given up, in milliseconds: cut off from
/// everybody, then stopped, then killed.
const UNWANTED_MAX: u64 = 75_000;

#[derive(Clone, Debug)]
struct Child {
    status: JobStatus,
    attempts: u32,
    charged: u32,
    lease: Option<LeaseId>,
    /// The lease whose result was the last.
    ended_by: Option<LeaseId>,
}

#[derive(Clone, Debug)]
struct Job {
    children: Vec<Child>,
    is_array: bool,
    depends_on: Vec<Dependency>,
    attempts_max: u32,
    /// Children that were cancelled or terminated: no attempt of them begins any more.
    stopped: BTreeSet<u32>,
    /// How many have not ended.
    open: usize,
}

#[derive(Clone, Debug)]
struct Given {
    job: JobId,
    children: Range<u32>,
    attempt: u32,
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    jobs: BTreeMap<JobId, Job>,
    keys: BTreeMap<String, JobId>,
    /// Most attempts, by spec.
    specs: BTreeMap<SpecDigest, u32>,
    /// Every lease ever given.
    leases: BTreeMap<LeaseId, Given>,
    /// Sessions of agents that are not lost, with the last report taken.
    agents: BTreeMap<Name, (u64, u64)>,
    /// Agents that must have ended what they hold before it runs elsewhere, as last agreed with them.
    strict: BTreeSet<Name>,
    /// What agents that are lost can have back: whether it ran.
    given_up: BTreeMap<AttemptKey, JobStatus>,
    last_session: u64,
    term: u64,
    open: usize,
    /// Since when attempts are not wanted any more: they were stopped or given up.
    unwanted: BTreeMap<AttemptKey, u64>,
    /// Results accepted.
    pub results: u64,
}

fn err<T>(what: String) -> Result<T, String> {
    Err(what)
}

impl Model {
    /// Whether the job exists.
    pub fn has(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// The job of an idempotency key.
    pub fn by_key(&self, key: &str) -> Option<JobId> {
        self.keys.get(key).copied()
    }

    /// Whether every job has ended.
    pub fn all_ended(&self) -> bool {
        self.open == 0
    }

    /// Number of jobs.
    pub fn count(&self) -> usize {
        self.jobs.len()
    }

    /// How a job ended, if it has.
    pub fn status(&self, job: JobId) -> Option<JobStatus> {
        let job = self.jobs.get(&job).filter(|job| job.open == 0)?;
        let is_good = |child: &Child| child.status == JobStatus::Succeeded;
        let good = job.children.iter().all(is_good);
        Some(if good { JobStatus::Succeeded } else { JobStatus::Failed })
    }

    /// What has not ended, for people.
    pub fn unfinished(&self) -> String {
        let open = self.jobs.iter().filter(|(_, job)| job.open > 0);
        let first = open.clone().next().map(|(id, job)| {
            let is_open = |c: &&Child| !c.status.is_terminal();
            (id, job.depends_on.clone(), job.children.iter().find(is_open).cloned())
        });
        format!("{} of {} jobs have not ended: {first:?}", open.count(), self.jobs.len())
    }

    /// The lease a child has now.
    pub fn lease_of(&self, job: JobId, child: u32) -> Option<LeaseId> {
        self.jobs.get(&job)?.children.get(child as usize)?.lease
    }

    /// The session of an agent that is not lost.
    pub fn session(&self, agent: &Name) -> Option<u64> {
        self.agents.get(agent).map(|(session, _)| *session)
    }

    /// Whether an agent has agreed that what it holds runs nowhere else before it is over here.
    pub fn is_strict(&self, agent: &Name) -> bool {
        self.strict.contains(agent)
    }

    /// The job of a lease.
    pub fn job_of(&self, lease: LeaseId) -> Option<JobId> {
        self.leases.get(&lease).map(|given| given.job)
    }

    /// Since when nobody wants the attempt to run.
    pub fn unwanted_since(&self, key: AttemptKey) -> Option<u64> {
        self.unwanted.get(&key).copied()
    }

    /// An attempt goes on until it ends by itself: nobody may have wanted it to end long before.
    pub fn may_run_on(&self, key: AttemptKey, now: u64) -> Result<(), String> {
        match self.unwanted.get(&key) {
            Some(since) if now > since + UNWANTED_MAX => err(format!(
                "I10: {key:?} ends by itself, {} ms after it was given up",
                now - since
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the journal gave this lease.
    pub fn may_start(&self, key: AttemptKey, lease: &Lease) -> Result<(), String> {
        let given = self.leases.get(&key.lease).ok_or("the journal gave no such lease")?;
        let is_same = given.job == lease.job
            && given.children.contains(&key.child)
            && given.attempt == lease.attempt;
        if is_same { Ok(()) } else { err(format!("the journal gave {given:?}")) }
    }

    /// Children that SUCCEEDED, with the attempt they did by.
    pub fn successes(&self) -> impl Iterator<Item = (AttemptKey, JobId, u32)> {
        self.jobs.iter().flat_map(|(id, job)| {
            (0..).zip(&job.children).filter_map(|(index, child)| {
                let lease = child.ended_by.filter(|_| child.status == JobStatus::Succeeded)?;
                Some((AttemptKey { lease, child: index }, *id, index))
            })
        })
    }

    /// Takes a fact, and says what rule it breaks.
    #[expect(clippy::too_many_lines, reason = "one arm a fact")]
    pub fn take(&mut self, event: &Event, now: u64, truth: &Truth) -> Result<(), String> {
        match event {
            Event::TermStarted { term } => {
                if *term <= self.term {
                    return err(format!("term {term} begins after {}", self.term));
                }
                self.term = *term;
            }
            Event::SpecAdded { digest, spec } => {
                self.specs.insert(*digest, spec.retry.attempts_max);
            }
            Event::JobSubmitted { job, submitted } => return self.submit(*job, submitted),
            Event::JobAdmitted { job } => {
                for child in &mut self.job(*job)?.children {
                    if child.status == JobStatus::Submitted {
                        child.status = JobStatus::Pending;
                    }
                }
            }
            Event::ChildrenReleased { job, children, .. } => {
                return self.release(*job, children);
            }
            Event::ChildrenFailed { job, children, .. } => {
                for child in children.iter().cloned().flatten() {
                    let status = self.child(*job, child)?.status;
                    if !matches!(
                        status,
                        JobStatus::Submitted | JobStatus::Pending | JobStatus::Runnable
                    ) {
                        return err(format!("I3: child {child} of {job} was {status:?} and fails"));
                    }
                    self.close(*job, child, JobStatus::Failed)?;
                }
            }
            Event::JobCancelled { job, children, .. }
            | Event::StopRequested { job, children, .. } => {
                let children: Vec<u32> = children.iter().cloned().flatten().collect();
                for child in &children {
                    if let Some(lease) = self.lease_of(*job, *child) {
                        let key = AttemptKey { lease, child: *child };
                        self.unwanted.entry(key).or_insert(now);
                    }
                }
                self.job(*job)?.stopped.extend(children);
            }
            Event::LeaseGranted(granted) => return self.grant(granted),
            Event::ChildrenStarted { lease, started } => {
                let job = self.given(*lease)?.job;
                for (child, _) in started {
                    let child = self.held(job, *child, *lease)?;
                    child.status = JobStatus::Running;
                }
            }
            Event::ChildrenEnded { lease, ended } => {
                for end in ended {
                    self.end(*lease, end, truth)?;
                    self.unwanted
                        .entry(AttemptKey { lease: *lease, child: end.child })
                        .or_insert(now);
                }
            }
            Event::LeaseReturned { lease, children } => {
                let job = self.given(*lease)?.job;
                for child in children.iter().cloned().flatten() {
                    let key = AttemptKey { lease: *lease, child };
                    truth.is_not_lost(key)?;
                    self.unwanted.entry(key).or_insert(now);
                    let child = self.held(job, child, *lease)?;
                    (child.status, child.lease) = (JobStatus::Runnable, None);
                    child.attempts -= 1;
                }
            }
            Event::AgentRegistered { agent, registered } => {
                let session = registered.session;
                if session <= self.last_session {
                    return err(format!("session {session} follows {}", self.last_session));
                }
                self.last_session = session;
                self.agents.insert(agent.clone(), (session, 0));
                match registered.disconnect.strict {
                    true => self.strict.insert(agent.clone()),
                    false => self.strict.remove(agent),
                };
            }
            Event::LeaseGivenUp { lease } => return self.give_up(*lease),
            Event::LeaseRevoked { lease, children, .. } => {
                return self.revoke(*lease, children, now);
            }
            Event::LeaseReclaimed(reclaimed) => return self.reclaim(reclaimed),
            Event::AgentLost { agent } => drop(self.agents.remove(agent)),
            Event::ReportsTaken { agent, upto } => {
                if let Some((_, taken)) = self.agents.get_mut(agent) {
                    if *upto <= *taken {
                        return err(format!("I4: reports of {agent} up to {upto} after {taken}"));
                    }
                    *taken = *upto;
                }
            }
            // Nothing that this model looks at.
            _ => {}
        }
        Ok(())
    }

    fn job(&mut self, id: JobId) -> Result<&mut Job, String> {
        self.jobs.get_mut(&id).ok_or_else(|| format!("job {id} is unknown"))
    }

    fn child(&mut self, id: JobId, child: u32) -> Result<&mut Child, String> {
        let children = &mut self.job(id)?.children;
        children.get_mut(child as usize).ok_or_else(|| format!("{id} has no child {child}"))
    }

    fn given(&self, lease: LeaseId) -> Result<&Given, String> {
        self.leases.get(&lease).ok_or_else(|| format!("{lease} was never given"))
    }

    /// A child that has this lease.
    fn held(&mut self, id: JobId, child: u32, lease: LeaseId) -> Result<&mut Child, String> {
        let found = self.child(id, child)?;
        let is_live = matches!(found.status, JobStatus::Starting | JobStatus::Running);
        if found.lease != Some(lease) || !is_live {
            return err(format!("I4: {lease} is not that of child {child} of {id}: {found:?}"));
        }
        Ok(found)
    }

    fn submit(&mut self, id: JobId, submitted: &Submitted) -> Result<(), String> {
        if self.jobs.contains_key(&id) {
            return err(format!("job {id} is submitted twice"));
        }
        if let Some((key, _)) = &submitted.key
            && let Some(before) = self.keys.insert(key.clone(), id)
        {
            return err(format!("I2: key `{key}` is {before}'s and becomes {id}'s"));
        }
        let child = Child {
            status: JobStatus::Submitted,
            attempts: 0,
            charged: 0,
            lease: None,
            ended_by: None,
        };
        let size = submitted.array_size.unwrap_or(1) as usize;
        let job = Job {
            children: vec![child; size],
            is_array: submitted.array_size.is_some(),
            depends_on: submitted.depends_on.clone(),
            attempts_max: self.specs.get(&submitted.spec).copied().unwrap_or(1),
            stopped: BTreeSet::new(),
            open: size,
        };
        self.open += 1;
        self.jobs.insert(id, job);
        Ok(())
    }

    fn release(&mut self, id: JobId, children: &[Range<u32>]) -> Result<(), String> {
        for child in children.iter().cloned().flatten() {
            let dependencies = self.job(id)?.depends_on.clone();
            for dependency in &dependencies {
                self.is_met(id, child, dependency)
                    .map_err(|why| format!("I8: child {child} of {id} is released: {why}"))?;
            }
            let child = self.child(id, child)?;
            if !matches!(child.status, JobStatus::Pending | JobStatus::Submitted) {
                return err(format!("I3: {child:?} of {id} is released"));
            }
            child.status = JobStatus::Runnable;
        }
        Ok(())
    }

    /// Whether what a child waits for is there.
    fn is_met(&self, id: JobId, child: u32, dependency: &Dependency) -> Result<(), String> {
        let status_of = |job: JobId, child: u32| {
            let children = self.jobs.get(&job).map(|job| &job.children);
            children.and_then(|all| all.get(child as usize)).map(|child| child.status)
        };
        let (what, status) = match &dependency.on {
            Awaited::Job(job) => (format!("job {job}"), self.status(*job)),
            Awaited::Child(job, index) => (format!("{job}:{index}"), status_of(*job, *index)),
            Awaited::NToN(job) => (format!("{job}:{child}"), status_of(*job, child)),
            Awaited::Sequential if child == 0 => return Ok(()),
            Awaited::Sequential => (format!("child {}", child - 1), status_of(id, child - 1)),
        };
        let is_met = match dependency.condition {
            DependencyCondition::Success => status == Some(JobStatus::Succeeded),
            DependencyCondition::Failed => status == Some(JobStatus::Failed),
            DependencyCondition::Any => status.is_some_and(JobStatus::is_terminal),
        };
        if is_met { Ok(()) } else { err(format!("{what} is {status:?}")) }
    }

    fn grant(&mut self, granted: &Granted) -> Result<(), String> {
        let Granted { lease, agent, job, children, attempt, .. } = granted;
        if let Some((last, _)) = self.leases.last_key_value()
            && last >= lease
        {
            return err(format!("I4: {lease} follows {last}"));
        }
        if !self.agents.contains_key(agent) {
            return err(format!("{lease} goes to {agent}, which is lost"));
        }
        for index in children.clone() {
            if self.job(*job)?.stopped.contains(&index) {
                return err(format!("I10: child {index} of {job} was stopped and gets {lease}"));
            }
            let child = self.child(*job, index)?;
            if child.status != JobStatus::Runnable || child.attempts + 1 != *attempt {
                return err(format!("I4: {child:?} of {job} gets {lease} for attempt {attempt}"));
            }
            child.attempts += 1;
            (child.status, child.lease) = (JobStatus::Starting, Some(*lease));
        }
        let given = Given { job: *job, children: children.clone(), attempt: *attempt };
        self.leases.insert(*lease, given);
        Ok(())
    }

    fn end(&mut self, lease: LeaseId, end: &ChildEnd, truth: &Truth) -> Result<(), String> {
        let id = self.given(lease)?.job;
        let most = self.job(id)?.attempts_max;
        let child = self.held(id, end.child, lease)?;
        (child.lease, child.ended_by) = (None, Some(lease));
        let key = AttemptKey { lease, child: end.child };
        if let Some(code) = end.attempt.exit_code
            && !truth.has_ended(key, code)
        {
            return err(format!("I4: {key:?} of {id} is said to have ended with {code}"));
        }
        match end.then {
            Then::Retry => {
                child.charged += 1;
                if child.charged >= most {
                    return err(format!("I5: {key:?} of {id} is retried beyond {most}"));
                }
                child.status = JobStatus::Runnable;
            }
            Then::RetryUncharged | Then::Preempted => child.status = JobStatus::Runnable,
            Then::Failed => {
                let is_failure = end.attempt.exit_code.is_some_and(|code| code == 1);
                let left = child.charged + 1 < most;
                let is_own = end.attempt.status_reason.is_none();
                if is_failure && is_own && left && !self.jobs[&id].stopped.contains(&end.child) {
                    return err(format!("I5: {key:?} of {id} is not retried, {most} are allowed"));
                }
                self.results += 1;
                self.close(id, end.child, JobStatus::Failed)?;
            }
            Then::Succeeded => {
                if end.attempt.exit_code != Some(0) {
                    return err(format!("I4: {key:?} of {id} SUCCEEDED without having"));
                }
                self.results += 1;
                self.close(id, end.child, JobStatus::Succeeded)?;
            }
            Then::Node(_) => {}
        }
        Ok(())
    }

    fn close(&mut self, id: JobId, child: u32, status: JobStatus) -> Result<(), String> {
        let found = self.child(id, child)?;
        if found.status.is_terminal() {
            return err(format!("I3: child {child} of {id} ends twice"));
        }
        found.status = status;
        let job = self.job(id)?;
        job.open -= 1;
        if job.open == 0 {
            self.open -= 1;
        }
        Ok(())
    }

    /// The product's state has the same jobs in the same states (I9).
    pub fn compare(&self, state: &State) -> Result<(), String> {
        for (id, job) in &self.jobs {
            let Some(theirs) = state.jobs.get(id) else {
                return err(format!("I1: {id} is not in the state"));
            };
            if theirs.children.is_archived() {
                continue;
            }
            for (index, child) in (0..).zip(&job.children) {
                let status = theirs.children.status(index);
                if status != child.status {
                    return err(format!(
                        "I9: child {index} of {id} is {status:?}, by the journal {:?}",
                        child.status
                    ));
                }
            }
            let open = job.children.iter().filter(|child| !child.status.is_terminal()).count();
            if open != job.open || theirs.array_size.is_some() != job.is_array {
                return err(format!("I9: {open} children of {id} are open"));
            }
        }
        if state.jobs.len() != self.jobs.len() {
            return err("I1: the state has other jobs".to_owned());
        }
        for (name, agent) in &self.agents {
            if state.agents.get(name).map(|a| a.session) != Some(agent.0) {
                return err(format!("{name} has another session in the state"));
            }
        }
        Ok(())
    }
}
