//! Why jobs wait: for each cause a world in which it is the one, and what the answer proposes, carried
//! out.

use std::time::Duration;

use serde_json::json;
use windrow_common::api::definitions::{
    RegisterJobDefinition, ResourceRequirement, RetryBackoff, RetryStrategy, RuntimePlatform,
};
use windrow_common::api::explain::{
    ExplainJob, Explanation, Fix, PlanJob, PlanJobResponse, WaitClass, WaitCode,
};
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::resources::DrainAgent;
use windrow_common::api::snapshot::GetJobQueueSnapshot;
use windrow_common::codec::Encoding;
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{EndCause, Executor};

use crate::core::limits::Limits;
use crate::core::world::{World, n_to_n, name, on, sequential};
use crate::core::{Command, State};
use crate::scheduler::Pass;
use crate::scheduler::explain::{Hearing, Look};
use crate::shell::requests;
use crate::view;

fn explain(w: &World, id: JobRef) -> Explanation {
    explain_hearing(w, id, &|_| None)
}

fn explain_hearing(
    w: &World,
    id: JobRef,
    silence: &dyn Fn(&Name) -> Option<Duration>,
) -> Explanation {
    let hearing =
        Hearing { silence, late: Duration::from_secs(9), lease_ttl: Duration::from_secs(30) };
    let request = ExplainJob { job_id: id.to_string() };
    view::explain_job(&w.state, &request, w.now, hearing).unwrap()
}

/// A cause, and what has to be said of it.
struct Case {
    code: WaitCode,
    /// Part of the message or the hint.
    says: &'static str,
    /// Whether carrying out what the answer proposes lets the job start.
    mends: bool,
    /// Makes the cause, and gives the job that waits.
    make: fn(&mut World) -> JobRef,
}

const fn case(
    code: WaitCode,
    says: &'static str,
    mends: bool,
    make: fn(&mut World) -> JobRef,
) -> Case {
    Case { code, says, mends, make }
}

