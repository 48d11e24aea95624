//! Reasons in words: what it is, what would change it, and the same for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use windrow_common::api::explain::{Explanation, Fix, Unmet};
use windrow_common::api::jobs::DependencyCondition;
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::{JobId, JobRef, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Executor;

use super::ahead::Before;
use super::hosts::Hosts;
use super::limits::{beyond_share, max_parallel, turn};
use super::{Full, Hold, Look, Unable, Unfit, Why, environments, hold, shape};
use crate::core::index::Shape;
use crate::core::quota::Short;
use crate::core::state::{Awaited, Job, Met};
use crate::scheduler::room::suits_some_agent;

/// Most dependencies named.
const UNMET_MAX: usize = 10;

/// A reason in words.
#[derive(Debug, Default)]
pub(super) struct Words {
    message: String,
    hint: Option<String>,
    status_reason: Option<String>,
    fix: Vec<Fix>,
}

impl Words {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// AWS Batch's status reason: this prefix and the message.
    pub(super) fn status(mut self, prefix: &str) -> Self {
        self.status_reason = Some(format!("{prefix} - {}", self.message));
        self
    }

    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix.push(fix);
        self
    }

    /// A request that would change it, and its command as the hint.
    pub(super) fn request(
        self,
        operation: &str,
        request: serde_json::Value,
        command: String,
    ) -> Self {
        let hint = format!("`{command}`");
        self.hint(hint).fix(Fix::Request { operation: operation.to_owned(), request, command })
    }

    /// The same, where something else would change it as well.
    pub(super) fn request_or(
        self,
        operation: &str,
        request: serde_json::Value,
        command: String,
        otherwise: &str,
    ) -> Self {
        let hint = format!("{otherwise}, or `{command}`");
        self.request(operation, request, command).hint(hint)
    }
}

