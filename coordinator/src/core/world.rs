//! A small world for stories about the core: builders, agents that behave, and checks after every step.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    ContainerProperties, JobTimeout, RegisterJobDefinition, ResourceRequirement, RetryStrategy,
};
use windrow_common::api::jobs::{
    ArrayProperties, CancelJob, DependencyType, JobDependency, JobDetail, JobStatus, SubmitJob,
    TerminateJob,
};
use windrow_common::api::policies::{CreateSchedulingPolicy, FairsharePolicy};
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
};
use windrow_common::ids::{JobId, JobRef, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{
    EndCause, Ended, Executor, Held, Register, Report, ReportMessage,
};
use windrow_common::wire::lease::{Lease, Order};

use super::event::Event;
use super::limits::Limits;
use super::stories;
use super::{Answer, Command, State, apply, decide, invariants, next_deadline};
use crate::actor::dispatch;
use crate::scheduler::{Pass, preemptions};
use crate::view;
use crate::view::changes::{Change, changes};

pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
    /// Every event so far: a replay of it must give the state.
    log: Vec<Event>,
    /// Everything told of jobs so far, each with the number of the event that it follows from.
    pub(super) told: Vec<(usize, Change)>,
    /// Orders each agent has been sent and has not looked at.
    pub(super) orders: BTreeMap<Name, Vec<Order>>,
    /// Number of the next report of each agent.
    reports: BTreeMap<Name, u64>,
    next_id: u128,
    /// Whether invariants are checked after every step; long simulations check at their end.
    pub(super) is_checked: bool,
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Applies the event as the loop does, and gives what it changed.
fn happen(state: &mut State, number: usize, event: &Event) -> Vec<(usize, Change)> {
    apply(state, event);
    let changed = std::mem::take(&mut state.index.changed);
    changes(state, &changed).into_iter().map(|change| (number, change)).collect()
}

/// What must hold of a lease when it is given.
fn check_grant(state: &State, event: &Event) {
    let job = if let Event::LeaseGranted(granted) = event {
        granted.job
    } else if let Event::NodesGranted(granted) = event {
        granted.job
    } else {
        return;
    };
    invariants::check_grant(state, job).unwrap();
}

impl World {
    /// Queue `q` on environment `e`, definition `d` of 1 vCPU and 100 MiB.
    pub(super) fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            now: Timestamp(1_000_000),
            limits: Limits::default(),
            log: Vec::new(),
            told: Vec::new(),
            orders: BTreeMap::new(),
            reports: BTreeMap::new(),
            next_id: 1,
            is_checked: true,
        };
        world.does(Command::StartTerm);
        world.does(Command::CreateEnvironment(CreateComputeEnvironment {
            compute_environment_name: "e".into(),
            kind: "UNMANAGED".into(),
            ..Default::default()
        }));
        world.queue("q", 10);
        world.definition("d", "1", "100");
        world
    }

    /// A fair-share policy.
    pub(super) fn policy(&mut self, policy: &str, rules: FairsharePolicy) {
        self.does(Command::CreatePolicy(CreateSchedulingPolicy {
            name: policy.into(),
            fairshare_policy: Some(rules),
            ..Default::default()
        }));
    }

    /// A queue like the others, with this policy.
    pub(super) fn fair_queue(&mut self, queue: &str, policy: &str) {
        let scheduling_policy_arn = Some(policy.into());
        self.does(Command::CreateQueue(CreateJobQueue {
            scheduling_policy_arn,
            ..queue_request(queue, 10)
        }));
    }

    pub(super) fn queue(&mut self, queue: &str, priority: u32) {
        self.does(Command::CreateQueue(queue_request(queue, priority)));
    }

    pub(super) fn definition(&mut self, definition: &str, vcpus: &str, memory: &str) {
        let request = definition_request(definition, vcpus, memory);
        self.does(Command::RegisterDefinition(Box::new(request)));
    }

    pub(super) fn image_definition(&self, definition: &str) -> RegisterJobDefinition {
        let mut request = definition_request(definition, "1", "100");
        let properties = request.container_properties.as_mut().unwrap();
        properties.image = Some("busybox".into());
        request
    }

    /// Decides and applies, as the loop does, with its follow-up work and placements.
    pub(super) fn tries(&mut self, command: Command) -> Result<Answer, ApiError> {
        let mut events = Vec::new();
        let answer = self.step(&command, &mut events)?;
        while next_deadline(&self.state).is_some_and(|at| at <= self.now) {
            self.step(&Command::Tick, &mut events)?;
        }
        while !self.state.work.is_empty() {
            self.step(&Command::Work, &mut events)?;
        }
        stories::why::check_predictions(&self.state, self.now);
        let mut pass = Pass::new(&self.state, self.now);
        while let Some(placement) = pass.next(&self.state) {
            self.step(&Command::Place(placement), &mut events)?;
        }
        self.step(&Command::Reserve(pass.into_reservations()), &mut events)?;
        for wish in preemptions(&self.state) {
            self.step(&Command::Preempt(wish), &mut events)?;
        }
        for looks in 0.. {
            assert!(looks < 3, "a look at the heads of queues changes nothing a second time");
            let before = events.len();
            self.step(&Command::WatchQueues, &mut events)?;
            if events.len() == before {
                break;
            }
        }
        for (agent, orders) in dispatch::orders(&self.state, &events) {
            self.orders.entry(agent).or_default().extend(orders);
        }
        if self.is_checked {
            invariants::check(&self.state).unwrap();
        }
        Ok(answer)
    }

    fn step(&mut self, command: &Command, events: &mut Vec<Event>) -> Result<Answer, ApiError> {
        let decision = decide(&self.state, &self.limits, command, self.now)?;
        for event in decision.events {
            self.told.extend(happen(&mut self.state, self.log.len(), &event));
            check_grant(&self.state, &event);
            self.log.push(event.clone());
            events.push(event);
        }
        Ok(decision.answer)
    }

    /// The journal is put back to its first so many events, and the state with it.
    pub(super) fn put_back(&mut self, events: usize) {
        self.log.truncate(events);
        self.told.retain(|(event, _)| *event < events);
        self.state = State::default();
        self.log.iter().for_each(|event| apply(&mut self.state, event));
        self.state.index.changed.clear();
    }

    /// Time goes on, and what is due happens.
    pub(super) fn advance(&mut self, seconds: u64) {
        self.now = self.now.plus(std::time::Duration::from_secs(seconds));
        self.does(Command::Tick);
    }

    /// Decides and applies a command, and nothing of what follows from it.
    pub(super) fn only(&mut self, command: &Command) {
        let mut events = Vec::new();
        self.step(command, &mut events).unwrap();
    }

    pub(super) fn does(&mut self, command: Command) -> Answer {
        self.tries(command).unwrap()
    }

    pub(super) fn refused(&mut self, command: Command) -> ApiError {
        let before = self.log.len();
        let error = self.tries(command).unwrap_err();
        assert_eq!(self.log.len(), before, "a refused command changes nothing");
        error
    }

    /// Every event so far.
    pub(super) fn log(&self) -> &[Event] {
        &self.log
    }

    /// The state that a replay of everything gives is this one.
    pub(super) fn check_replay(&self) {
        // Through the journal's encoding.
        let bytes = rmp_serde::to_vec(&self.log).unwrap();
        let log: Vec<Event> = rmp_serde::from_slice(&bytes).unwrap();
        let mut replayed = State::default();
        let mut told = Vec::new();
        for (number, event) in log.iter().enumerate() {
            told.extend(happen(&mut replayed, number, event));
        }
        assert!(told == self.told, "a replay tells the same changes");
        assert!(replayed == self.state, "INV-16: replay gives the same state");
        let bytes = crate::shell::snapshot::encode(&self.state, Default::default());
        let (read, _) = crate::shell::snapshot::decode(&bytes).unwrap();
        assert!(read == self.state, "a snapshot gives the same state");
    }

    // Jobs.

    pub(super) fn request(&self) -> SubmitJob {
        SubmitJob {
            job_name: "j".into(),
            job_queue: "q".into(),
            job_definition: "d".into(),
            ..Default::default()
        }
    }

    pub(super) fn submit(&mut self, request: SubmitJob) -> JobId {
        self.next_id += 1;
        let id = JobId::from_u128(self.next_id);
        let answer = self.does(Command::Submit { id, request: Box::new(request) });
        let Answer::Submitted(response) = answer else { panic!("{answer:?}") };
        response.job_id.parse().unwrap()
    }

    pub(super) fn job(&mut self) -> JobId {
        self.submit(self.request())
    }

    pub(super) fn size(&self, size: u32) -> Option<ArrayProperties> {
        Some(ArrayProperties { size: Some(size), ..Default::default() })
    }

    pub(super) fn array(&mut self, size: u32, depends_on: Vec<JobDependency>) -> JobId {
        self.submit(SubmitJob { array_properties: self.size(size), depends_on, ..self.request() })
    }

    pub(super) fn retrying(&self, attempts: u32) -> SubmitJob {
        SubmitJob {
            retry_strategy: Some(RetryStrategy {
                attempts: Some(attempts),
                ..RetryStrategy::default()
            }),
            ..self.request()
        }
    }

    pub(super) fn limited(&self, seconds: u32) -> SubmitJob {
        SubmitJob {
            timeout: Some(JobTimeout { attempt_duration_seconds: Some(seconds) }),
            ..self.request()
        }
    }

    pub(super) fn cancel(&mut self, id: &str) {
        self.does(Command::Cancel(CancelJob { job_id: id.into(), reason: "not needed".into() }));
    }

    pub(super) fn terminate(&mut self, id: &str) {
        let reason = "stop it".into();
        self.does(Command::Terminate(TerminateJob { job_id: id.into(), reason }));
    }

    pub(super) fn status(&self, job: JobId) -> JobStatus {
        self.state.jobs[&job].status()
    }

    pub(super) fn child(&self, job: JobId, child: u32) -> JobStatus {
        self.state.jobs[&job].children.status(child)
    }

    pub(super) fn detail(&self, id: impl Into<JobRef>) -> JobDetail {
        let request = windrow_common::api::jobs::DescribeJobs { jobs: vec![id.into().to_string()] };
        view::describe_jobs(&self.state, &request, self.now).unwrap().jobs.remove(0)
    }

    // Agents.

    pub(super) fn agent(&mut self, agent: &str, cpus: u32) -> Name {
        self.register(agent, cpus, Vec::new());
        name(agent)
    }

    pub(super) fn register(&mut self, agent: &str, cpus: u32, held: Vec<Held>) -> Vec<Held> {
        let register = self.registration(agent, cpus, held);
        self.join(register)
    }

    /// What an agent of this name says of itself, with plain processes and 10,000 MiB.
    pub(super) fn registration(&self, agent: &str, cpus: u32, held: Vec<Held>) -> Register {
        Register {
            version: windrow_common::wire::VERSION,
            agent: name(agent),
            boot: 1,
            host: agent.into(),
            compute_environment: name("e"),
            resources: Resources::new(cpus * 1000, 10_000),
            executors: vec![Executor::Process],
            architecture: "X86_64".into(),
            agent_version: "0".into(),
            clock: self.now,
            held,
            address: Some(format!("10.0.0.{}", agent.as_bytes()[0])),
            gpus: Vec::new(),
            term_seen: 0,
            lease_seen: LeaseId(0),
            problems: Vec::new(),
            number: 0,
        }
    }

    pub(super) fn join(&mut self, register: Register) -> Vec<Held> {
        let answer = self.ask_to_join(register);
        let Answer::Registered { fenced, .. } = answer else { panic!("{answer:?}") };
        fenced
    }

    pub(super) fn ask_to_join(&mut self, register: Register) -> Answer {
        let agent = register.agent.clone();
        self.orders.remove(&agent);
        let answer = self.does(Command::RegisterAgent(Box::new(register)));
        self.reports.insert(agent, 1);
        answer
    }

    pub(super) fn lose(&mut self, agent: &Name) {
        self.does(Command::AgentUnheard(agent.clone()));
    }

    /// The leases in the agent's orders, taken out.
    pub(super) fn leases(&mut self, agent: &Name) -> Vec<Lease> {
        let mut leases = Vec::new();
        self.orders.entry(agent.clone()).or_default().retain(|order| {
            let Order::Run(lease) = order else { return true };
            leases.push(lease.clone());
            false
        });
        leases
    }

    pub(super) fn report(&mut self, agent: &Name, reports: Vec<Report>) -> Answer {
        let first = self.reports[agent];
        self.reports.insert(agent.clone(), first + reports.len() as u64);
        let session = self.state.agents[agent].session;
        self.does(Command::Report(ReportMessage {
            version: windrow_common::wire::VERSION,
            agent: agent.clone(),
            session,
            first,
            reports,
        }))
    }

    pub(super) fn started(&self, lease: &Lease, child: u32) -> Report {
        Report::Started { lease: lease.id, job: lease.job, child, at: self.now }
    }

    /// Tells that everything that was leased runs; gives the leases.
    pub(super) fn start_all(&mut self, agent: &Name) -> Vec<Lease> {
        let leases = self.leases(agent);
        for lease in &leases {
            for child in lease.first..lease.first + lease.count {
                let started = self.started(lease, child);
                self.report(agent, vec![started]);
            }
        }
        leases
    }

    /// The end of a child that ran for ten seconds: too long for a backlog.
    pub(super) fn ended(&self, lease: &Lease, child: u32, cause: EndCause, code: i32) -> Report {
        self.ended_after(10_000, lease, child, cause, code)
    }

    pub(super) fn ended_after(
        &self,
        run_millis: u64,
        lease: &Lease,
        child: u32,
        cause: EndCause,
        code: i32,
    ) -> Report {
        Report::Ended(Ended {
            lease: lease.id,
            job: lease.job,
            child,
            started_at: Some(Timestamp(self.now.0 - run_millis)),
            ended_at: self.now,
            exit_code: Some(code),
            cause,
            reason: None,
            log_bytes: 0,
            containers: Vec::new(),
        })
    }

    /// The agent runs everything it has been leased, each child with this exit code.
    pub(super) fn run_all(&mut self, agent: &Name, code: i32) -> u32 {
        let mut ran = 0;
        loop {
            let leases = self.leases(agent);
            if leases.is_empty() {
                return ran;
            }
            let mut reports = Vec::new();
            for lease in &leases {
                for child in lease.first..lease.first + lease.count {
                    reports.push(self.ended(lease, child, EndCause::Exited, code));
                    ran += 1;
                }
            }
            self.report(agent, reports);
        }
    }
}

