//! Fair share: who goes next, over a moment and over hours.

mod backlog;
mod long_run;

use windrow_common::api::explain::PlanJob;
use windrow_common::api::jobs::{ArrayProperties, JobStatus, SubmitJob};
use windrow_common::api::policies::{
    FairsharePolicy, ShareAttributes, UpdateSchedulingPolicy, WeightFactor,
};
use windrow_common::api::resources::{UpdateComputeEnvironment, UpdateJobQueue};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use crate::core::limits::Limits;
use crate::core::simulation::Simulation;
use crate::core::world::{World, name};
use crate::core::{Command, invariants, next_deadline};
use crate::scheduler::{Hold, hold, order::dispatch_order};
use crate::view;

const HOUR: u64 = 3_600_000;

/// Queue `f` with these weights, in ten-thousandths.
fn world(weights: &[(&str, u32)], policy: FairsharePolicy) -> World {
    let mut w = World::new();
    let entry = |(share, weight): &(&str, u32)| ShareAttributes {
        share_identifier: (*share).into(),
        weight_factor: Some(WeightFactor(*weight)),
    };
    let share_distribution = weights.iter().map(entry).collect();
    w.policy("p", FairsharePolicy { share_distribution, ..policy });
    w.fair_queue("f", "p");
    w
}

fn in_share(w: &World, share: &str) -> SubmitJob {
    SubmitJob { job_queue: "f".into(), share_identifier: Some(share.into()), ..w.request() }
}

/// vCPU-time of each job's ended children, in milliseconds of its run time.
fn used(s: &Simulation, jobs: &[(JobId, u64)]) -> Vec<u64> {
    let ended = |job: JobId| s.w.state.jobs[&job].children.count(JobStatus::Succeeded);
    jobs.iter().map(|(job, run)| u64::from(ended(*job)) * run).collect()
}

/// Each share got its part of what all got in between, within 5 %.
fn assert_parts(before: &[u64], after: &[u64], parts: &[u64]) {
    let got: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let (all, whole): (u64, u64) = (got.iter().sum(), parts.iter().sum());
    for (got_one, part) in got.iter().zip(parts) {
        let entitled = all * part / whole;
        let off = got_one.abs_diff(entitled);
        assert!(off * 20 <= entitled, "got {got:?}, entitled to parts of {parts:?}");
    }
}

#[test]
fn over_hours_shares_get_what_their_weights_entitle_them_to() {
    let weights = [("a", 40_000), ("b", 20_000), ("c", 10_000)];
    let w = world(&weights, FairsharePolicy::default());
    let mut s = Simulation::new(w, &[("x", 8), ("y", 6)]);
    let jobs = [("a", 30_000), ("b", 40_000), ("c", 90_000)].map(|(share, run)| {
        let request = in_share(&s.w, share);
        (s.submit(2_000, run, request), run)
    });
    let start = s.w.now.0;
    s.run_until(start + HOUR / 2);
    let before = used(&s, &jobs);
    s.run_until(start + 3 * HOUR);
    assert_parts(&before, &used(&s, &jobs), &[1, 2, 4]);
    invariants::check(&s.w.state).unwrap();
    s.w.check_replay();
}

#[test]
fn a_share_that_was_idle_gets_its_part_again_and_nothing_for_the_time_it_was_away() {
    let weights = [("a", 40_000), ("b", 20_000), ("c", 10_000)];
    let w = world(&weights, FairsharePolicy::default());
    let mut s = Simulation::new(w, &[("x", 14)]);
    let submit = |s: &mut Simulation, share: &str, size: u32| {
        let request = in_share(&s.w, share);
        (s.submit(size, 60_000, request), 60_000)
    };
    let (a, b) = (submit(&mut s, "a", 3_000), submit(&mut s, "b", 3_000));
    let first = submit(&mut s, "c", 14);
    let start = s.w.now.0;
    s.run_until(start + HOUR / 4);
    let before = used(&s, &[a, b]);
    s.run_until(start + 2 * HOUR);
    assert_eq!(s.w.status(first.0), JobStatus::Succeeded);
    assert_parts(&before, &used(&s, &[a, b]), &[1, 2]);
    let jobs = [a, b, submit(&mut s, "c", 3_000)];
    // It is behind and catches up first, but only within the window.
    s.run_until(start + 2 * HOUR + 600_000);
    let before = used(&s, &jobs);
    s.run_until(start + 4 * HOUR);
    assert_parts(&before, &used(&s, &jobs), &[1, 2, 4]);
}

