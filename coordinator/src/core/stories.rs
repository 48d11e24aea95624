//! Stories about the core, from the outside: what is asked, what agents report, what is then so.

pub(super) mod access;
mod backfill;
mod blocked;
pub(super) mod consumables;
mod containers;
mod definitions;
mod dependencies;
mod disconnect;
mod events;
mod fair_share;
mod history;
mod listing;
pub(super) mod nodes;
mod policies;
pub(super) mod quota;
mod races;
mod recovery;
mod rerun;
mod resources;
mod retries;
pub(super) mod services;
mod sessions;
pub(super) mod shelf;
mod snapshot;
mod stopping;
mod tags;
pub(super) mod why;

use windrow_common::api::ErrorKind;
use windrow_common::api::definitions::{EvaluateOnExit, RetryStrategy};
use windrow_common::api::jobs::{JobDependency, JobStatus, SubmitJob};
use windrow_common::api::resources::DrainAgent;
use windrow_common::ids::{JobId, JobRef};
use windrow_common::wire::agent::{EndCause, Held, Report};
use windrow_common::wire::lease::Order;

use super::state::Leased;
use super::world::{World, n_to_n, on, sequential};
use super::{Answer, Command};

#[test]
fn a_job_goes_through_its_states() {
    let mut w = World::new();
    let job = w.job();
    assert_eq!(w.status(job), JobStatus::Runnable);
    let agent = w.agent("a", 2);
    assert_eq!(w.status(job), JobStatus::Starting);
    let lease = w.leases(&agent).remove(0);
    assert_eq!((lease.job, lease.first, lease.count, lease.attempt), (job, 0, 1, 1));
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    assert_eq!(w.status(job), JobStatus::Running);
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Succeeded);
    assert_eq!(detail.container.unwrap().outcome.exit_code, Some(0));
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(detail.status_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!(w.state.agents[&agent].leased, Leased::default());
    w.check_replay();
}

#[test]
fn failed_attempts_are_retried_up_to_the_limit() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(3));
    for attempt in 1..=3 {
        let lease = w.leases(&agent).remove(0);
        assert_eq!(lease.attempt, attempt);
        let ended = w.ended(&lease, 0, EndCause::Exited, 7);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(w.status(job), JobStatus::Failed);
    assert_eq!(w.detail(job).attempts.len(), 3);
    assert!(w.leases(&agent).is_empty());
    w.check_replay();
}

#[test]
fn rules_decide_which_failures_are_tried_again() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let rule = |code: Option<&str>, status: Option<&str>, action: &str| EvaluateOnExit {
        on_exit_code: code.map(str::to_owned),
        on_status_reason: status.map(str::to_owned),
        action: action.to_owned(),
        ..Default::default()
    };
    let strategy = RetryStrategy {
        attempts: Some(5),
        evaluate_on_exit: vec![
            rule(Some("7"), None, "RETRY"),
            rule(None, Some("Essential*"), "EXIT"),
            rule(None, Some("Host EC2*"), "EXIT"),
        ],
        ..Default::default()
    };
    let request = SubmitJob { retry_strategy: Some(strategy.clone()), ..w.request() };
    let job = w.submit(request.clone());
    for code in [7, 8] {
        let lease = w.leases(&agent).remove(0);
        let ended = w.ended(&lease, 0, EndCause::Exited, code);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(w.status(job), JobStatus::Failed);
    let detail = w.detail(job);
    assert_eq!(detail.attempts.len(), 2);
    assert_eq!(detail.retry_strategy.unwrap().evaluate_on_exit[1].action, "exit");
    let lost = w.submit(request);
    w.lose(&agent);
    assert_eq!(w.status(lost), JobStatus::Failed, "the rules also hold for lost hosts");
    w.check_replay();
}

#[test]
fn a_timeout_is_not_retried() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let request = SubmitJob { timeout: w.limited(60).timeout, ..w.retrying(3) };
    let job = w.submit(request);
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.timeout_seconds, Some(60));
    let ended = w.ended(&lease, 0, EndCause::TimedOut, 137);
    w.report(&agent, vec![ended]);
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Failed);
    assert_eq!(detail.status_reason.as_deref(), Some("Job attempt duration exceeded timeout"));
}

