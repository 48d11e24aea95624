//! Properties of streams.

use windrow_sim::bus::{Ack, ConsumerSpec, Demands, Info, PublishError, Purge, Start, StreamSpec};

use crate::{Nats, fetch_later, store, with_id};

fn journal(nats: &mut dyn Nats, messages: u64) {
    nats.create_stream(StreamSpec::file("S", "s.>"));
    for number in 1..=messages {
        assert_eq!(store(nats, "s.a", &number.to_string()), number);
    }
}

fn expecting(last: u64) -> Demands {
    Demands { expected_last: Some(last), ..Demands::default() }
}

fn before(number: u64) -> Purge {
    Purge { before: Some(number), filter: None }
}

pub(crate) fn numbers_rise_by_one_and_messages_are_kept_as_they_are(nats: &mut dyn Nats) {
    journal(nats, 3);
    assert_eq!(nats.message("S", 2), Some(("s.a".to_owned(), "2".to_owned())));
    assert_eq!(nats.message("S", 4), None);
    assert_eq!(nats.info("S"), Some(Info { first: 1, last: 3, messages: 3 }));
}

pub(crate) fn an_expected_last_number_fences(nats: &mut dyn Nats) {
    journal(nats, 2);
    let late = nats.publish("s.a", "late", &expecting(1));
    assert_eq!(late, Err(PublishError::WrongLastSequence));
    let early = nats.publish("s.a", "early", &expecting(3));
    assert_eq!(early, Err(PublishError::WrongLastSequence));
    let right = nats.publish("s.a", "right", &expecting(2));
    assert_eq!(right, Ok(Ack { sequence: 3, duplicate: false }));
}

pub(crate) fn an_expected_last_number_counts_what_was_purged(nats: &mut dyn Nats) {
    journal(nats, 3);
    assert_eq!(nats.purge("S", &Purge::default()), Some(3));
    let anew = nats.publish("s.a", "anew", &expecting(0));
    assert_eq!(anew, Err(PublishError::WrongLastSequence));
    assert_eq!(nats.publish("s.a", "on", &expecting(3)).unwrap().sequence, 4);
}

pub(crate) fn a_message_id_is_stored_once(nats: &mut dyn Nats) {
    journal(nats, 1);
    let first = nats.publish("s.a", "once", &with_id("x")).unwrap();
    assert_eq!(first, Ack { sequence: 2, duplicate: false });
    store(nats, "s.a", "between");
    let again = nats.publish("s.b", "twice", &with_id("x")).unwrap();
    assert_eq!(again, Ack { sequence: 2, duplicate: true });
    assert_eq!(nats.info("S").unwrap().messages, 3);
}

pub(crate) fn the_expected_number_is_looked_at_before_the_id(nats: &mut dyn Nats) {
    journal(nats, 0);
    let demands = Demands { expected_last: Some(0), ..with_id("x") };
    assert_eq!(nats.publish("s.a", "a", &demands).unwrap().sequence, 1);
    assert_eq!(nats.publish("s.a", "a", &demands), Err(PublishError::WrongLastSequence));
    let demands = Demands { expected_last: Some(1), ..demands };
    let again = nats.publish("s.a", "a", &demands);
    assert_eq!(again, Ok(Ack { sequence: 1, duplicate: true }));
}

pub(crate) fn a_message_id_is_forgotten_after_its_window(nats: &mut dyn Nats) {
    let spec = StreamSpec::file("S", "s.>");
    nats.create_stream(StreamSpec { duplicate_window: 100, ..spec });
    let mut last = nats.publish("s.a", "a", &with_id("x")).unwrap();
    for _ in 0..400 {
        last = nats.publish("s.a", "a", &with_id("x")).unwrap();
        if !last.duplicate {
            break;
        }
        nats.wait();
    }
    assert_eq!(last, Ack { sequence: 2, duplicate: false });
}

