//! Compute environments that several queues share, and queues that have several of them.

use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::resources::{
    CreateComputeEnvironment, CreateJobQueue, DrainAgent, ResourceState, UpdateJobQueue,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::agent::EndCause;

use super::{environment, order};
use crate::core::Command;
use crate::core::world::{World, name, queue_request};

/// Environment `f` beside `e`, and queue `both` that tries them in this order.
fn world(environments: &[&str]) -> World {
    let mut w = World::new();
    w.does(Command::CreateEnvironment(CreateComputeEnvironment {
        compute_environment_name: "f".into(),
        kind: "UNMANAGED".into(),
        ..Default::default()
    }));
    w.does(Command::CreateQueue(CreateJobQueue {
        compute_environment_order: order(environments),
        ..queue_request("both", 10)
    }));
    w
}

fn join(w: &mut World, agent: &str, environment: &str, cpus: u32) -> Name {
    let mut register = w.registration(agent, cpus, Vec::new());
    register.compute_environment = name(environment);
    w.join(register);
    name(agent)
}

fn submit(w: &mut World, queue: &str, definition: &str) -> JobId {
    w.submit(SubmitJob {
        job_queue: queue.into(),
        job_definition: definition.into(),
        ..w.request()
    })
}

/// Where the job's only child is.
fn place(w: &World, job: JobId) -> Option<&str> {
    let lease = w.state.jobs[&job].children.get(0).lease()?;
    Some(w.state.leases[&lease].agent.as_str())
}

fn ends(w: &mut World, agent: &Name, job: JobId) {
    let leases = w.leases(agent);
    let lease = leases.iter().find(|lease| lease.job == job).unwrap();
    let ended = w.ended(lease, 0, EndCause::Exited, 0);
    let others = leases.iter().filter(|lease| lease.job != job).cloned();
    let orders = w.orders.entry(agent.clone()).or_default();
    orders.extend(others.map(windrow_common::wire::lease::Order::Run));
    w.report(agent, vec![ended]);
}

#[test]
fn the_first_environment_is_filled_before_the_second_and_used_again_when_it_is_free() {
    let mut w = world(&["f", "e"]);
    // Best fit would take the smaller one.
    let second = join(&mut w, "small", "e", 1);
    let first = join(&mut w, "large", "f", 2);
    let jobs = [(); 4].map(|()| submit(&mut w, "both", "d"));
    let places = |w: &World| jobs.map(|job| place(w, job).map(str::to_owned));
    let all = |places: [Option<&str>; 4]| places.map(|place| place.map(str::to_owned));
    let (large, small) = (Some("large"), Some("small"));
    assert_eq!(places(&w), all([large, large, small, None]));
    ends(&mut w, &second, jobs[2]);
    assert_eq!(places(&w), all([large, large, None, small]), "the second has room first");
    ends(&mut w, &first, jobs[0]);
    let next = submit(&mut w, "both", "d");
    assert_eq!(place(&w, next), large, "back in the first");
    w.check_replay();
}

#[test]
fn a_disabled_environment_is_passed_over_until_it_is_enabled_again() {
    let mut w = world(&["f", "e"]);
    join(&mut w, "small", "e", 1);
    join(&mut w, "large", "f", 4);
    environment(&mut w, "f", Some(ResourceState::Disabled));
    let jobs = [(); 2].map(|()| submit(&mut w, "both", "d"));
    assert_eq!(jobs.map(|job| place(&w, job)), [Some("small"), None], "not into the disabled one");
    environment(&mut w, "f", Some(ResourceState::Enabled));
    assert_eq!(place(&w, jobs[1]), Some("large"));
    // The order can be turned round, or lose one, while jobs wait.
    let update = |w: &mut World, environments: &[&str]| {
        w.does(Command::UpdateQueue(UpdateJobQueue {
            job_queue: "both".into(),
            compute_environment_order: order(environments),
            ..Default::default()
        }));
    };
    update(&mut w, &["e"]);
    let waits = submit(&mut w, "both", "d");
    assert_eq!(place(&w, waits), None, "there is room in `f` only");
    update(&mut w, &["e", "f"]);
    assert_eq!(place(&w, waits), Some("large"));
    w.check_replay();
}

#[test]
fn a_draining_agent_sends_jobs_to_the_next_environment() {
    let mut w = world(&["f", "e"]);
    let first = join(&mut w, "large", "f", 4);
    join(&mut w, "small", "e", 1);
    let drain = |w: &mut World, drain| {
        w.does(Command::DrainAgent(DrainAgent { agent: "large".into(), drain }));
    };
    let runs = submit(&mut w, "both", "d");
    drain(&mut w, true);
    let jobs = [(); 2].map(|()| submit(&mut w, "both", "d"));
    assert_eq!(jobs.map(|job| place(&w, job)), [Some("small"), None]);
    ends(&mut w, &first, runs);
    assert_eq!(w.status(runs), JobStatus::Succeeded, "what runs is let end");
    assert_eq!(place(&w, jobs[1]), None);
    drain(&mut w, false);
    assert_eq!(place(&w, jobs[1]), Some("large"));
    w.check_replay();
}

#[test]
fn a_large_job_goes_on_to_an_environment_that_can_hold_it() {
    let mut w = world(&["e", "f"]);
    w.definition("large", "4", "100");
    join(&mut w, "small", "e", 2);
    join(&mut w, "large", "f", 4);
    let job = submit(&mut w, "both", "large");
    assert_eq!(place(&w, job), Some("large"));
    // The first one is free: nobody behind has to wait for the large one.
    let waits = submit(&mut w, "both", "large");
    let small = submit(&mut w, "both", "d");
    assert_eq!((place(&w, waits), place(&w, small)), (None, Some("small")));
}

#[test]
fn two_queues_share_an_environment_by_priority_and_otherwise_by_name() {
    let mut w = world(&["e"]);
    w.queue("low", 1);
    let agent = join(&mut w, "a", "e", 1);
    let runs = submit(&mut w, "low", "d");
    let jobs = ["low", "q", "both"].map(|queue| submit(&mut w, queue, "d"));
    let mut order = vec![runs];
    for _ in 0..3 {
        let last = *order.last().unwrap();
        ends(&mut w, &agent, last);
        order.extend(jobs.iter().find(|job| place(&w, **job).is_some()));
    }
    assert_eq!(order, [runs, jobs[2], jobs[1], jobs[0]], "`both` and `q` are equal, `low` is last");
    w.check_replay();
}

#[test]
fn a_lower_queue_runs_beside_what_is_kept_for_a_higher_one_and_never_in_its_way() {
    let mut w = world(&["e"]);
    w.queue("low", 1);
    w.definition("large", "4", "100");
    let (a, b) = (join(&mut w, "a", "e", 4), join(&mut w, "b", "e", 4));
    let fillers = [(); 7].map(|()| submit(&mut w, "low", "d"));
    let on = |w: &World, agent: &Name| {
        fillers.iter().filter(|job| place(w, **job) == Some(agent.as_str())).count()
    };
    assert_eq!((on(&w, &a), on(&w, &b)), (4, 3));
    let large = submit(&mut w, "both", "large");
    let behind = [(); 6].map(|()| submit(&mut w, "low", "d"));
    let started = |w: &World| behind.iter().filter(|job| place(w, **job).is_some()).count();
    assert_eq!(started(&w), 0, "the emptier agent is kept");
    for job in fillers.iter().take(4) {
        ends(&mut w, &a, *job);
    }
    assert_eq!(place(&w, large), None);
    assert_eq!(started(&w), 4, "on the other one the lower queue goes on");
    for job in fillers.iter().skip(4) {
        assert_eq!(place(&w, large), None);
        ends(&mut w, &b, *job);
    }
    assert_eq!((place(&w, large), started(&w)), (Some("b"), 4), "it starts as soon as it can");
    w.check_replay();
}