#[test]
fn lost_agent_frees_its_capacity_and_its_jobs_run_elsewhere_uncharged() {
    let mut w = World::new();
    let lost = w.agent("a", 1);
    let job = w.job();
    let first = w.leases(&lost).remove(0);
    let started = w.started(&first, 0);
    w.report(&lost, vec![started]);
    w.lose(&lost);
    assert_eq!(w.status(job), JobStatus::Runnable);
    let other = w.agent("b", 1);
    let second = w.leases(&other).remove(0);
    assert!(second.id > first.id, "a later lease has a higher generation");
    assert_eq!(second.attempt, 2);
    // The lost agent comes back with a result: fenced, and told so.
    let held = vec![Held { lease: first.id, children: vec![(0, 1)], ..Held::default() }];
    assert_eq!(w.register("a", 1, held.clone()), held);
    let late = w.ended(&first, 0, EndCause::Exited, 9);
    w.report(&lost, vec![late]);
    assert_eq!(w.state.fenced_results, 1);
    assert_eq!(w.status(job), JobStatus::Starting);
    let ended = w.ended(&second, 0, EndCause::Exited, 0);
    w.report(&other, vec![ended.clone()]);
    w.report(&other, vec![ended]);
    assert_eq!(w.state.fenced_results, 2, "a second result of the same lease is refused too");
    assert_eq!(
        w.status(job),
        JobStatus::Succeeded,
        "one attempt allowed, and the loss was not charged"
    );
    let detail = w.detail(job);
    assert_eq!(
        detail.attempts[0].status_reason.as_deref(),
        Some("Host EC2 (instance a) terminated.")
    );
    w.check_replay();
}

#[test]
fn a_job_that_takes_its_hosts_down_ends_failed() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.job();
    for _ in 0..super::limits::HOST_LOSSES_MAX {
        w.lose(&agent);
        w.register("a", 1, Vec::new());
        assert_eq!(w.status(job), JobStatus::Starting);
    }
    w.lose(&agent);
    assert_eq!(w.status(job), JobStatus::Failed);
}

#[test]
fn a_session_keeps_what_the_agent_holds_and_gives_out_the_rest_again() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let job = w.array(4, vec![]);
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.count, 4);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    // It restarted and holds children 0 and 1; 2 and 3 never reached it.
    let held = vec![Held { lease: lease.id, children: vec![(0, 2)], ..Held::default() }];
    assert!(w.register("a", 4, held).is_empty());
    assert_eq!(w.child(job, 0), JobStatus::Running);
    let again = w.leases(&agent).remove(0);
    assert_eq!((again.first, again.count, again.attempt), (2, 2, 1));
    assert!(again.id > lease.id);
    w.check_replay();
}

#[test]
fn reports_count_once_and_in_order() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    w.array(2, vec![]);
    let lease = w.leases(&agent).remove(0);
    let message = |w: &World, first, reports| {
        Command::Report(windrow_common::wire::agent::ReportMessage {
            version: 1,
            agent: agent.clone(),
            session: w.state.agents[&agent].session,
            first,
            reports,
        })
    };
    let one = w.ended(&lease, 0, EndCause::Exited, 0);
    let two = w.ended(&lease, 1, EndCause::Exited, 0);
    // The second arrives without the first: nothing is taken, the agent has to send all again.
    let gap = message(&w, 2, vec![two.clone()]);
    assert_eq!(w.does(gap), Answer::MustRegister);
    let both = message(&w, 1, vec![one.clone(), two.clone()]);
    w.does(both.clone());
    w.does(both);
    assert_eq!(w.state.fenced_results, 0, "known numbers are passed over");
    assert_eq!(w.state.agents[&agent].confirmed_reports, 2);
    let mut old = w.state.clone();
    old.agents.clear();
    let unknown =
        super::decide(&old, &super::limits::Limits::default(), &message(&w, 3, vec![one]), w.now);
    assert_eq!(unknown.unwrap().answer, Answer::MustRegister);
}

#[test]
fn of_two_results_in_one_message_the_first_counts() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    let job = w.array(2, vec![]);
    let lease = w.leases(&agent).remove(0);
    let (good, bad) =
        (w.ended(&lease, 0, EndCause::Exited, 0), w.ended(&lease, 0, EndCause::Exited, 1));
    let returned = Report::Returned { lease: lease.id, job, children: vec![(0, 1)] };
    w.report(&agent, vec![good, bad, returned]);
    assert_eq!(w.state.fenced_results, 2);
    assert_eq!(w.child(job, 0), JobStatus::Succeeded);
    assert_eq!(w.child(job, 1), JobStatus::Starting);
    w.check_replay();
}