/// Jobs that wait with an agent, or for something of their own.
const OWN: &[Case] = &[
    case(WaitCode::Ended, "windrow logs", false, |w| {
        let job = w.job();
        w.cancel(&job.to_string());
        job.into()
    }),
    case(WaitCode::Running, "runs on agent `a`", false, |w| started(w, 1)),
    case(WaitCode::Stopping, "told to stop it: stop it", false, |w| {
        let job = started(w, 1);
        w.terminate(&job.to_string());
        job
    }),
    case(WaitCode::Starting, "agent `a` starts it", false, |w| {
        w.agent("a", 1);
        w.job().into()
    }),
    case(WaitCode::Backlog, "as soon as it has room", false, |w| {
        let agent = w.agent("a", 1);
        let array = w.array(100, vec![]);
        let lease = w.leases(&agent).remove(0);
        let ended = w.ended_after(1, &lease, 0, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
        JobRef::child(array, 2)
    }),
    case(WaitCode::SchedulerBusy, "about to decide", false, |w| {
        w.agent("a", 1);
        let id = JobId::from_u128(77);
        let request = Box::new(w.request());
        w.only(&Command::Submit { id, request });
        id.into()
    }),
    case(WaitCode::DependencyPending, "is RUNNABLE", true, |w| {
        let first = w.job();
        w.submit(SubmitJob { depends_on: on(first), ..w.request() }).into()
    }),
    case(WaitCode::DependencyPending, ":1 is RUNNABLE", true, |w| {
        let first = w.array(3, vec![]);
        JobRef::child(w.array(3, n_to_n(first)), 1)
    }),
    case(WaitCode::DependencyPending, ":0 is RUNNABLE", true, |w| {
        JobRef::child(w.array(3, sequential()), 1)
    }),
    case(WaitCode::Backoff, "not tried again before", true, |w| {
        let backoff = RetryBackoff { initial_seconds: Some(60), ..Default::default() };
        let strategy =
            RetryStrategy { attempts: Some(2), backoff: Some(backoff), ..Default::default() };
        let agent = w.agent("a", 1);
        let job = w.submit(SubmitJob { retry_strategy: Some(strategy), ..w.request() });
        w.run_all(&agent, 1);
        job.into()
    }),
    case(WaitCode::CeDisabled, "windrow ce update e --enable", true, |w| {
        w.agent("a", 1);
        let request = json!({ "computeEnvironment": "e", "state": "DISABLED" });
        asks(w, "UpdateComputeEnvironment", &request);
        w.job().into()
    }),
];

/// Jobs that wait for agents.
const HOSTS: &[Case] = &[
    case(WaitCode::NoAgent, "no agent of compute environment `e` is UP", true, |w| w.job().into()),
    case(WaitCode::AgentLost, "is LOST", true, |w| {
        let agent = w.agent("a", 1);
        w.lose(&agent);
        w.job().into()
    }),
    case(WaitCode::AgentDraining, "windrow agent undrain a", true, |w| {
        w.agent("a", 1);
        w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
        w.job().into()
    }),
    case(WaitCode::AgentDraining, "no other agent", true, |w| {
        w.agent("small", 1);
        w.agent("a", 8);
        w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
        needs(w, "4", "100").into()
    }),
    case(WaitCode::Constraint, "runs containers", true, |w| {
        w.agent("a", 8);
        let request = w.image_definition("with-image");
        defined(w, request).into()
    }),
    case(WaitCode::Constraint, "runs plain processes", true, |w| {
        let register = w.registration("a", 8, vec![]);
        w.join(windrow_common::wire::agent::Register {
            executors: vec![Executor::Docker],
            ..register
        });
        w.job().into()
    }),
    case(WaitCode::Constraint, "has architecture ARM64, they have X86_64", true, |w| {
        w.agent("a", 8);
        let mut request = w.image_definition("arm");
        let properties = request.container_properties.as_mut().unwrap();
        properties.runtime_platform =
            Some(RuntimePlatform { cpu_architecture: Some("ARM64".into()), ..Default::default() });
        let register = w.registration("docker", 8, vec![]);
        w.join(windrow_common::wire::agent::Register {
            executors: vec![Executor::Docker],
            ..register
        });
        defined(w, request).into()
    }),
    case(WaitCode::Constraint, "has GPUs: it needs 2", true, |w| {
        let register = w.registration("a", 8, vec![]);
        w.join(windrow_common::wire::agent::Register {
            executors: vec![Executor::Docker],
            ..register
        });
        let mut request = w.image_definition("gpu");
        let properties = request.container_properties.as_mut().unwrap();
        let gpus = ResourceRequirement { kind: "GPU".into(), value: "2".into() };
        properties.resource_requirements.get_or_insert_default().push(gpus);
        defined(w, request).into()
    }),
    case(
        WaitCode::NeverFits,
        "it needs 9 vCPU, 100 MiB, the largest agent offers 8 vCPU, 10000 MiB (`b`)",
        true,
        |w| {
            w.agent("a", 4);
            w.agent("b", 8);
            needs(w, "9", "100").into()
        },
    ),
    case(WaitCode::NeverFits, "it needs 1 vCPU, 32000 MiB", true, |w| {
        w.agent("a", 4);
        needs(w, "1", "32000").into()
    }),
    case(WaitCode::Reservation, "kept for job", true, |w| {
        w.agent("a", 4);
        needs(w, "3", "100");
        needs(w, "2", "100");
        w.job().into()
    }),
    case(WaitCode::Priority, "queue `high`, which has a higher priority", true, |w| {
        w.queue("high", 20);
        w.agent("a", 1);
        w.job();
        let waits = w.job();
        w.submit(SubmitJob { job_queue: "high".into(), ..w.request() });
        waits.into()
    }),
    case(WaitCode::NoCapacityNow, "the 1 agents that could run it are occupied", true, |w| {
        w.agent("a", 1);
        w.job();
        w.job();
        w.job().into()
    }),
];

/// Makes a request as a client does.
fn asks(w: &mut World, operation: &str, request: &serde_json::Value) {
    let payload = serde_json::to_vec(request).unwrap();
    let command = requests::command(operation, Encoding::Json, &payload).unwrap();
    w.does(command.unwrap());
}

/// A job that runs on agent `a`.
fn started(w: &mut World, cpus: u32) -> JobRef {
    let agent = w.agent("a", cpus);
    let job = w.job();
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    job.into()
}

/// A job with these needs.
fn needs(w: &mut World, vcpus: &str, memory: &str) -> JobId {
    let definition = format!("needs-{vcpus}-{memory}");
    w.definition(&definition, vcpus, memory);
    w.submit(SubmitJob { job_definition: definition, ..w.request() })
}

fn defined(w: &mut World, request: RegisterJobDefinition) -> JobId {
    let job_definition = request.job_definition_name.clone();
    w.does(Command::RegisterDefinition(Box::new(request)));
    w.submit(SubmitJob { job_definition, ..w.request() })
}

/// Does what an answer proposes.
fn carry_out(w: &mut World, fixes: &[Fix]) {
    for (number, fix) in fixes.iter().enumerate() {
        match fix {
            Fix::Request { operation, request, .. } => asks(w, operation, request),
            Fix::StartAgent {
                compute_environment,
                milli_cpu,
                memory_mib,
                gpus,
                executor,
                architecture,
            } => {
                let register = w.registration(&format!("more-{number}"), 1, vec![]);
                w.join(windrow_common::wire::agent::Register {
                    compute_environment: name(compute_environment),
                    resources: Resources::new(*milli_cpu, *memory_mib).with_gpu(*gpus),
                    executors: vec![*executor],
                    architecture: architecture.clone().unwrap_or(register.architecture),
                    ..register
                });
            }
            Fix::JobEnds { job_id, .. } => {
                let awaited: JobRef = job_id.parse().unwrap();
                let agent = w.agent("enough", 4);
                w.run_all(&agent, 0);
                let status = w.child(awaited.job, awaited.child.unwrap_or(0));
                assert_eq!(status, JobStatus::Succeeded);
            }
            Fix::Until { time } => {
                w.now = Timestamp(*time);
                w.does(Command::Tick);
            }
        }
    }
}

fn check(number: usize, case: &Case) {
    let mut w = World::new();
    let id = (case.make)(&mut w);
    let why = explain(&w, id);
    let said = format!("{number}: {why:?}");
    assert_eq!(why.code, case.code, "{said}");
    assert_eq!(why.class, case.code.class(), "{said}");
    let hint = why.hint.clone().unwrap_or_default();
    assert!(why.message.contains(case.says) || hint.contains(case.says), "{said}");
    assert!(!why.message.is_empty() && why.message != "-", "{said}");
    assert!(why.estimate.is_some() != why.no_estimate.is_some(), "{said}");
    assert_eq!(why.fix.is_empty(), !case.mends, "{said}");
    if case.mends {
        carry_out(&mut w, &why.fix);
        let status = w.child(id.job, id.child.unwrap_or(0));
        let got_on = [JobStatus::Starting, JobStatus::Running, JobStatus::Succeeded];
        assert!(got_on.contains(&status), "it is {status} still: {said}");
    }
}

#[test]
fn each_cause_is_told_and_what_is_proposed_mends_it() {
    for (number, case) in OWN.iter().chain(HOSTS).enumerate() {
        check(number, case);
    }
}

#[test]
fn a_silent_agent_is_the_reason_of_what_it_holds() {
    let mut w = World::new();
    let job = started(&mut w, 1);
    let why = explain_hearing(&w, job, &|_| Some(Duration::from_secs(12)));
    assert_eq!(why.code, WaitCode::AgentUnheard);
    assert!(why.message.contains("not heard for 12 s; in 18 s"), "{}", why.message);
    let why = explain_hearing(&w, job, &|_| Some(Duration::from_secs(2)));
    assert_eq!(why.code, WaitCode::Running);
}

#[test]
fn hosts_are_counted_by_their_reasons_and_the_nearest_is_named() {
    let mut w = World::new();
    w.agent("small", 1);
    w.agent("middle", 4);
    w.agent("lost", 8);
    w.agent("drains", 8);
    let register = w.registration("docker", 8, vec![]);
    w.join(windrow_common::wire::agent::Register { executors: vec![Executor::Docker], ..register });
    w.lose(&name("lost"));
    w.does(Command::DrainAgent(DrainAgent { agent: "drains".into(), drain: true }));
    needs(&mut w, "3", "100");
    let job = needs(&mut w, "2", "100");
    let why = explain(&w, job.into());
    assert_eq!((why.code, why.nodes_considered), (WaitCode::NoCapacityNow, 5));
    let excluded: Vec<(&str, u32)> = why.excluded.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let expected =
        [("DRAINING", 1), ("EXECUTOR", 1), ("LOST", 1), ("OCCUPIED", 1), ("TOO_SMALL", 1)];
    assert_eq!(excluded, expected);
    let nearest = why.nearest_fit.unwrap();
    assert_eq!((nearest.agent.as_str(), nearest.missing["VCPU"]), ("middle", 1000));
}

#[test]
fn position_and_estimate_come_from_what_goes_before() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let array = w.array(3, vec![]);
    let last = w.job();
    let why = explain(&w, last.into());
    assert_eq!(why.position, Some(2));
    assert_eq!(
        why.no_estimate.as_deref(),
        Some("no job like one of those before it has ended yet")
    );
    let lease = w.leases(&agent).remove(0);
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    let why = explain(&w, last.into());
    let ahead = why.ahead.unwrap();
    assert_eq!((ahead.jobs, ahead.children, ahead.vcpu_seconds), (1, 1, Some(10)));
    let estimate = why.estimate.unwrap();
    assert_eq!(estimate.p50, 15, "half of one that runs, and one that waits: {}", estimate.basis);
    assert!(estimate.p90 > estimate.p50);
    let parent = explain(&w, array.into());
    assert_eq!(parent.job_id, format!("{array}:2"), "the child that is least far");
    assert_eq!(parent.children[&JobStatus::Succeeded], 1);
}