impl Look<'_> {
    /// The status reason that AWS Batch's vocabulary has for a ready job that somebody has to do
    /// something about. One that only waits its turn has none.
    pub fn status_reason(&self, id: JobId) -> Option<String> {
        let job = &self.state.jobs[&id];
        match hold(self.state, id) {
            Some(Hold::NoEnvironment) => return self.no_environment(&job.queue).status_reason,
            Some(Hold::QuotaShare(Short::Never(unit))) => {
                return beyond_share(job, unit).status_reason;
            }
            Some(Hold::QuotaShare(_) | Hold::Consumable(..) | Hold::KeptForOtherShares { .. })
            | None => {}
        }
        let shape = shape(self.state, id);
        if suits_some_agent(self.state, &job.queue, &shape) {
            return None;
        }
        let why = self.no_agent(&job.queue, &shape);
        let hosts = self.hosts(id, &job.queue, &shape);
        self.no_agent_words(job, &why, &shape, &hosts).status_reason
    }

    /// Everything there is to say about why this job or child does not get on. The job must be known,
    /// and the child one of its.
    pub fn explain(&self, id: JobRef) -> Explanation {
        let job = &self.state.jobs[&id.job];
        let child = job.child_of(id);
        let why = self.why(id);
        let shape = shape(self.state, id.job);
        let waits_for_room = matches!(why, Why::Full(_) | Why::Held(_));
        let hosts = match job.children.status(child) {
            JobStatus::Runnable => self.hosts(id.job, &job.queue, &shape),
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Starting
            | JobStatus::Running
            | JobStatus::Succeeded
            | JobStatus::Failed => Hosts::default(),
        };
        let before = waits_for_room.then(|| self.before(id.job));
        let words = self.words(id, &why, &shape, &hosts, before.as_ref());
        let estimate = match &before {
            Some(before) if !matches!(why, Why::Held(_)) => {
                self.estimate(&job.queue, before, hosts.milli_cpu)
            }
            Some(_) | None => Err(no_estimate(&why).to_owned()),
        };
        Explanation {
            job_id: id.to_string(),
            job_name: job.name.to_string(),
            job_queue: job.queue.to_string(),
            status: job.children.status(child),
            code: why.code(),
            class: why.code().class(),
            message: words.message,
            hint: words.hint,
            status_reason: words.status_reason,
            since: self.since(job, child, &why).map(|at| at.0),
            fix: words.fix,
            nodes_considered: hosts.considered,
            excluded: hosts.excluded,
            nearest_fit: hosts.nearest,
            position: before.as_ref().and_then(|before| before.position),
            ahead: before.map(|before| before.ahead),
            no_estimate: estimate.as_ref().err().cloned(),
            estimate: estimate.ok(),
            unmet: self.unmet(id.job, job, child),
            children: BTreeMap::new(),
        }
    }

    /// Since when it has its status.
    fn since(&self, job: &Job, child: u32, why: &Why) -> Option<Timestamp> {
        match why {
            Why::Running(_) => job.children.get(child).started_at(),
            Why::Starting(lease) | Why::Backlog(lease) => self.state.leases[lease].granted_at,
            Why::Stopping(_) | Why::Unheard(_) | Why::Ended | Why::Settled => None,
            Why::Pending => Some(job.created_at),
            Why::Busy
            | Why::Backoff(_)
            | Why::MaxParallel(_)
            | Why::Held(_)
            | Why::Unable(_)
            | Why::Full(_) => {
                let last = job.children.past(child).last().map(|attempt| attempt.ended_at);
                last.or(job.released_at).or(Some(job.created_at))
            }
        }
    }

    /// Dependencies of a waiting child that are not met, the first of them.
    fn unmet(&self, id: JobId, job: &Job, child: u32) -> Vec<Unmet> {
        if job.children.status(child) != JobStatus::Pending {
            return Vec::new();
        }
        let unmet = job.depends_on.iter().filter_map(|dependency| {
            let on = match dependency.on {
                Awaited::Job(on) => JobRef::from(on),
                Awaited::Child(on, awaited) => JobRef::child(on, awaited),
                Awaited::NToN(on) => JobRef::child(on, child),
                Awaited::Sequential => JobRef::child(id, child.checked_sub(1)?),
            };
            let awaited = self.state.jobs.get(&on.job)?;
            let status = match on.child {
                Some(awaited_child) => awaited.children.status(awaited_child),
                None => awaited.status(),
            };
            let unmet = Unmet { job_id: on.to_string(), status };
            (dependency.met(status) != Met::Yes).then_some(unmet)
        });
        unmet.take(UNMET_MAX).collect()
    }

    fn words(
        &self,
        id: JobRef,
        why: &Why,
        shape: &Shape,
        hosts: &Hosts,
        before: Option<&Before>,
    ) -> Words {
        let job = &self.state.jobs[&id.job];
        match why {
            Why::Ended => Words::new("it has ended")
                .hint(format!("`windrow job get {id}` shows how, `windrow logs {id}` its output")),
            Why::Settled => Words::new(
                "its part in this attempt is over; what follows is decided when all nodes have ended",
            ),
            Why::Running(lease) => Words::new(format!("it runs on agent `{}`", self.agent(*lease))),
            Why::Stopping(lease) => Words::new(format!(
                "agent `{}` has been told to stop it: {}",
                self.agent(*lease),
                job.stop_reason(job.child_of(id)).map_or("", |reason| reason)
            )),
            Why::Starting(lease) => self.starting(id, job, *lease),
            Why::Backlog(lease) => Words::new(format!(
                "it is on agent `{}`, which starts it as soon as it has room: jobs like it are short, and some wait there",
                self.agent(*lease)
            )),
            Why::Unheard(lease) => self.unheard(*lease),
            Why::Busy => {
                Words::new("the coordinator is about to decide on it").hint("ask again in a moment")
            }
            Why::Pending => self.pending_words(id, job),
            Why::Backoff(at) => {
                Words::new(format!("it failed, and is not tried again before {at}"))
                    .hint(format!("wait until {at}"))
                    .fix(Fix::Until { time: at.0 })
            }
            Why::MaxParallel(limit) => max_parallel(id, job, *limit),
            Why::Held(hold) => self.held(id, job, hold),
            Why::Unable(unable) => self.no_agent_words(job, unable, shape, hosts),
            Why::Full(full) => self.no_room(id, full, shape, hosts, before),
        }
    }

    fn agent(&self, lease: LeaseId) -> &Name {
        &self.state.leases[&lease].agent
    }

    fn starting(&self, id: JobRef, job: &Job, lease: LeaseId) -> Words {
        if job.nodes.as_ref().is_some_and(|nodes| !nodes.is_ordered(job.child_of(id))) {
            return Words::new(format!(
                "it has its place on agent `{}` and starts when the main node runs",
                self.agent(lease)
            ));
        }
        let spec = &self.state.specs[&self.state.leases[&lease].spec].spec;
        let agent = self.agent(lease);
        let images: Vec<&str> =
            spec.task.containers.iter().filter_map(|one| one.image.as_deref()).collect();
        if images.is_empty() {
            return Words::new(format!("agent `{agent}` starts it"));
        }
        Words::new(format!(
            "agent `{agent}` starts it; an image that is not there yet is pulled first (`{}`)",
            images.join("`, `")
        ))
    }

    fn unheard(&self, lease: LeaseId) -> Words {
        let agent = self.agent(lease);
        let silence = self.hearing.as_ref().and_then(|hearing| {
            Some(((hearing.silence)(agent)?, hearing.lost_after(self.state, agent)))
        });
        let (silence, ttl) = silence.unwrap_or((Duration::ZERO, Duration::ZERO));
        let left = ttl.saturating_sub(silence).as_secs();
        Words::new(format!(
            "its agent `{agent}` was not heard for {} s; in {left} s it counts as lost, and the job starts elsewhere",
            silence.as_secs()
        ))
        .hint(format!("look after the host of agent `{agent}`, or wait"))
    }

    fn pending_words(&self, id: JobRef, job: &Job) -> Words {
        let unmet = self.unmet(id.job, job, job.child_of(id));
        let named = unmet.iter().map(|unmet| format!("{} is {}", unmet.job_id, unmet.status));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = if unmet.len() == UNMET_MAX { " (and perhaps more)" } else { "" };
        let mut words =
            Words::new(format!("it depends on jobs that have not ended: {named}{more}"))
                .hint("`windrow job why ID` of those says what they wait for");
        let strict = job.depends_on.iter().all(|d| d.condition == DependencyCondition::Success);
        for unmet in unmet {
            let status = strict.then_some(JobStatus::Succeeded);
            words = words.fix(Fix::JobEnds { job_id: unmet.job_id, status });
        }
        words
    }

    fn no_agent_words(&self, job: &Job, why: &Unable, shape: &Shape, hosts: &Hosts) -> Words {
        let queue = &job.queue;
        let names: Vec<&str> = environments(self.state, queue).map(Name::as_str).collect();
        let named = names.join("`, `");
        let need = shape.resources;
        let start = self.start_agent(queue, shape, need);
        let another = start.as_ref().map_or_else(String::new, start_hint);
        let words = match why {
            Unable::Draining(agent) => {
                let agent = self.state.agent_name(*agent);
                return Words::new(format!(
                    "agent `{agent}` could run it, but is draining, and no other agent of compute environment `{named}` could"
                ))
                .status("ACTION_REQUIRED")
                .request(
                    "DrainAgent",
                    json!({ "agent": agent.to_string(), "drain": false }),
                    format!("windrow agent undrain {agent}"),
                );
            }
            Unable::Lost(agent) => Words::new(format!(
                "agent `{}` could run it, but is LOST, and no agent of compute environment `{named}` that is UP could",
                self.state.agent_name(*agent)
            ))
            .status("ACTION_REQUIRED")
            .hint(format!("bring that agent back, or {another}")),
            Unable::NotReady(agent) => {
                let name = self.state.agent_name(*agent);
                let problem = self.state.agents[name].problem();
                let problem = problem.map_or("", |problem| problem.message.as_str());
                Words::new(format!(
                    "agent `{name}` could run it, but takes no work ({problem}), and no other agent of compute environment `{named}` could"
                ))
                .status("ACTION_REQUIRED")
                .hint(format!("look after its host, or {another}"))
            }
            Unable::NeverFits => {
                let biggest = hosts.biggest.as_ref().map_or_else(String::new, |(name, size)| {
                    format!(", the largest agent offers {size} (`{name}`)")
                });
                Words::new(format!(
                    "The job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s) attached to the job queue: it needs {need}{biggest}"
                ))
                .status("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
                .hint(format!("{another}, or submit it with smaller needs"))
            }
            Unable::Constraint(unfit) => constraint(&named, shape, unfit).hint(another),
            Unable::NoAgent => Words::new(format!("no agent of compute environment `{named}` is UP"))
                .status("ACTION_REQUIRED")
                .hint(another),
        };
        start.into_iter().fold(words, Words::fix)
    }

    fn no_room(
        &self,
        id: JobRef,
        why: &Full,
        shape: &Shape,
        hosts: &Hosts,
        before: Option<&Before>,
    ) -> Words {
        let job = &self.state.jobs[&id.job];
        let queue = &job.queue;
        let able: u32 =
            ["OCCUPIED", "RESERVED"].iter().filter_map(|r| hosts.excluded.get(*r)).sum();
        let message = match why {
            Full::Kept(agent, keeper) => format!(
                "agent `{}` has room for it, which is kept for job {} of queue `{}`: that one was there before and needs more{}",
                self.state.agent_name(*agent),
                keeper.job,
                self.state.jobs[&keeper.job].queue,
                match keeper.until {
                    None => String::new(),
                    Some(until) => format!(
                        ". It starts there by {} at the latest; what is sure to end before, by its attemptDurationSeconds, may go first",
                        until.at
                    ),
                }
            ),
            Full::Priority(job) => format!(
                "job {job} of queue `{}`, which has a higher priority, waits for the same agents",
                self.state.jobs[job].queue
            ),
            Full::Nodes { ever: true } => {
                "not all of its nodes find room at the same time, and they start together or not at all"
                    .to_owned()
            }
            Full::Nodes { ever: false } => {
                "its nodes do not fit together on the agents there are, even on empty ones".to_owned()
            }
            Full::Occupied => format!("the {able} agents that could run it are occupied"),
        };
        // Room for everything that goes first, and for this.
        let ahead = before.filter(|before| !before.ahead.is_at_least);
        let own = whole(shape).times(turn(id, job));
        let need = ahead.map(|before| before.needs.plus(own));
        let start = need.and_then(|need| self.start_agent(queue, shape, need));
        let hint = start.as_ref().map_or_else(
            || "wait, or add agents".to_owned(),
            |start| format!("wait, or {}", start_hint(start)),
        );
        start.into_iter().fold(Words::new(message).hint(hint), Words::fix)
    }

    /// An agent that would have this much room for jobs of this kind.
    fn start_agent(&self, queue: &Name, shape: &Shape, need: Resources) -> Option<Fix> {
        let environment = environments(self.state, queue).next()?;
        Some(Fix::StartAgent {
            compute_environment: environment.to_string(),
            milli_cpu: need.cpu.0,
            memory_mib: need.memory.0,
            gpus: need.gpu,
            executor: shape.executor,
            architecture: shape.architecture.map(|a| a.as_str().to_owned()),
        })
    }
}

