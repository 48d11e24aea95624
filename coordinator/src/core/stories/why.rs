//! Why jobs wait: for each cause a world in which it is the one, and what the answer proposes, carried
//! out.

mod causes;
mod limits;
mod plans;

use std::collections::BTreeSet;
use std::time::Duration;

use windrow_common::api::definitions::{RetryBackoff, RetryStrategy};
use windrow_common::api::explain::{
    ExplainJob, ExplainQueue, Explanation, Fix, QueueReason, WaitClass, WaitCode,
};
use windrow_common::api::jobs::{ArrayProperties, JobStatus, SubmitJob};
use windrow_common::api::resources::DrainAgent;
use windrow_common::codec::Encoding;
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{EndCause, Executor};

use self::causes::{HOSTS, OWN, needs, started};
use self::limits::LIMITS;
use crate::actor::requests;
use crate::core::world::{World, n_to_n, name, on};
use crate::core::{Command, State};
use crate::scheduler::Pass;
use crate::scheduler::explain::{Hearing, Look};
use crate::view;

pub(super) fn explain(w: &World, id: JobRef) -> Explanation {
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

/// Makes a request as a client does.
fn asks(w: &mut World, operation: &str, request: &serde_json::Value) {
    let payload = serde_json::to_vec(request).unwrap();
    let command =
        requests::command(operation, Encoding::Json, &payload, &mut || JobId::from_u128(1))
            .unwrap();
    w.does(command.unwrap());
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
    for (number, case) in OWN.iter().chain(HOSTS).chain(LIMITS).enumerate() {
        check(number, case);
    }
}

#[test]
fn every_reason_has_a_cause_that_is_tried() {
    let tried: BTreeSet<WaitCode> =
        OWN.iter().chain(HOSTS).chain(LIMITS).map(|case| case.code).collect();
    let untried: Vec<WaitCode> =
        WaitCode::ALL.into_iter().filter(|code| !tried.contains(code)).collect();
    // What is heard of agents is no part of the state: it has a test of its own, below.
    assert_eq!(untried, [WaitCode::AgentUnheard]);
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
fn children_of_one_array_may_wait_for_different_things() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let backoff = RetryBackoff { initial_seconds: Some(60), ..Default::default() };
    let strategy =
        RetryStrategy { attempts: Some(2), backoff: Some(backoff), ..Default::default() };
    let array = w.submit(SubmitJob {
        retry_strategy: Some(strategy),
        array_properties: Some(ArrayProperties { size: Some(9), max_parallel: Some(3) }),
        ..w.request()
    });
    let then = w.array(9, n_to_n(array));
    let leases = w.leases(&agent);
    let ended: Vec<_> = (0..3)
        .map(|child| w.ended(&leases[0], child, EndCause::Exited, child.min(1) as i32))
        .collect();
    w.report(&agent, ended);
    let sums: Vec<_> = reasons(&w).iter().map(|r| (r.code, r.children, r.jobs)).collect();
    let expected = [
        (WaitCode::DependencyPending, 8, 1),
        (WaitCode::Starting, 4, 2),
        (WaitCode::ConcurrencyLimit, 3, 1),
        (WaitCode::Backoff, 2, 1),
    ];
    assert_eq!(sums, expected, "{array} and {then}");
}

#[test]
fn what_is_not_looked_at_is_said() {
    let mut w = World::new();
    w.is_checked = false;
    let response = |w: &World| view::explain_queue(&w.state, &ExplainQueue::default(), w.now);
    for number in 0..120 {
        let queue = format!("q{number}");
        w.queue(&queue, 1);
    }
    // With 121 queues to sum up, a hundred jobs of each are looked at.
    let jobs = (0..105).map(|_| w.array(2, vec![]));
    let first = jobs.min().unwrap();
    for _ in 0..103 {
        w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    }
    let response = response(&w).unwrap();
    let sums: Vec<_> = response.reasons.iter().map(|r| (r.code, r.children, r.jobs)).collect();
    assert_eq!(sums, [(WaitCode::NoAgent, 205, 105)], "each ready job has at least one child");
    assert_eq!(response.jobs_not_looked_at, 108);
    let request = ExplainQueue { job_queue: Some("q".into()) };
    let response = view::explain_queue(&w.state, &request, w.now).unwrap();
    let sums: Vec<_> = response.reasons.iter().map(|r| (r.code, r.children, r.jobs)).collect();
    let expected = [(WaitCode::NoAgent, 210, 105), (WaitCode::DependencyPending, 103, 103)];
    assert_eq!((sums, response.jobs_not_looked_at), (expected.to_vec(), 0), "of one queue all are");
}

/// The reasons of all queues.
fn reasons(w: &World) -> Vec<QueueReason> {
    view::explain_queue(&w.state, &ExplainQueue::default(), w.now).unwrap().reasons
}

#[test]
fn reasons_of_a_queue_are_summed_up() {
    let mut w = World::new();
    w.agent("a", 1);
    w.array(100, vec![]);
    w.job();
    let first = needs(&mut w, "9", "100");
    w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    let request = ExplainQueue { job_queue: Some("q".into()) };
    let response = view::explain_queue(&w.state, &request, w.now).unwrap();
    let shown: Vec<_> = response.reasons.iter().map(|r| (r.code, r.children, r.jobs)).collect();
    let expected = [
        (WaitCode::NoCapacityNow, 100, 2),
        (WaitCode::Starting, 1, 1),
        (WaitCode::DependencyPending, 1, 1),
        (WaitCode::NeverFits, 1, 1),
    ];
    assert_eq!(shown, expected);
    assert!(response.reasons[3].message.contains("it needs 9 vCPU"));
    assert_eq!(response.reasons[3].example, first.to_string());
    assert_eq!(response.children[&JobStatus::Runnable], 101);
    let all = Default::default();
    assert_eq!(view::explain_queue(&w.state, &all, w.now).unwrap(), response);
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
