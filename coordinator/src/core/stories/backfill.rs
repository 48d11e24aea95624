//! The first job of a queue that lacks room keeps an agent, and who may use that agent meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;
use windrow_common::api::explain::{PlanJob, WaitCode};
use windrow_common::api::jobs::{CancelJob, JobStatus, SubmitJob};
use windrow_common::ids::JobId;
use windrow_common::wire::agent::EndCause;

use crate::core::Command;
use crate::core::limits::Limits;
use crate::core::simulation::Simulation;
use crate::core::world::World;
use crate::scheduler::Pass;
use crate::scheduler::explain::Look;
use crate::view;

/// Definitions `c1` to `c8` of so many cores.
fn world() -> World {
    let mut w = World::new();
    for cores in 1..=8 {
        w.definition(&format!("c{cores}"), &cores.to_string(), "100");
    }
    w
}

/// A job of so many cores that may run for so many seconds, if there is a limit.
fn job(w: &World, cores: u32, limit: Option<u32>) -> SubmitJob {
    let request = limit.map_or_else(|| w.request(), |seconds| w.limited(seconds));
    SubmitJob { job_definition: format!("c{cores}"), ..request }
}

fn starts(w: &mut World, cores: u32, limit: Option<u32>) -> bool {
    let request = job(w, cores, limit);
    let job = w.submit(request);
    w.status(job) == JobStatus::Starting
}

