//! Going on after a part of the journal was lost.

use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::resources::{AcknowledgeAlarm, Alarm};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{EndCause, Held, Register};
use windrow_common::wire::lease::Lease;

use crate::core::alarms::Numbers;
use crate::core::world::World;
use crate::core::{Answer, Command};

/// Fault 14.
#[test]
fn a_lease_of_the_lost_time_is_fenced_and_never_mistaken_for_a_new_one() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    w.job();
    let kept = w.start_all(&agent).remove(0);
    let before = w.log().len();
    let lost = w.job();
    let lease = w.leases(&agent).remove(0);
    let seen = Numbers { term: 3, session: w.state.last_session, lease: lease.id };

    // The store is put back to an older copy; the agent holds a lease that nobody remembers.
    w.put_back(before);
    assert!(!w.state.jobs.contains_key(&lost));
    assert!(w.state.last_lease < lease.id, "its number would be given again");
    w.does(Command::Recover { seen, text: "messages 7 to 9 are gone".into() });
    assert!(w.state.term > seen.term && w.state.last_session > seen.session);
    assert!(w.state.alarms[0].text.contains("7 to 9"));

    let holds = |lease: &Lease| Held { lease: lease.id, children: vec![(0, 1)], ..Held::default() };
    let fenced = w.register("a", 2, vec![holds(&kept), holds(&lease)]);
    assert_eq!(fenced, vec![holds(&lease)], "it is told to stop what nobody knows");
    w.job();
    let new = w.leases(&agent).remove(0);
    assert!(new.id > lease.id);
    // Its end, reported all the same, is nobody's.
    w.report(&agent, vec![w.ended(&lease, 0, EndCause::Exited, 0)]);
    assert_eq!(w.state.fenced_results, 1);
    assert_eq!(w.status(new.job), JobStatus::Starting);
    w.report(&agent, vec![w.started(&new, 0), w.ended(&new, 0, EndCause::Exited, 0)]);
    assert_eq!(w.status(new.job), JobStatus::Succeeded);
    w.report(&agent, vec![w.ended(&kept, 0, EndCause::Exited, 0)]);
    assert_eq!(w.status(kept.job), JobStatus::Succeeded, "what was not lost goes on");
    w.check_replay();
}

#[test]
fn alarms_are_kept_in_bounded_number() {
    let mut w = World::new();
    for number in 0..100 {
        w.does(Command::Recover { seen: Numbers::default(), text: format!("loss {number}") });
    }
    assert_eq!(w.state.alarms.len(), 16);
    assert_eq!(w.state.alarms[15].text, "loss 99");
}

/// An operator has seen to an alarm: who and when is kept, the first of them, and by number, as places
/// change.
#[test]
fn an_alarm_is_acknowledged_once_and_stays_so() {
    let mut w = World::new();
    for number in 0..20 {
        w.does(Command::Recover { seen: Numbers::default(), text: format!("loss {number}") });
    }
    assert_eq!((w.state.alarms[0].id, w.state.alarms[15].id), (5, 20));
    let by = |id, by: &str| {
        let note = Some("restored".to_owned());
        Command::AcknowledgeAlarm(AcknowledgeAlarm { id, by: by.to_owned(), note })
    };
    w.does(by(20, "ann@host"));
    w.does(by(20, "bob@host"));
    w.does(Command::Recover { seen: Numbers::default(), text: "another".into() });
    let alarms = crate::view::statistics(&w.state).alarms;
    let said = |alarm: &Alarm| alarm.acknowledged.clone().map(|said| (said.by, said.note));
    let ann = ("ann@host".to_owned(), Some("restored".to_owned()));
    assert_eq!((alarms[14].id, said(&alarms[14])), (20, Some(ann)));
    assert_eq!((alarms[15].id, said(&alarms[15])), (21, None), "a new one is open");
    assert!(w.refused(by(5, "ann")).message.contains("alarm `5` does not exist"), "forgotten");
    assert!(w.refused(by(0, "ann")).message.contains("does not exist"));
    assert!(w.refused(by(21, " ")).message.contains("`by` is empty"));
    assert!(w.refused(by(21, &"x".repeat(257))).message.contains("at most `256` bytes"));
    w.check_replay();
}

/// Fault 14, for the submission stream.
#[test]
fn a_submission_whose_number_came_again_is_another_job() {
    let mut w = World::new();
    let request = Box::new(w.request());
    let mut take = |sequence, published, id| {
        let (published, id) = (Timestamp(published), JobId::from_u128(id));
        let request = request.clone();
        w.does(Command::SubmitFromStream { sequence, published, id, request });
        w.state.jobs.len()
    };
    assert_eq!(take(5, 100, 1), 1);
    assert_eq!(take(6, 120, 2), 2);
    assert_eq!(take(5, 100, 3), 2, "redelivered");
    assert_eq!(take(6, 150, 4), 3, "the stream was put back, and has given the number again");
    assert_eq!(take(6, 150, 5), 3, "redelivered");
    assert_eq!(w.state.jobs[&JobId::from_u128(4)].status(), JobStatus::Runnable);
}

#[test]
fn a_refused_submission_that_comes_again_stays_refused_although_it_could_be_taken_now() {
    let mut w = World::new();
    let mut take = |sequence: u64, key: &str, queue: &str| {
        let (id, idempotency_key) = (JobId::from_u128(sequence.into()), Some(key.to_owned()));
        let request = SubmitJob { job_queue: queue.into(), idempotency_key, ..w.request() };
        let (published, request) = (Timestamp(100), Box::new(request));
        w.does(Command::SubmitFromStream { sequence, published, id, request })
    };
    let first = take(5, "a", "late");
    assert!(matches!(first, Answer::Refused(_)));
    // Its dead letter was not stored. In the meantime somebody made the queue.
    assert!(matches!(take(5, "a", "q"), Answer::Refused(_)), "or nobody would ever hear of it");
    assert!(!matches!(take(6, "b", "q"), Answer::Refused(_)));
    assert_eq!(take(6, "b", "q"), Answer::Done, "redelivered");
    assert_eq!(w.state.jobs.len(), 1);
}

/// Fault 14: nobody else noticed.
#[test]
fn an_agent_that_has_seen_higher_numbers_is_evidence_of_a_loss() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let before = w.log().len();
    w.job();
    let lost = w.leases(&agent).remove(0);
    w.put_back(before);
    let seen = |w: &World, term: u64| Register {
        term_seen: term,
        lease_seen: lost.id,
        held: vec![Held { lease: lost.id, children: vec![(0, 1)], ..Held::default() }],
        ..w.registration("a", 1, vec![])
    };
    let register = seen(&w, w.state.term);
    assert_eq!(w.join(register).len(), 1, "what nobody knows is fenced");
    assert!(w.state.term > 1000 && w.state.last_lease > lost.id);
    assert_eq!(w.state.agents[&agent].session, w.state.last_session);
    assert!(w.state.alarms[0].text.contains("`a` has seen term 1 and lease_1"));
    // Once is enough, and what cannot be true is refused.
    let register = seen(&w, w.state.term);
    w.join(register);
    assert_eq!(w.state.alarms.len(), 1);
    let register = seen(&w, u64::MAX);
    assert!(w.refused(Command::RegisterAgent(Box::new(register))).message.contains("can be true"));
    w.check_replay();
}