#[test]
fn reasons_of_a_queue_are_summed_up() {
    let mut w = World::new();
    w.agent("a", 1);
    w.array(100, vec![]);
    w.job();
    let first = needs(&mut w, "9", "100");
    w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    let request = windrow_common::api::explain::ExplainQueue { job_queue: Some("q".into()) };
    let response = view::explain_queue(&w.state, &request, w.now).unwrap();
    let shown: Vec<_> = response.reasons.iter().map(|r| (r.code, r.children, r.jobs)).collect();
    let expected = [
        (WaitCode::NoCapacityNow, 100, 2),
        (WaitCode::DependencyPending, 1, 1),
        (WaitCode::NeverFits, 1, 1),
    ];
    assert_eq!(shown, expected);
    assert!(response.reasons[2].message.contains("it needs 9 vCPU"));
    assert_eq!(response.reasons[2].example, first.to_string());
    assert_eq!(response.children[&JobStatus::Runnable], 101);
    let all = Default::default();
    assert_eq!(view::explain_queue(&w.state, &all, w.now).unwrap(), response);
}

fn plan(w: &World, job: SubmitJob) -> PlanJobResponse {
    let before = w.state.clone();
    let request = PlanJob { job, definition: None };
    let planned = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap();
    assert!(w.state == before, "a plan changes nothing");
    planned
}