#[test]
fn free_cores_are_divided_by_the_weights_at_once() {
    let mut w = world(&[("a", 10_000), ("b", 5_000)], FairsharePolicy::default());
    let arrays = ["a", "b"].map(|share| {
        let size = Some(ArrayProperties { size: Some(100), ..Default::default() });
        let request = in_share(&w, share);
        w.submit(SubmitJob { array_properties: size, ..request })
    });
    w.agent("x", 30);
    let held = arrays.map(|job| w.state.jobs[&job].children.count(JobStatus::Starting));
    assert_eq!(held, [10, 20]);
    w.check_replay();
}

#[test]
fn a_priority_orders_inside_its_share_only() {
    let mut w = world(&[], FairsharePolicy::default());
    let submit = |w: &mut World, share: &str, priority: u32| {
        let request = in_share(w, share);
        w.submit(SubmitJob { scheduling_priority_override: Some(priority), ..request })
    };
    let low = submit(&mut w, "a", 1);
    let high = submit(&mut w, "a", 5);
    let highest = submit(&mut w, "b", 9);
    let order: Vec<JobId> = dispatch_order(&w.state, &name("f"), w.now).collect();
    assert_eq!(order, [highest, high, low].map(|job| job), "shares of equal use: by their heads");
    let agent = w.agent("x", 1);
    let mut ran = Vec::new();
    while let Some(lease) = w.leases(&agent).pop() {
        ran.push(lease.job);
        w.now = Timestamp(w.now.0 + 10_000);
        let ended = w.ended(&lease, 0, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
    }
    assert_eq!(ran, [highest, high, low]);
    // In a queue without shares a priority changes nothing.
    let mut w = World::new();
    let first = w.submit(SubmitJob { scheduling_priority_override: Some(1), ..w.request() });
    w.submit(SubmitJob { scheduling_priority_override: Some(9), ..w.request() });
    let agent = w.agent("x", 1);
    assert_eq!(w.leases(&agent)[0].job, first);
}

#[test]
fn a_part_is_kept_for_shares_that_are_not_active() {
    let policy = FairsharePolicy { compute_reservation: Some(50), ..FairsharePolicy::default() };
    let mut w = world(&[], policy);
    w.agent("x", 8);
    let array = |w: &World, share: &str| SubmitJob {
        array_properties: Some(ArrayProperties { size: Some(20), ..Default::default() }),
        ..in_share(w, share)
    };
    let starting = |w: &World, job: JobId| w.state.jobs[&job].children.count(JobStatus::Starting);
    let request = array(&w, "a");
    let a = w.submit(request);
    assert_eq!(starting(&w, a), 4, "half is kept");
    assert_eq!(hold(&w.state, a), Some(Hold::KeptForOtherShares { most: 4000, held: 4000 }));
    let request = array(&w, "b");
    let b = w.submit(request);
    assert_eq!((starting(&w, a), starting(&w, b)), (4, 2), "a quarter is kept with two");
    let c = w.submit(in_share(&w, "c"));
    assert_eq!(starting(&w, c), 1, "and an eighth with three");
    w.check_replay();
}

#[test]
fn what_is_kept_is_a_part_of_unmanaged_vcpus_where_they_are_given() {
    let policy = FairsharePolicy { compute_reservation: Some(50), ..FairsharePolicy::default() };
    let mut w = world(&[], policy);
    w.agent("x", 8);
    w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
        compute_environment: "e".into(),
        unmanagedv_cpus: Some(12),
        ..Default::default()
    }));
    let job = w.submit(SubmitJob {
        array_properties: Some(ArrayProperties { size: Some(20), ..Default::default() }),
        ..in_share(&w, "a")
    });
    assert_eq!(w.state.jobs[&job].children.count(JobStatus::Starting), 6);
}