pub(crate) fn a_refused_message_leaves_its_id_unused(nats: &mut dyn Nats) {
    journal(nats, 1);
    let wrong = Demands { expected_last: Some(7), ..with_id("x") };
    assert_eq!(nats.publish("s.a", "a", &wrong), Err(PublishError::WrongLastSequence));
    let right = Demands { expected_last: Some(1), ..with_id("x") };
    let stored = nats.publish("s.a", "a", &right);
    assert_eq!(stored, Ok(Ack { sequence: 2, duplicate: false }));
}

pub(crate) fn a_subject_without_stream_is_refused(nats: &mut dyn Nats) {
    journal(nats, 0);
    let nobody = nats.publish("t.a", "a", &Demands::default());
    assert_eq!(nobody, Err(PublishError::NoStream));
}

fn small(nats: &mut dyn Nats, spec: StreamSpec) -> u64 {
    nats.create_stream(StreamSpec { max_bytes: Some(3_500), ..spec });
    let large = "x".repeat(1_000);
    for taken in 0.. {
        match nats.publish("s.a", &large, &with_id(&taken.to_string())) {
            Ok(ack) => assert_eq!(ack.sequence, taken + 1),
            Err(error) => {
                assert_eq!(error, PublishError::Full);
                return taken;
            }
        }
        assert!(taken < 10, "it is never full");
    }
    unreachable!("it ends when the stream is full")
}

pub(crate) fn a_full_stream_refuses_and_takes_again_when_there_is_room(nats: &mut dyn Nats) {
    let taken = small(nats, StreamSpec::file("S", "s.>"));
    assert_eq!(taken, 3);
    assert_eq!(nats.info("S"), Some(Info { first: 1, last: 3, messages: 3 }));
    assert_eq!(nats.purge("S", &before(2)), Some(1));
    // Neither the number nor the id of what was refused is used.
    let stored = nats.publish("s.a", "small", &with_id("3"));
    assert_eq!(stored, Ok(Ack { sequence: 4, duplicate: false }));
}

pub(crate) fn a_work_queue_that_is_full_takes_again_after_an_acknowledgement(nats: &mut dyn Nats) {
    let taken = small(nats, StreamSpec::memory("S", "s.>").work_queue());
    nats.create_consumer("S", reader()).unwrap();
    fetch_later(nats, "S", "c");
    nats.ack("S", "c", 1);
    assert_eq!(store(nats, "s.a", "small"), taken + 1);
}

fn reader() -> ConsumerSpec {
    ConsumerSpec {
        name: "c".to_owned(),
        memory: true,
        filter: None,
        start: Start::First,
        ack_wait: Some(30_000),
        max_ack_pending: 100,
    }
}

pub(crate) fn a_limit_for_each_subject_removes_the_older(nats: &mut dyn Nats) {
    let spec = StreamSpec::file("S", "s.>");
    nats.create_stream(StreamSpec { max_per_subject: Some(1), ..spec });
    for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3")] {
        store(nats, subject, payload);
    }
    assert_eq!(nats.message("S", 1), None);
    assert_eq!(nats.read("S", 1), [(2, "2".to_owned()), (3, "3".to_owned())]);
    assert_eq!(nats.info("S"), Some(Info { first: 2, last: 3, messages: 2 }));
}

pub(crate) fn an_empty_stream_says_what_comes_next(nats: &mut dyn Nats) {
    journal(nats, 2);
    nats.purge("S", &Purge::default()).unwrap();
    assert_eq!(nats.info("S"), Some(Info { first: 3, last: 2, messages: 0 }));
    assert_eq!(store(nats, "s.a", "3"), 3);
}

pub(crate) fn a_purge_up_to_a_number_keeps_that_one(nats: &mut dyn Nats) {
    journal(nats, 5);
    assert_eq!(nats.purge("S", &before(4)), Some(3));
    assert_eq!(nats.info("S"), Some(Info { first: 4, last: 5, messages: 2 }));
    assert_eq!(nats.message("S", 3), None);
    assert_eq!(nats.purge("S", &before(2)), Some(0), "what is gone");
    assert_eq!(nats.info("S"), Some(Info { first: 4, last: 5, messages: 2 }));
}