/// A queue on environment `e`.
pub(super) fn queue_request(queue: &str, priority: u32) -> CreateJobQueue {
    CreateJobQueue {
        job_queue_name: queue.into(),
        priority,
        compute_environment_order: vec![ComputeEnvironmentOrder {
            order: 1,
            compute_environment: "e".into(),
        }],
        ..Default::default()
    }
}

fn definition_request(definition: &str, vcpus: &str, memory: &str) -> RegisterJobDefinition {
    let need =
        |kind: &str, value: &str| ResourceRequirement { kind: kind.into(), value: value.into() };
    RegisterJobDefinition {
        job_definition_name: definition.into(),
        kind: "container".into(),
        container_properties: Some(ContainerProperties {
            command: Some(vec!["true".into()]),
            resource_requirements: Some(vec![need("VCPU", vcpus), need("MEMORY", memory)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn on(job: JobId) -> Vec<JobDependency> {
    vec![JobDependency { job_id: Some(job.to_string()), kind: None, ..Default::default() }]
}

pub(super) fn n_to_n(job: JobId) -> Vec<JobDependency> {
    vec![JobDependency {
        job_id: Some(job.to_string()),
        kind: Some(DependencyType::NToN),
        ..Default::default()
    }]
}

pub(super) fn sequential() -> Vec<JobDependency> {
    vec![JobDependency {
        job_id: None,
        kind: Some(DependencyType::Sequential),
        ..Default::default()
    }]
}