#[test]
fn a_plan_says_where_a_job_would_go_or_why_not() {
    let mut w = World::new();
    let why = plan(&w, w.request()).explanation.unwrap();
    assert_eq!(why.code, WaitCode::NoAgent);
    w.agent("a", 2);
    let planned = plan(&w, w.request());
    assert!(planned.starts_now, "{planned:?}");
    assert_eq!(planned.agents, ["a"]);
    assert_eq!(planned.job.job_name, "j");
    let job = w.job();
    assert_eq!(w.status(job), JobStatus::Starting, "and so it does");
    // Behind what waits already.
    needs(&mut w, "2", "100");
    let planned = plan(&w, w.request());
    let why = planned.explanation.unwrap();
    assert_eq!((why.code, why.position), (WaitCode::Reservation, Some(2)));
    let job = w.job();
    assert_eq!(explain(&w, job.into()).code, WaitCode::Reservation, "and so it is");
    // Dependencies are followed.
    let waits = SubmitJob { depends_on: on(job), ..w.request() };
    assert_eq!(plan(&w, waits).explanation.unwrap().code, WaitCode::DependencyPending);
    // What would be refused is refused.
    let request =
        PlanJob { job: SubmitJob { job_queue: "nowhere".into(), ..w.request() }, definition: None };
    let refused = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap_err();
    assert_eq!(refused.message, "JobQueue nowhere not found.");
}

