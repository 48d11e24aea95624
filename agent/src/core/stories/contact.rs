//! An agent that reaches no coordinator, and clocks that jump. Faults 5, 10 and 11 in the core.

use std::time::Duration;

use windrow_common::ids::LeaseId;
use windrow_common::wire::agent::{EndCause, SelfFence};
use windrow_common::wire::lease::{Lease, Order};

use super::{World, key, lease};
use crate::core::Input;
use crate::executor::StopSignal;

const SECOND: Duration = Duration::from_secs(1);

/// An agent that stops its jobs after 20 seconds; what is left is killed after 27.
fn strict() -> World {
    let mut w = World::new();
    let (stop_after_millis, kill_after_millis) = (20_000, Some(27_000));
    w.self_fence = Some(SelfFence { stop_after_millis, kill_after_millis });
    w.register(Vec::new());
    w
}

fn beat(w: &mut World) -> u64 {
    w.core.beat(w.now).0
}

fn heard(w: &mut World, number: u64) {
    w.handle(Input::Heard { session: w.session, term: 1, number });
}

#[test]
fn fault_5_an_agent_that_is_not_answered_stops_its_jobs_itself() {
    let mut w = strict();
    w.run(1, 5);
    w.reports();
    assert_eq!(w.core.next_deadline(), Some(w.now.monotonic + 2 * SECOND), "the backlog");
    w.advance(19 * SECOND);
    assert!(w.stops.is_empty());
    w.advance(SECOND);
    assert_eq!(w.stops.len(), 4);
    assert!(w.stops.iter().all(|(_, signal)| *signal == StopSignal::Terminate));
    assert!(w.wants_registration);
    w.advance(7 * SECOND);
    assert_eq!(w.stops.len(), 8, "killed before the coordinator gives them to others");
    (0..4).for_each(|child| w.exit(key(1, child), 137));
    let again = w.register(Vec::new());
    assert_eq!(again[0].lost, [(0, 5)], "nothing of it is worth keeping");
    let ended = w.ended();
    assert!(ended.iter().all(|ended| ended.cause == EndCause::HostLost));
    assert_eq!(ended[0].reason.as_deref(), Some("no coordinator could be reached"));
    w.run(2, 1);
    assert_eq!(w.started.last(), Some(&key(2, 0)), "it takes work again");
}

#[test]
fn what_must_be_over_moves_on_with_each_answer() {
    let mut w = strict();
    let registered = w.now.monotonic;
    let of = |w: &World| w.core.must_end_by().map(|fence| (fence.stop_at, fence.kill_at));
    assert_eq!(of(&w), Some((registered + 20 * SECOND, registered + 27 * SECOND)));
    w.advance(5 * SECOND);
    let number = beat(&mut w);
    w.advance(SECOND);
    heard(&mut w, number);
    assert_eq!(of(&w), Some((registered + 25 * SECOND, registered + 32 * SECOND)));
    w.self_fence = Some(SelfFence { stop_after_millis: 20_000, kill_after_millis: None });
    w.register(Vec::new());
    assert_eq!(of(&w), None, "nothing was promised");
}

#[test]
fn contact_counts_from_when_the_answered_heartbeat_was_sent() {
    let mut w = strict();
    w.run(1, 1);
    w.advance(5 * SECOND);
    let number = beat(&mut w);
    w.advance(10 * SECOND);
    heard(&mut w, number);
    w.advance(9 * SECOND);
    assert!(w.stops.is_empty(), "24 seconds after the registration, 19 after the heartbeat");
    w.advance(SECOND);
    assert_eq!(w.stops.len(), 1);
}

#[test]
fn answers_of_another_session_or_an_older_term_count_for_nothing() {
    let mut w = strict();
    w.order_as(w.session, 5, Vec::new());
    w.run_as(5, 1, 1);
    w.advance(15 * SECOND);
    let number = beat(&mut w);
    w.handle(Input::Heard { session: w.session - 1, term: 5, number });
    w.handle(Input::Heard { session: w.session, term: 4, number });
    w.handle(Input::Heard { session: w.session, term: 5, number: number + 1000 });
    assert_eq!(w.core.beat(w.now).1, Some(Duration::ZERO), "the last one is an answer to all");
    w.advance(19 * SECOND);
    assert!(w.stops.is_empty());
}