/// What a child, or all nodes together, ask for.
fn whole(shape: &Shape) -> Resources {
    if shape.nodes.is_empty() {
        return shape.resources;
    }
    let nodes = shape.nodes.iter().map(|(count, node)| node.resources.times(*count));
    nodes.fold(Resources::default(), Resources::plus)
}

/// Why the agents that are there cannot run such jobs.
fn constraint(named: &str, shape: &Shape, unfit: &Unfit) -> Words {
    let none = format!("no agent of compute environment `{named}`");
    match unfit {
        Unfit::Executor(Executor::Docker) => Words::new(format!(
            "{none} runs containers: the job has an image, and none of them has Docker"
        ))
        .status("ACTION_REQUIRED"),
        Unfit::Executor(Executor::Process) => {
            Words::new(format!("{none} runs plain processes: give the job an image"))
                .status("ACTION_REQUIRED")
        }
        Unfit::Architecture(other) => Words::new(format!(
            "{none} has architecture {}, they have {other}",
            shape.architecture.map_or("", |wanted| wanted.as_str())
        ))
        .status("MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED"),
        Unfit::TooSmall(_)
        | Unfit::Occupied(_)
        | Unfit::Lost
        | Unfit::Draining
        | Unfit::NotReady => {
            Words::new(format!("{none} has GPUs: it needs {}", shape.resources.gpu))
                .status("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
        }
    }
}

fn start_hint(fix: &Fix) -> String {
    let Fix::StartAgent {
        compute_environment,
        milli_cpu,
        memory_mib,
        gpus,
        executor,
        architecture,
    } = fix
    else {
        return String::new();
    };
    let need = Resources::new(*milli_cpu, *memory_mib).with_gpu(*gpus);
    let how = match executor {
        Executor::Docker => " with Docker",
        Executor::Process => "",
    };
    let on = architecture.as_ref().map_or_else(String::new, |a| format!(" on {a}"));
    format!(
        "start an agent with {need} or more{how}{on} in compute environment `{compute_environment}`"
    )
}

/// Why nobody can tell when it starts.
fn no_estimate(why: &Why) -> &'static str {
    match why {
        Why::Ended
        | Why::Settled
        | Why::Running(_)
        | Why::Stopping(_)
        | Why::Starting(_)
        | Why::Backlog(_) => "it does not wait for an agent",
        Why::Unheard(_) => "it starts elsewhere when its lease runs out",
        Why::Busy => "it is decided this instant",
        Why::Pending => "it depends on other jobs",
        Why::Backoff(_) => "it waits for a time",
        Why::MaxParallel(_) | Why::Held(_) => "it waits for a limit, not for an agent",
        Why::Unable(_) => "nothing will change by itself",
        Why::Full(_) => "it waits for an agent",
    }
}
