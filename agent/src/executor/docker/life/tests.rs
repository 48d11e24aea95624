//! Each rule of the order in which containers start and stop.

use super::*;

fn member(name: &str, essential: bool, depends_on: &[(usize, Condition)]) -> Member {
    Member {
        name: name.to_owned(),
        essential,
        depends_on: depends_on.to_vec(),
        start_timeout: None,
        stop_timeout: Duration::from_secs(30),
    }
}

fn life(members: Vec<Member>) -> Life {
    let stages = vec![Stage::Waiting; members.len()];
    Life::new(members, stages)
}

fn exit(at: u64, code: i32) -> Exit {
    Exit { at: Timestamp(at), code, out_of_memory: false }
}

#[test]
fn they_start_in_the_order_of_their_dependencies() {
    let app = [(1, Condition::Success), (2, Condition::Healthy), (3, Condition::Start)];
    let mut life = life(vec![
        member("app", true, &app),
        member("fetch", false, &[]),
        member("database", false, &[]),
        member("proxy", false, &[(1, Condition::Complete)]),
    ]);
    let now = Timestamp(1000);
    assert_eq!(life.next(now), Step::Start(1));
    life.started(1, now);
    assert_eq!(life.next(now), Step::Start(2));
    life.started(2, now);
    assert_eq!(life.next(now), Step::Wait(None));
    assert_eq!(life.watched(), [2]);
    life.ended(1, exit(1001, 0));
    assert_eq!(life.next(now), Step::Start(3));
    life.started(3, now);
    assert_eq!(life.next(now), Step::Wait(None));
    assert_eq!(life.all_started(), None, "the job is STARTING until all have started");
    life.examined(2, Health::Good);
    assert_eq!(life.next(now), Step::Start(0));
    life.started(0, Timestamp(2000));
    assert_eq!(life.all_started(), Some(Timestamp(2000)));
    assert_eq!(life.next(now), Step::Wait(None));
}

#[test]
fn the_end_of_an_essential_one_stops_the_others_dependents_first() {
    let mut life = life(vec![
        member("database", false, &[]),
        member("proxy", false, &[(0, Condition::Start)]),
        member("app", true, &[(1, Condition::Start)]),
    ]);
    let now = Timestamp(1000);
    for i in 0..3 {
        assert_eq!(life.next(now), Step::Start(i));
        life.started(i, now);
    }
    life.ended(2, exit(1500, 3));
    assert_eq!(life.next(now), Step::Signal(1, StopSignal::Terminate));
    let kill_at = Timestamp(31_000);
    assert_eq!(life.next(now), Step::Wait(Some(kill_at)), "the database still serves it");
    assert_eq!(life.next(kill_at), Step::Signal(1, StopSignal::Kill));
    life.ended(1, exit(31_001, 137));
    assert_eq!(life.next(kill_at), Step::Signal(0, StopSignal::Terminate));
    life.ended(0, exit(31_002, 143));
    assert_eq!(life.next(kill_at), Step::Over);
    let outcome = life.outcome(kill_at);
    assert_eq!((outcome.exit_code, outcome.at), (3, Timestamp(31_002)));
    let codes: Vec<_> = outcome.containers.iter().map(|end| end.exit_code).collect();
    assert_eq!(codes, [Some(143), Some(137), Some(3)]);
}

#[test]
fn only_essential_ones_count() {
    let mut life = life(vec![member("app", true, &[]), member("side", false, &[])]);
    let now = Timestamp(1000);
    life.started(0, now);
    life.started(1, now);
    life.ended(1, exit(1100, 9));
    assert_eq!(life.next(now), Step::Wait(None));
    life.ended(0, exit(1200, 0));
    assert_eq!(life.next(now), Step::Over);
    assert_eq!((life.outcome(now).exit_code, life.outcome(now).reason), (0, None));
}

#[test]
fn all_essential_ones_must_exit_with_0() {
    let mut life = life(vec![member("a", true, &[]), member("b", true, &[])]);
    let now = Timestamp(1000);
    life.started(0, now);
    life.started(1, now);
    life.ended(0, exit(1100, 0));
    assert_eq!(life.next(now), Step::Signal(1, StopSignal::Terminate));
    life.ended(1, exit(1200, 143));
    assert_eq!(life.outcome(now).exit_code, 143);
}

#[test]
fn a_dependency_that_cannot_be_met_fails_the_attempt() {
    let mut life =
        life(vec![member("app", true, &[(1, Condition::Success)]), member("fetch", false, &[])]);
    let now = Timestamp(1000);
    life.started(1, now);
    life.ended(1, exit(1100, 7));
    assert_eq!(life.next(now), Step::Over);
    let outcome = life.outcome(now);
    let reason = "container `app` cannot start: `fetch` exited with 7 and SUCCESS was needed";
    assert_eq!((outcome.exit_code, outcome.reason.as_deref()), (1, Some(reason)));
    assert_eq!(outcome.containers[0].reason.as_deref(), Some(reason));
}

#[test]
fn a_start_timeout_ends_the_wait() {
    let slow = Member { start_timeout: Some(Duration::from_secs(2)), ..member("s", false, &[]) };
    let mut life = life(vec![member("app", true, &[(1, Condition::Complete)]), slow]);
    let now = Timestamp(1000);
    assert_eq!(life.next(now), Step::Start(1));
    life.started(1, now);
    assert_eq!(life.next(now), Step::Wait(Some(Timestamp(3000))));
    let late = Timestamp(3000);
    assert_eq!(life.next(late), Step::Signal(1, StopSignal::Terminate));
    assert!(life.failure().is_some_and(|reason| reason.contains("startTimeout")));
}

#[test]
fn a_kill_reaches_all_at_once_and_is_repeated() {
    let mut life = life(vec![member("a", true, &[]), member("b", true, &[(0, Condition::Start)])]);
    let now = Timestamp(1000);
    life.started(0, now);
    life.started(1, now);
    life.stop(StopSignal::Terminate, now);
    assert_eq!(life.next(now), Step::Signal(1, StopSignal::Terminate));
    life.stop(StopSignal::Kill, now);
    assert_eq!(life.next(now), Step::Signal(0, StopSignal::Kill));
    assert_eq!(life.next(now), Step::Signal(1, StopSignal::Kill));
    assert_eq!(life.next(now), Step::Wait(Some(Timestamp(6000))));
    assert_eq!(life.next(Timestamp(6000)), Step::Signal(0, StopSignal::Kill));
}