#[test]
fn a_plan_may_bring_its_definition() {
    let mut w = World::new();
    w.agent("a", 2);
    let definition = Some(w.image_definition("new"));
    let job = SubmitJob { job_definition: "new".into(), ..w.request() };
    let request = PlanJob { job, definition };
    let planned = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap();
    assert_eq!(planned.explanation.unwrap().code, WaitCode::Constraint);
    assert!(!w.state.definitions.contains_key(&name("new")));
}

#[test]
fn a_snapshot_of_a_queue_shows_who_goes_next() {
    let mut w = World::new();
    w.agent("a", 2);
    w.array(2, vec![]);
    let jobs = [w.job(), w.job()];
    let request = GetJobQueueSnapshot { job_queue: "q".into() };
    let snapshot = view::queue_snapshot(&w.state, &request, w.now).unwrap();
    let arns: Vec<&str> =
        snapshot.front_of_queue.jobs.iter().map(|job| job.job_arn.as_str()).collect();
    assert_eq!(arns, jobs.map(|job| w.detail(job).job_arn));
    assert_eq!(snapshot.front_of_queue.jobs[0].earliest_time_at_position, w.now.0);
    let used = &snapshot.queue_utilization.total_capacity_usage[0];
    assert_eq!((used.capacity_unit.as_str(), used.quantity), ("VCPU", 2.0));
    assert_eq!(snapshot.queue_utilization.fairshare_utilization, None);
}

/// In a world at rest every child that waits has a reason, and none is that it would start: the
/// scheduler has started everything it can.
pub(in crate::core) fn check_reasons(state: &State, now: Timestamp) {
    let look = Look::new(state, now, None);
    for (id, job) in &state.jobs {
        for child in 0..job.children.size() {
            let id = match job.array_size {
                Some(_) => JobRef::child(*id, child),
                None => JobRef::from(*id),
            };
            let why = look.why(id);
            if child == 0 {
                let message = look.explain(id).message;
                assert!(!message.is_empty(), "{why:?}");
            }
            let waits = matches!(why.code().class(), WaitClass::Job | WaitClass::Host);
            let status = job.children.status(child);
            let is_waiting =
                [JobStatus::Submitted, JobStatus::Pending, JobStatus::Runnable].contains(&status);
            assert_eq!(waits, is_waiting, "{status}: {why:?}");
            assert_ne!(why.code(), WaitCode::SchedulerBusy, "at rest nothing would start: {why:?}");
        }
    }
}

/// What is about to be placed is not said to wait for anything.
pub(in crate::core) fn check_predictions(state: &State, now: Timestamp) {
    let look = Look::new(state, now, None);
    if let Some(placement) = Pass::new(state, now).next(state) {
        let job = &state.jobs[&placement.job()];
        let (children, _) = job.children.next_runnable(1).unwrap();
        let id = match job.array_size {
            Some(_) => JobRef::child(placement.job(), children.start),
            None => placement.job().into(),
        };
        assert_eq!(look.why(id).code(), WaitCode::SchedulerBusy, "it is about to start");
    }
}