#[test]
fn arrays_end_when_every_child_has_ended() {
    let mut w = World::new();
    let job = w.array(1000, vec![]);
    assert_eq!(w.status(job), JobStatus::Pending);
    let agent = w.agent("a", 8);
    assert_eq!(w.run_all(&agent, 0), 1000);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    let failing = w.array(10, vec![]);
    w.run_all(&agent, 1);
    let detail = w.detail(failing);
    assert_eq!(detail.status, JobStatus::Failed);
    assert_eq!(detail.status_reason.as_deref(), Some("Array Child Job failed"));
    assert_eq!(detail.array_properties.unwrap().status_summary[&JobStatus::Failed], 10);
    w.check_replay();
}

#[test]
fn a_dependent_waits_for_the_whole_array() {
    let mut w = World::new();
    let first = w.array(3, vec![]);
    let second = w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    assert_eq!(w.status(second), JobStatus::Pending);
    let agent = w.agent("a", 1);
    for _ in 0..3 {
        assert_eq!(w.status(second), JobStatus::Pending);
        let lease = w.leases(&agent).remove(0);
        let ended = w.ended(&lease, lease.first, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(w.status(first), JobStatus::Succeeded);
    assert_eq!(w.status(second), JobStatus::Starting);
    w.check_replay();
}

#[test]
fn dependents_of_a_failed_job_fail_down_the_line() {
    let mut w = World::new();
    let first = w.job();
    let second = w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    let third = w.array(5, on(second));
    let agent = w.agent("a", 1);
    w.run_all(&agent, 1);
    assert_eq!(w.status(second), JobStatus::Failed);
    assert_eq!(w.status(third), JobStatus::Failed);
    assert_eq!(w.detail(second).status_reason.as_deref(), Some("Dependent Job failed"));
    let late = w.submit(SubmitJob { depends_on: on(first), ..w.request() });
    assert_eq!(w.status(late), JobStatus::Failed, "a dependency that has failed fails at once");
    w.check_replay();
}

#[test]
fn n_to_n_children_follow_their_peers() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let first = w.array(4, vec![]);
    let second = w.array(4, n_to_n(first));
    let lease = w.leases(&agent).remove(0);
    let good = w.ended(&lease, 2, EndCause::Exited, 0);
    let bad = w.ended(&lease, 1, EndCause::Exited, 1);
    w.report(&agent, vec![good, bad]);
    assert_eq!(w.child(second, 2), JobStatus::Starting);
    assert_eq!(w.child(second, 1), JobStatus::Failed);
    assert_eq!(w.child(second, 0), JobStatus::Pending);
    let (a, b) = (w.ended(&lease, 0, EndCause::Exited, 0), w.ended(&lease, 3, EndCause::Exited, 0));
    w.report(&agent, vec![a, b]);
    w.run_all(&agent, 0);
    assert_eq!(w.status(second), JobStatus::Failed);
    w.check_replay();
}

#[test]
fn sequential_children_run_one_after_the_other_and_starve_after_a_failure() {
    let mut w = World::new();
    let agent = w.agent("a", 8);
    let job = w.array(100, sequential());
    for child in 0..3 {
        let lease = w.leases(&agent).remove(0);
        assert_eq!((lease.first, lease.count), (child, 1));
        let code = i32::from(child == 2);
        let ended = w.ended(&lease, child, EndCause::Exited, code);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(w.status(job), JobStatus::Failed);
    assert_eq!(w.state.jobs[&job].children.count(JobStatus::Failed), 98);
    w.check_replay();
}

#[test]
fn cancel_ends_what_is_not_leased_and_leaves_what_is() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    let job = w.array(5, vec![]);
    let lease = w.leases(&agent).remove(0);
    w.cancel(&job.to_string());
    let children = &w.state.jobs[&job].children;
    assert_eq!((children.count(JobStatus::Failed), children.count(JobStatus::Starting)), (3, 2));
    assert!(w.orders[&agent].iter().all(|o| !matches!(o, Order::Stop(_))));
    let ends = [0, 1].map(|child| w.ended(&lease, child, EndCause::Exited, 0));
    w.report(&agent, ends.to_vec());
    assert_eq!(w.child(job, 0), JobStatus::Succeeded);
    assert_eq!(w.status(job), JobStatus::Failed);
    let child = JobRef::child(job, 4);
    assert_eq!(w.detail(child).status_reason.as_deref(), Some("not needed"));
    w.cancel(&job.to_string());
    w.cancel(&JobId::from_u128(99).to_string());
    w.check_replay();
}

#[test]
fn terminate_stops_what_runs_and_nothing_is_retried() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(5));
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    w.terminate(&job.to_string());
    assert!(w.orders[&agent].iter().any(|o| matches!(o, Order::Stop(s) if s.lease == lease.id)));
    // The stop is told again to a new session.
    let held = vec![Held { lease: lease.id, children: vec![(0, 1)], ..Held::default() }];
    w.register("a", 1, held);
    assert!(w.orders[&agent].iter().any(|o| matches!(o, Order::Stop(s) if s.lease == lease.id)));
    let ended = w.ended(&lease, 0, EndCause::Stopped, 143);
    w.report(&agent, vec![ended]);
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Failed);
    assert_eq!(detail.status_reason.as_deref(), Some("stop it"));
    assert!(detail.is_terminated);
    w.check_replay();
}

