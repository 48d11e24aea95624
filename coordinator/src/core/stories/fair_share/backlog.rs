//! Short children wait at agents for the room of others of their kind, and are in nobody's way there.

use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::Lease;

use crate::core::Command;
use crate::core::stories::nodes::{multinode, range};
use crate::core::world::{World, name};

/// An array of children that run for 20 ms, the first of which has just ended on the agent; and what the
/// agent was given since.
fn short(w: &mut World, agent: &Name, request: SubmitJob) -> (JobId, Vec<Lease>) {
    let job = w.submit(SubmitJob { array_properties: w.size(1000), ..request });
    let lease = w.leases(agent).remove(0);
    let next = end(w, agent, &lease);
    (job, next)
}

/// The first child of a lease ends; what the agent is given then.
fn end(w: &mut World, agent: &Name, lease: &Lease) -> Vec<Lease> {
    w.now = w.now.plus(std::time::Duration::from_millis(20));
    let ended = w.ended_after(20, lease, lease.first, EndCause::Exited, 0);
    w.report(agent, vec![ended]);
    w.leases(agent)
}

#[test]
fn a_job_that_goes_before_gets_the_room_that_a_backlog_would_take() {
    let mut w = World::new();
    w.queue("low", 1);
    w.definition("other", "1", "200");
    // Somebody runs for long on agent `y`, and that is where room is kept for the next job.
    let y = w.agent("y", 1);
    let other = |w: &World| SubmitJob { job_definition: "other".into(), ..w.request() };
    let long = other(&w);
    w.submit(long);
    assert_eq!(w.leases(&y).len(), 1);
    let agent = w.agent("x", 1);
    let low = SubmitJob { job_queue: "low".into(), ..w.request() };
    let (job, given) = short(&mut w, &agent, low);
    assert!(given.iter().map(|lease| lease.count).sum::<u32>() > 1, "a backlog: {given:?}");
    let before = other(&w);
    let before = w.submit(before);
    assert_eq!(w.status(before), JobStatus::Runnable);
    let mut children = given.iter().flat_map(|lease| {
        (lease.first..lease.first + lease.count).map(|first| Lease { first, ..lease.clone() })
    });
    let last = children.next_back().unwrap();
    for child in children {
        assert_eq!(end(&mut w, &agent, &child), [], "nothing new while somebody waits");
    }
    assert_eq!(end(&mut w, &agent, &last)[0].job, before);
    assert_eq!(w.status(job), JobStatus::Pending, "the array goes on behind it");
    w.check_replay();
}

#[test]
fn a_share_that_holds_all_that_is_not_kept_for_others_has_no_backlog() {
    let mut w = World::new();
    let policy = FairsharePolicy { compute_reservation: Some(50), ..FairsharePolicy::default() };
    w.policy("p", policy);
    w.fair_queue("f", "p");
    let agent = w.agent("x", 2);
    let shared = |share: &str, w: &World| SubmitJob {
        job_queue: "f".into(),
        share_identifier: Some(share.into()),
        ..w.request()
    };
    let request = shared("a", &w);
    let (_, given) = short(&mut w, &agent, request);
    assert_eq!(given.iter().map(|lease| lease.count).sum::<u32>(), 1);
    assert_eq!(w.state.usage[&name("f")].held, 1000);
    w.check_replay();
}

#[test]
fn no_backlog_begins_in_the_place_of_nodes_that_are_not_there_yet() {
    let mut w = World::new();
    w.does(Command::RegisterDefinition(Box::new(multinode("m", 2, vec![range("0:", "1")]))));
    let agent = w.agent("x", 3);
    let nodes = SubmitJob { job_definition: "m".into(), ..w.request() };
    w.submit(nodes);
    let main = w.leases(&agent).remove(0);
    let request = w.request();
    let (job, given) = short(&mut w, &agent, request);
    let count = |given: &[Lease]| {
        given.iter().filter(|lease| lease.job == job).map(|lease| lease.count).sum::<u32>()
    };
    assert_eq!(count(&given), 1, "the other node is yet to be ordered");
    let started = w.started(&main, main.first);
    w.report(&agent, vec![started]);
    assert!(count(&w.leases(&agent)) > 1, "it is there: a backlog");
    w.check_replay();
}

#[test]
fn what_waits_at_an_agent_is_not_held_and_counts_when_it_has_run() {
    let mut w = World::new();
    w.policy("p", FairsharePolicy::default());
    w.fair_queue("f", "p");
    let agent = w.agent("x", 1);
    let share =
        SubmitJob { job_queue: "f".into(), share_identifier: Some("a".into()), ..w.request() };
    let (_, given) = short(&mut w, &agent, share);
    let used = |w: &World| {
        let used = w.state.usage[&name("f")].shares[&name("a")].clone();
        (used.held, used.amount(w.state.fair_share(&name("f")).unwrap(), w.now))
    };
    assert_eq!(used(&w).0, 1000, "the one that had room");
    let ran = |millis: u64| (millis - 1) * 1000..=millis * 1000;
    assert!(ran(20).contains(&used(&w).1), "{:?}", used(&w));
    end(&mut w, &agent, &given[0]);
    assert_eq!(given[0].count, 1);
    assert_eq!(used(&w).0, 0, "its room is a backlog's now");
    let backlog = &given[1];
    end(&mut w, &agent, backlog);
    end(&mut w, &agent, &Lease { first: backlog.first + 1, ..backlog.clone() });
    assert!(ran(80).contains(&used(&w).1), "{:?}", used(&w));
    w.check_replay();
}
