//! Processes that register under one name. Fault 49 of ARCHITECTURE.md in the core.

use windrow_common::api::jobs::JobStatus;
use windrow_common::wire::agent::{Held, Register};

use crate::core::Answer;
use crate::core::world::World;

fn register(w: &mut World, boot: u64, held: Vec<Held>) -> Answer {
    let mut registration = w.registration("a", 1, held);
    registration.boot = boot;
    w.ask_to_join(registration)
}

fn is_replaced(answer: &Answer) -> bool {
    matches!(answer, Answer::Replaced(by) if by.contains("host `a`") && by.contains("agent `a`"))
}

#[test]
fn fault_49_of_two_processes_of_a_name_the_later_one_has_it_while_it_is_heard() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.job();
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    let held = || vec![Held { lease: lease.id, children: vec![(0, 1)], ..Held::default() }];

    // What the first one runs is not in sight any more, so it is run again.
    assert!(matches!(register(&mut w, 2, Vec::new()), Answer::Registered { .. }));
    let session = w.state.agents[&agent].session;
    assert_eq!(w.status(job), JobStatus::Starting);
    assert!(
        is_replaced(&register(&mut w, 1, held())),
        "it would take its place, and so on for ever"
    );
    assert_eq!(w.state.agents[&agent].session, session);
    assert!(matches!(register(&mut w, 2, Vec::new()), Answer::Registered { .. }), "it is asked to");

    // Once the second is gone, the first is welcome.
    w.lose(&agent);
    let Answer::Registered { fenced, .. } = register(&mut w, 1, held()) else { panic!() };
    assert_eq!(fenced, held(), "its job was given to others");
    assert!(is_replaced(&register(&mut w, 2, Vec::new())));
    // A process that starts is new.
    assert!(matches!(register(&mut w, 3, Vec::new()), Answer::Registered { .. }));
    assert!(is_replaced(&register(&mut w, 2, Vec::new())));
    assert!(is_replaced(&register(&mut w, 1, Vec::new())));
    w.check_replay();
}

#[test]
fn processes_that_were_replaced_are_remembered_so_far() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    for boot in 2..100 {
        register(&mut w, boot, Vec::new());
    }
    assert_eq!(w.state.agents[&agent].replaced, (91..99).collect::<Vec<_>>());
}

#[test]
fn a_registration_that_comes_twice_or_late_changes_nothing() {
    let mut w = World::new();
    w.join(numbered(1));
    let (agent, job) = (numbered(1).agent, w.job());
    let lease = w.leases(&agent).remove(0);

    // It holds nothing yet, says the copy; by now it may well run.
    assert!(matches!(w.ask_to_join(numbered(1)), Answer::Done));
    assert!(w.state.leases.contains_key(&lease.id));
    assert_eq!(w.status(job), JobStatus::Starting);

    w.join(numbered(3));
    let session = w.state.agents[&agent].session;
    assert!(matches!(w.ask_to_join(numbered(2)), Answer::Done), "it was overtaken");
    assert_eq!(w.state.agents[&agent].session, session);
    // Another start counts from the beginning.
    w.join(Register { boot: 9, ..numbered(1) });
    assert!(w.state.agents[&agent].session > session);
    w.check_replay();
}

fn numbered(number: u64) -> Register {
    Register { number, ..World::new().registration("a", 1, Vec::new()) }
}