pub(crate) fn a_purge_of_a_subject_spares_the_others(nats: &mut dyn Nats) {
    journal(nats, 2);
    store(nats, "s.b", "3");
    store(nats, "s.a", "4");
    let purge = Purge { before: None, filter: Some("s.a".to_owned()) };
    assert_eq!(nats.purge("S", &purge), Some(3));
    assert_eq!(nats.read("S", 1), [(3, "3".to_owned())]);
    assert_eq!(nats.info("S").unwrap().last, 4);
}

pub(crate) fn a_purge_beyond_the_end_jumps(nats: &mut dyn Nats) {
    journal(nats, 2);
    assert_eq!(nats.purge("S", &before(10)), Some(2));
    assert_eq!(nats.info("S"), Some(Info { first: 10, last: 9, messages: 0 }));
    assert_eq!(nats.publish("s.a", "on", &expecting(9)).unwrap().sequence, 10);
}

pub(crate) fn a_stream_made_anew_begins_where_it_is_told(nats: &mut dyn Nats) {
    journal(nats, 2);
    assert!(nats.delete_stream("S"));
    let spec = StreamSpec::file("S", "s.>");
    nats.create_stream(StreamSpec { first_sequence: 100, ..spec });
    assert_eq!(nats.info("S").unwrap().last, 99);
    assert_eq!(nats.publish("s.a", "on", &expecting(99)).unwrap().sequence, 100);
    assert_eq!(nats.info("S"), Some(Info { first: 100, last: 100, messages: 1 }));
}

pub(crate) fn a_deleted_stream_is_not_there(nats: &mut dyn Nats) {
    journal(nats, 1);
    assert!(nats.delete_stream("S"));
    assert!(!nats.delete_stream("S"));
    assert_eq!(nats.info("S"), None);
    assert_eq!(nats.publish("s.a", "a", &Demands::default()), Err(PublishError::NoStream));
}

pub(crate) fn an_ordered_reader_passes_over_what_is_gone(nats: &mut dyn Nats) {
    journal(nats, 4);
    nats.purge("S", &before(3)).unwrap();
    assert_eq!(nats.read("S", 1), [(3, "3".to_owned()), (4, "4".to_owned())]);
    assert_eq!(nats.read("S", 4), [(4, "4".to_owned())]);
    assert_eq!(nats.read("S", 5), []);
}

pub(crate) fn a_file_stream_survives_a_kill_and_a_memory_stream_does_not(nats: &mut dyn Nats) {
    journal(nats, 2);
    nats.create_stream(StreamSpec::memory("M", "m.>"));
    store(nats, "m.a", "1");
    nats.restart();
    assert_eq!(nats.info("S"), Some(Info { first: 1, last: 2, messages: 2 }));
    assert_eq!(nats.publish("s.a", "3", &expecting(2)).unwrap().sequence, 3);
    // It comes back empty, or not at all: made anew it is empty.
    nats.create_stream(StreamSpec::memory("M", "m.>"));
    assert_eq!(nats.info("M").unwrap().messages, 0);
    assert_eq!(store(nats, "m.a", "1"), 1);
}

pub(crate) fn message_ids_survive_a_kill(nats: &mut dyn Nats) {
    journal(nats, 0);
    nats.publish("s.a", "once", &with_id("x")).unwrap();
    nats.restart();
    let again = nats.publish("s.a", "once", &with_id("x"));
    assert_eq!(again, Ok(Ack { sequence: 1, duplicate: true }));
}

pub(crate) fn a_store_put_back_gives_numbers_again(nats: &mut dyn Nats) {
    journal(nats, 2);
    nats.save();
    assert_eq!(nats.publish("s.a", "lost", &with_id("x")).unwrap().sequence, 3);
    nats.put_back();
    assert_eq!(nats.info("S"), Some(Info { first: 1, last: 2, messages: 2 }));
    // The same id, and it is stored: the number means something else now.
    let other = nats.publish("s.a", "other", &with_id("x"));
    assert_eq!(other, Ok(Ack { sequence: 3, duplicate: false }));
    assert_eq!(nats.message("S", 3).unwrap().1, "other");
}