#[test]
fn who_is_sure_to_end_in_time_uses_the_agent_kept_for_another() {
    let mut w = world();
    let agent = w.agent("a", 4);
    assert!(starts(&mut w, 3, Some(100)));
    let first = w.start_all(&agent).remove(0);
    let head = w.submit(job(&w, 4, None));
    assert_eq!(w.status(head), JobStatus::Runnable);
    assert!(!starts(&mut w, 1, None), "nobody knows when it will end");
    assert!(!starts(&mut w, 1, Some(101)), "too long");
    assert!(starts(&mut w, 1, Some(100)));
    let short = w.start_all(&agent).remove(0);
    let ended = w.ended(&short, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    w.advance(41);
    assert!(!starts(&mut w, 1, Some(60)), "it would end a second late");
    assert!(starts(&mut w, 1, Some(59)));
    let short = w.start_all(&agent).remove(0);
    let ends = [&first, &short].map(|lease| w.ended(lease, 0, EndCause::Exited, 0));
    w.report(&agent, ends.into());
    assert_eq!(w.status(head), JobStatus::Starting);
    w.check_replay();
}

#[test]
fn what_is_left_beside_the_kept_job_is_for_everybody() {
    let mut w = world();
    let agent = w.agent("a", 8);
    assert!(starts(&mut w, 5, Some(100)));
    w.start_all(&agent);
    let head = w.submit(job(&w, 6, None));
    assert_eq!(w.status(head), JobStatus::Runnable);
    assert!(!starts(&mut w, 3, None), "two are left beside the first job");
    assert!(starts(&mut w, 1, None));
    assert!(starts(&mut w, 1, None));
    assert!(!starts(&mut w, 1, None), "they are used up");
    assert!(starts(&mut w, 1, Some(50)));
    w.check_replay();
}

#[test]
fn what_is_left_is_divided_within_one_pass_too() {
    let mut w = world();
    let agent = w.agent("a", 8);
    assert!(starts(&mut w, 5, Some(100)));
    assert!(starts(&mut w, 3, Some(100)));
    let second = w.start_all(&agent).remove(1);
    w.submit(job(&w, 6, None));
    let small = [(); 3].map(|()| w.job());
    let ended = w.ended(&second, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    let statuses = small.map(|job| w.status(job));
    assert_eq!(statuses, [JobStatus::Starting, JobStatus::Starting, JobStatus::Runnable]);
}

fn kept(w: &World) -> Option<&str> {
    w.state.reservations.values().next().map(|kept| kept.agent.as_str())
}

#[test]
fn the_agent_that_has_room_first_is_kept() {
    let mut w = world();
    let agents = ["a", "b"].map(|name| w.agent(name, 4));
    for (cores, limit) in [(3, 200), (3, 100)] {
        assert!(starts(&mut w, cores, Some(limit)));
    }
    let leases = agents.each_ref().map(|agent| w.start_all(agent).remove(0));
    let head = w.submit(job(&w, 4, None));
    assert_eq!(kept(&w), Some("b"), "in 100 s instead of 200 s");
    assert!(starts(&mut w, 1, Some(50)), "the other agent is for everybody");
    // That one has room earlier after all.
    let ended = w.ended(&leases[0], 0, EndCause::Exited, 0);
    w.report(&agents[0], vec![ended]);
    assert_eq!(kept(&w), Some("a"), "in 50 s instead of 100 s");
    w.lose(&agents[0]);
    assert_eq!(kept(&w), Some("b"), "where the short one runs again");
    let again = w.start_all(&agents[1]).remove(0);
    let ends = [&leases[1], &again].map(|lease| w.ended(lease, 0, EndCause::Exited, 0));
    w.report(&agents[1], ends.into());
    assert_eq!((w.status(head), kept(&w)), (JobStatus::Starting, None));
    w.check_replay();
}

#[test]
fn an_agent_stays_kept_when_others_are_emptier() {
    let mut w = world();
    let agents: Vec<_> = (0..17).map(|number| w.agent(&format!("a{number}"), 5)).collect();
    for _ in 0..16 {
        assert!(starts(&mut w, 4, None));
    }
    assert!(starts(&mut w, 3, Some(100)));
    for agent in &agents {
        w.start_all(agent);
    }
    w.submit(job(&w, 5, None));
    assert_eq!(kept(&w), Some("a16"), "of the others nobody knows when they have room");
    for _ in 0..17 {
        assert!(starts(&mut w, 1, Some(100)), "the last one beside the kept job");
    }
    for agent in &agents[..16] {
        let lease = w.start_all(agent).remove(0);
        let ended = w.ended(&lease, 0, EndCause::Exited, 0);
        w.report(agent, vec![ended]);
    }
    assert_eq!(kept(&w), Some("a16"), "sixteen are emptier");
    let request = PlanJob { job: job(&w, 1, Some(101)), definition: None };
    let planned = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap();
    assert_eq!(planned.agents, ["a0"], "a plan knows what is kept, too");
    let others: Vec<_> = (0..17).map(|_| w.submit(request.job.clone())).collect();
    assert_eq!(others.iter().filter(|job| w.status(**job) == JobStatus::Starting).count(), 16);
}

#[test]
fn who_waits_at_a_kept_agent_is_told_until_when() {
    let mut w = world();
    let agent = w.agent("a", 4);
    assert!(starts(&mut w, 3, Some(100)));
    w.start_all(&agent);
    let head = w.submit(job(&w, 4, None));
    let request = job(&w, 1, None);
    let behind = w.submit(request);
    let look = Look::new(&w.state, w.now, None);
    let told = look.explain(behind.into());
    assert_eq!(told.code, WaitCode::Reservation);
    let until = w.now.plus(std::time::Duration::from_secs(100));
    assert!(told.message.contains(&head.to_string()), "{}", told.message);
    assert!(told.message.contains(&format!("by {until} at the latest")), "{}", told.message);
}

/// A job to come.
#[derive(Clone, Debug)]
struct Coming {
    cores: u32,
    /// Seconds after the one before.
    gap: u64,
    run_seconds: u64,
    limit: Option<u32>,
}

/// What came of a run.
struct Ran {
    /// When each job started, in milliseconds.
    started: BTreeMap<JobId, u64>,
    /// For each job that was first in line and had an agent kept: when, and by when it was to start.
    promises: BTreeMap<JobId, (u64, u64)>,
}

/// Lets all jobs come and end. At `cut` everybody behind that job goes away, and no more come.
fn run(agents: &[u32], coming: &[Coming], cut: Option<(u64, JobId)>) -> Ran {
    let names = ["a", "b", "c", "d"];
    let sizes: Vec<_> = names.into_iter().zip(agents.iter().copied()).collect();
    let mut s = Simulation::new(world(), &sizes);
    let mut promises = BTreeMap::new();
    let mut coming = coming.iter().peekable();
    let mut next = coming.peek().map_or(0, |job| s.w.now.0 + job.gap * 1000);
    let mut jobs = Vec::new();
    while coming.peek().is_some() || !s.w.state.leases.is_empty() {
        while let Some(job) = coming.next_if(|_| next <= s.w.now.0) {
            let request = self::job(&s.w, job.cores, job.limit);
            jobs.push(s.submit(1, job.run_seconds * 1000, request));
            next = coming.peek().map_or(next, |job| s.w.now.0 + job.gap * 1000);
        }
        let mut pass = Pass::new(&s.w.state, s.w.now);
        assert_eq!(pass.next(&s.w.state), None, "at rest nothing starts");
        let kept = pass.kept().clone();
        for reserved in pass.into_reservations().values() {
            let agent = s.w.state.agents[&reserved.agent].number;
            let until = kept.keeper(agent).unwrap().until.unwrap();
            promises.entry(reserved.job).or_insert((s.w.now.0, until.at.0));
        }
        if let Some((_, head)) = cut.filter(|(at, _)| *at == s.w.now.0) {
            for job in jobs.iter().filter(|job| **job > head) {
                let job_id = job.to_string();
                let reason = "cut".into();
                // Those that run stay.
                let _ = s.w.tries(Command::Cancel(CancelJob { job_id, reason }));
            }
            coming = [].iter().peekable();
        }
        let step = s.w.now.0 + 1000;
        s.run_until(step);
    }
    Ran { started: s.started, promises }
}

fn coming(exact: bool) -> impl Strategy<Value = Vec<Coming>> {
    let job = (1u32..=8, 0u64..8, 1u64..40, 0u64..3).prop_map(move |(cores, gap, run, slack)| {
        let limit = match (exact, slack) {
            (true, _) => Some(run),
            (false, 0) => None,
            (false, slack) => Some(run + 20 * (slack - 1)),
        };
        let limit = limit.map(|seconds| u32::try_from(seconds).unwrap());
        Coming { cores, gap, run_seconds: run, limit }
    });
    prop::collection::vec(job, 5..25)
}

fn agents() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(4u32..=8, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_head_starts_no_later_than_it_was_promised(agents in agents(), jobs in coming(false)) {
        let ran = run(&agents, &jobs, None);
        for (job, (at, by)) in &ran.promises {
            let started = ran.started.get(job).copied();
            prop_assert!(started.is_some_and(|started| started <= *by), "{job} of {at} by {by}: {started:?}");
        }
    }

    #[test]
    fn a_head_is_never_delayed_by_those_behind_it(agents in agents(), jobs in coming(true)) {
        let ran = run(&agents, &jobs, None);
        for (job, (at, _)) in ran.promises.iter().take(3) {
            let alone = run(&agents, &jobs, Some((*at, *job)));
            prop_assert!(ran.started[job] <= alone.started[job]);
        }
    }
}