#[test]
fn a_terminated_job_does_not_run_again_after_its_agent_is_lost() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(5));
    w.terminate(&job.to_string());
    w.lose(&agent);
    assert_eq!(w.status(job), JobStatus::Failed);
}

#[test]
fn priority_goes_before_age_and_age_decides_inside_a_queue() {
    let mut w = World::new();
    w.queue("urgent", 100);
    let (low, low_later) = (w.job(), w.job());
    let high = w.submit(SubmitJob { job_queue: "urgent".into(), ..w.request() });
    let agent = w.agent("a", 1);
    let mut order = Vec::new();
    for _ in 0..3 {
        let lease = w.leases(&agent).remove(0);
        order.push(lease.job);
        let ended = w.ended(&lease, 0, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(order, vec![high, low, low_later]);
}

#[test]
fn best_fit_leaves_large_hosts_for_large_jobs() {
    let mut w = World::new();
    let large = w.agent("large", 8);
    let small = w.agent("small", 2);
    w.job();
    assert_eq!(w.leases(&small).len(), 1);
    assert!(w.leases(&large).is_empty());
}

#[test]
fn a_large_job_is_not_passed_for_ever_by_small_ones_and_an_impossible_one_blocks_nobody() {
    let mut w = World::new();
    w.definition("large", "4", "100");
    w.definition("impossible", "64", "100");
    let agent = w.agent("a", 4);
    w.job();
    let lease = w.leases(&agent).remove(0);
    let impossible = w.submit(SubmitJob { job_definition: "impossible".into(), ..w.request() });
    let large = w.submit(SubmitJob { job_definition: "large".into(), ..w.request() });
    let small = w.job();
    assert_eq!(w.status(small), JobStatus::Runnable, "the agent is kept for the large one");
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    assert_eq!(w.status(large), JobStatus::Starting);
    assert_eq!(w.status(impossible), JobStatus::Runnable);
}

#[test]
fn a_job_that_no_agent_can_hold_says_what_it_needs() {
    let mut w = World::new();
    w.definition("large", "64", "100");
    let job = w.submit(SubmitJob { job_definition: "large".into(), ..w.request() });
    let reason = |w: &World| w.detail(job).status_reason.unwrap_or_default();
    assert!(reason(&w).contains("no agent of compute environment `e` is UP"), "{}", reason(&w));
    let agent = w.agent("a", 4);
    assert!(reason(&w).contains("needs 64 vCPU, 100 MiB, the largest agent offers 4 vCPU"));
    w.does(Command::RegisterDefinition(Box::new(w.image_definition("image"))));
    let contained = w.submit(SubmitJob { job_definition: "image".into(), ..w.request() });
    let no_docker = w.detail(contained).status_reason.unwrap();
    assert!(no_docker.contains("none of them has Docker"), "{no_docker}");
    w.lose(&agent);
    w.register("large", 64, Vec::new());
    assert_eq!(w.status(job), JobStatus::Starting);
    let next = w.submit(SubmitJob { job_definition: "large".into(), ..w.request() });
    assert_eq!(w.detail(next).status_reason, None, "it only waits its turn");
}

#[test]
fn short_children_get_a_backlog_and_unknown_ones_do_not() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    w.array(10_000, vec![]);
    let leases = w.leases(&agent);
    assert_eq!(leases.iter().map(|l| l.count).sum::<u32>(), 2, "no more than fits");
    let lease = &leases[0];
    let ends = [0, 1].map(|child| w.ended_after(1, lease, child, EndCause::Exited, 0));
    w.report(&agent, ends.to_vec());
    let held: u32 = w.leases(&agent).iter().map(|l| l.count).sum();
    assert!((500..=4000).contains(&held), "{held}");
}

#[test]
fn returned_children_run_again_in_the_same_attempt() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let job = w.array(4, vec![]);
    let lease = w.leases(&agent).remove(0);
    w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
    assert!(w.orders[&agent].contains(&Order::Drain));
    let children = vec![(1, 3)];
    w.report(&agent, vec![Report::Returned { lease: lease.id, job, children }]);
    assert_eq!(w.child(job, 1), JobStatus::Runnable);
    assert!(w.leases(&agent).is_empty(), "a draining agent gets nothing");
    w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: false }));
    let undrained = w.orders[&agent].iter().position(|o| *o == Order::Undrain).unwrap();
    let run = w.orders[&agent].iter().position(|o| matches!(o, Order::Run(_))).unwrap();
    assert!(undrained < run, "it hears that it is undrained before it gets work");
    let back = w.leases(&agent).remove(0);
    w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
    w.report(&agent, vec![Report::Returned { lease: back.id, job, children: vec![(1, 3)] }]);
    let other = w.agent("b", 4);
    let again = w.leases(&other).remove(0);
    assert_eq!((again.first, again.count, again.attempt), (1, 3, 1));
    w.report(&agent, vec![Report::Leaving]);
    assert_eq!(w.child(job, 0), JobStatus::Starting, "what the leaving agent held runs elsewhere");
    assert_eq!(w.leases(&other).len(), 1);
    w.check_replay();
}