#[test]
fn a_job_larger_than_what_is_left_by_the_reservation_runs_alone() {
    let policy = FairsharePolicy { compute_reservation: Some(90), ..FairsharePolicy::default() };
    let mut w = world(&[], policy);
    let agent = w.agent("x", 4);
    let jobs = [(); 2].map(|()| w.submit(in_share(&w, "a")));
    assert_eq!(jobs.map(|job| w.status(job)), [JobStatus::Starting, JobStatus::Runnable]);
    w.run_all(&agent, 0);
    assert_eq!(jobs.map(|job| w.status(job)), [JobStatus::Succeeded; 2]);
}

#[test]
fn a_share_stops_being_active_when_it_had_no_jobs_for_its_window() {
    let mut w = world(&[], FairsharePolicy::default());
    let agent = w.agent("x", 1);
    w.submit(in_share(&w, "a"));
    w.now = Timestamp(w.now.0 + 10_000);
    w.run_all(&agent, 0);
    let until = Timestamp(w.now.0 + 600_000);
    assert_eq!(next_deadline(&w.state), Some(until));
    assert!(w.state.usage[&name("f")].shares.contains_key(&name("a")));
    w.now = until;
    w.does(Command::Tick);
    assert!(w.state.usage.is_empty());
    assert_eq!(next_deadline(&w.state), None);
    w.check_replay();
}

#[test]
fn a_plan_goes_by_the_use_of_shares_and_changes_none() {
    let mut w = world(&[], FairsharePolicy::default());
    w.agent("x", 2);
    let size = |size| Some(ArrayProperties { size: Some(size), ..Default::default() });
    let request = SubmitJob { array_properties: size(3), ..in_share(&w, "a") };
    w.submit(request);
    w.now = Timestamp(w.now.0 + 10_000);
    let before = w.state.usage.clone();
    for (share, starts_now) in [("a", false), ("b", false)] {
        let plan = PlanJob { job: in_share(&w, share), ..PlanJob::default() };
        let planned = view::plan_job(&w.state, &Limits::default(), &plan, w.now).unwrap();
        assert_eq!(planned.starts_now, starts_now, "share {share}");
    }
    w.agent("y", 1);
    let request = in_share(&w, "a");
    w.submit(request);
    w.agent("z", 1);
    assert_eq!(w.state.usage[&name("f")].shares.len(), 1);
    assert_ne!(w.state.usage, before, "real jobs count");
}

fn decay(seconds: u32) -> FairsharePolicy {
    FairsharePolicy { share_decay_seconds: Some(seconds), ..FairsharePolicy::default() }
}

#[test]
fn a_changed_policy_judges_what_was_used_before_by_the_rules_of_that_time() {
    let set = |w: &mut World| {
        w.does(Command::UpdatePolicy(UpdateSchedulingPolicy {
            arn: "p".into(),
            fairshare_policy: Some(decay(604_800)),
            quota_share_policy: None,
        }));
    };
    let exchange = |w: &mut World| {
        w.does(Command::UpdateQueue(UpdateJobQueue {
            job_queue: "f".into(),
            scheduling_policy_arn: Some("week".into()),
            ..Default::default()
        }));
    };
    for change in [set as fn(&mut World), exchange] {
        let mut w = world(&[], decay(60));
        w.policy("week", decay(604_800));
        let agents = ["x", "y"].map(|agent| w.agent(agent, 1));
        // One runs a single long job, the other short ones all the time.
        let long = in_share(&w, "long");
        w.submit(long);
        let short = SubmitJob { array_properties: w.size(400), ..in_share(&w, "short") };
        w.submit(short);
        let lease = agents.iter().map(|agent| w.leases(agent).remove(0)).collect::<Vec<_>>();
        let short = usize::from(w.state.jobs[&lease[1].job].share == Some(name("short")));
        let mut lease = lease[short].clone();
        for _ in 0..360 {
            w.now = Timestamp(w.now.0 + 10_000);
            let ended = w.ended(&lease, lease.first, EndCause::Exited, 0);
            w.report(&agents[short], vec![ended]);
            lease = w.leases(&agents[short]).remove(0);
        }
        change(&mut w);
        let now = Timestamp(w.now.0 + 1000);
        let rules = w.state.fair_share(&name("f")).unwrap();
        let shares = &w.state.usage[&name("f")].shares;
        let [a, b] = ["long", "short"].map(|share| shares[&name(share)].amount(rules, now));
        assert!(a.abs_diff(b) < a / 100, "both held one core for an hour: {a} and {b}");
        w.check_replay();
    }
}