#[test]
fn an_agent_that_stood_still_kills_first_and_starts_nothing_of_old() {
    let mut w = strict();
    w.run(1, 1);
    let number = beat(&mut w);
    // SIGSTOP for a minute. Then the answer to the old heartbeat and an old order are read.
    w.now = w.now.plus(60 * SECOND);
    heard(&mut w, number);
    assert_eq!(
        w.stops,
        [(key(1, 0), StopSignal::Terminate), (key(1, 0), StopSignal::Kill)],
        "at once: somebody else may run it"
    );
    w.run(2, 1);
    assert_eq!(w.started, [key(1, 0)]);
    // An answer to a registration from before the standstill changes nothing.
    w.core.begin_registration(w.now);
    w.now = w.now.plus(60 * SECOND);
    w.accept(Vec::new());
    w.run(3, 1);
    assert_eq!(w.started, [key(1, 0)]);
    assert!(w.wants_registration);
    w.register(Vec::new());
    w.run(4, 1);
    assert_eq!(w.started, [key(1, 0), key(4, 0)]);
}

#[test]
fn a_restarted_agent_remembers_what_was_agreed_and_when_it_was_last_answered() {
    let mut w = strict();
    w.run(1, 1);
    w.advance(5 * SECOND);
    let number = beat(&mut w);
    heard(&mut w, number);
    w.advance(10 * SECOND);
    w.restart();
    assert!(w.stops.is_empty());
    w.advance(10 * SECOND);
    assert_eq!(w.stops.len(), 1);
    // And one that comes back later kills what ran on.
    let mut w = strict();
    w.run(1, 1);
    w.now = w.now.plus(40 * SECOND);
    w.restart();
    assert_eq!(w.stops[0], (key(1, 0), StopSignal::Terminate));
    w.handle(Input::Tick);
    assert_eq!(w.stops.last(), Some(&(key(1, 0), StopSignal::Kill)));
}

#[test]
fn without_an_agreement_jobs_run_on_for_ever() {
    let mut w = World::new();
    w.run(1, 1);
    w.reports();
    w.advance(3600 * SECOND);
    assert!(w.stops.is_empty());
}

#[test]
fn fault_10_a_clock_that_jumps_ends_nothing_and_prolongs_nothing() {
    for jump in [1_i64, -1] {
        let mut w = World::new();
        w.order(Order::Run(Lease { timeout_seconds: Some(60), ..lease(1, 1) }));
        w.reports();
        let hour = 3_600_000_i64 * jump;
        w.now.wall.0 = w.now.wall.0.saturating_add_signed(hour);
        w.advance(59 * SECOND);
        assert!(w.stops.is_empty(), "{jump}");
        w.advance(SECOND);
        assert_eq!(w.stops.len(), 1, "{jump}");
    }
}

#[test]
fn fault_10_a_jump_over_a_restart_does_not_end_an_attempt_early() {
    let mut w = World::new();
    w.order(Order::Run(Lease { timeout_seconds: Some(60), ..lease(1, 1) }));
    w.advance(10 * SECOND);
    w.now.wall = w.now.wall.plus(3600 * SECOND);
    w.restart();
    w.advance(49 * SECOND);
    assert!(w.stops.is_empty());
    w.advance(SECOND);
    assert_eq!(w.stops.len(), 1);
}

#[test]
fn coordinators_of_lower_terms_are_refused_also_after_a_restart() {
    let mut w = World::new();
    w.order_as(w.session, 7, Vec::new());
    assert_eq!(w.core.seen(), (7, LeaseId(0)));
    w.run_as(7, 9, 1);
    w.restart();
    assert_eq!(w.core.seen(), (7, LeaseId(9)));
    w.core.begin_registration(w.now);
    w.accept(Vec::new());
    assert!(w.core.session().is_none() && w.wants_registration, "term 1 is of the past");
}