#[test]
fn the_same_key_gives_the_same_job_and_other_content_a_conflict() {
    let mut w = World::new();
    let keyed = SubmitJob { idempotency_key: Some("k".into()), ..w.request() };
    let first = w.submit(keyed.clone());
    assert_eq!(w.submit(keyed.clone()), first);
    assert_eq!(w.state.jobs.len(), 1);
    let other = SubmitJob { job_name: "other".into(), ..keyed };
    let id = JobId::from_u128(77);
    let error = w.refused(Command::Submit { id, request: Box::new(other) });
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[test]
fn a_submission_that_is_delivered_twice_is_one_job() {
    let mut w = World::new();
    let request = Box::new(w.request());
    for id in [1, 2] {
        let id = JobId::from_u128(id);
        w.does(Command::SubmitFromStream {
            sequence: 5,
            published: w.now,
            id,
            request: request.clone(),
        });
    }
    assert_eq!(w.state.jobs.len(), 1);
    let bad = Box::new(SubmitJob { job_queue: "none".into(), ..*request });
    let refused = Command::SubmitFromStream {
        sequence: 6,
        published: w.now,
        id: JobId::from_u128(3),
        request: bad,
    };
    assert!(matches!(w.does(refused), Answer::Refused(_)));
    assert_eq!(w.state.submissions.iter().cloned().collect::<Vec<_>>(), vec![5..7]);
}

#[test]
fn wrong_submissions_are_refused_with_the_limit() {
    let mut w = World::new();
    let job = w.job();
    let array = |size| {
        Some(windrow_common::api::jobs::ArrayProperties { size: Some(size), ..Default::default() })
    };
    let depends = |id: &str, kind| {
        vec![JobDependency {
            job_id: (!id.is_empty()).then(|| id.to_owned()),
            kind,
            ..Default::default()
        }]
    };
    let n_to_n = Some(windrow_common::api::jobs::DependencyType::NToN);
    let base = w.request();
    let unknown = JobId::from_u128(1).to_string();
    let cases = [
        (SubmitJob { job_name: "".into(), ..base.clone() }, "valid pattern"),
        (SubmitJob { job_name: "-x".into(), ..base.clone() }, "valid pattern"),
        (SubmitJob { job_queue: "a.>".into(), ..base.clone() }, "not found"),
        (SubmitJob { job_definition: "d:9".into(), ..base.clone() }, "does not exist"),
        (SubmitJob { array_properties: array(1), ..base.clone() }, "from 2 to 1000000, got 1"),
        (SubmitJob { array_properties: array(1_000_001), ..base.clone() }, "got 1000001"),
        (SubmitJob { depends_on: depends(&unknown, None), ..base.clone() }, "does not exist"),
        (SubmitJob { depends_on: depends("x", None), ..base.clone() }, "not a job id"),
        (SubmitJob { depends_on: depends("", None), ..base.clone() }, "needs a jobId"),
        (SubmitJob { depends_on: sequential(), ..base.clone() }, "array jobs only"),
        (SubmitJob { depends_on: depends(&job.to_string(), n_to_n), ..base.clone() }, "same size"),
        (w.retrying(0), "from 1 to 100, got 0"),
        (w.limited(0), "at least 1"),
    ];
    for (request, expected) in cases {
        let id = JobId::from_u128(1000);
        let error = w.refused(Command::Submit { id, request: Box::new(request) });
        assert!(error.message.contains(expected), "{} / {expected}", error.message);
    }
}
