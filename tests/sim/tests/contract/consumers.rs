//! Properties of consumers.

use windrow_sim::bus::{ConsumerSpec, Info, Purge, Start, StreamSpec};

use crate::{Nats, Pulled, Refused, fetch_later, numbers, store, with_id};

/// Long enough that nothing comes again while a test runs.
const LONG: u64 = 600_000;
/// So short that what is not acknowledged comes again soon.
const SHORT: u64 = 200;

fn reader(name: &str) -> ConsumerSpec {
    ConsumerSpec {
        name: name.to_owned(),
        memory: false,
        filter: None,
        start: Start::First,
        ack_wait: Some(LONG),
        max_ack_pending: 100,
    }
}

fn impatient(name: &str) -> ConsumerSpec {
    ConsumerSpec { ack_wait: Some(SHORT), ..reader(name) }
}

fn stream(nats: &mut dyn Nats, messages: u64) {
    nats.create_stream(StreamSpec::file("S", "s.>"));
    fill(nats, messages);
}

fn queue(nats: &mut dyn Nats, messages: u64) {
    nats.create_stream(StreamSpec::file("S", "s.>").work_queue());
    fill(nats, messages);
}

fn fill(nats: &mut dyn Nats, messages: u64) {
    for number in 1..=messages {
        store(nats, "s.a", &number.to_string());
    }
}

/// A reader of the stream with what it gets first.
fn fetched(nats: &mut dyn Nats, spec: ConsumerSpec) -> Vec<u64> {
    let name = spec.name.clone();
    nats.create_consumer("S", spec).unwrap();
    numbers(&fetch_later(nats, "S", &name))
}

pub(crate) fn what_is_acknowledged_does_not_come_again(nats: &mut dyn Nats) {
    stream(nats, 3);
    assert_eq!(fetched(nats, impatient("c")), [1, 2, 3]);
    for sequence in [1, 3] {
        nats.ack("S", "c", sequence);
    }
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [2]);
}

pub(crate) fn what_is_not_acknowledged_comes_again_and_is_counted(nats: &mut dyn Nats) {
    stream(nats, 0);
    nats.publish("s.a", "1", &with_id("x")).unwrap();
    nats.create_consumer("S", impatient("c")).unwrap();
    for delivered in 1..=3 {
        let got = fetch_later(nats, "S", "c");
        let about = (got[0].sequence, got[0].delivered, got[0].message_id.as_deref());
        assert_eq!((got.len(), about), (1, (1, delivered, Some("x"))));
    }
}

pub(crate) fn an_acknowledgement_counts_after_a_redelivery(nats: &mut dyn Nats) {
    stream(nats, 1);
    assert_eq!(fetched(nats, impatient("c")), [1]);
    assert_eq!(fetch_later(nats, "S", "c")[0].delivered, 2);
    nats.ack("S", "c", 1);
    store(nats, "s.a", "2");
    for _ in 0..3 {
        assert_eq!(numbers(&fetch_later(nats, "S", "c")), [2]);
    }
}

pub(crate) fn no_more_than_the_limit_is_unacknowledged(nats: &mut dyn Nats) {
    stream(nats, 5);
    let spec = ConsumerSpec { max_ack_pending: 2, ..reader("c") };
    assert_eq!(fetched(nats, spec), [1, 2]);
    assert_eq!(nats.fetch("S", "c", 10), Some(Vec::new()));
    nats.ack("S", "c", 2);
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [3]);
}

pub(crate) fn redeliveries_come_before_new_messages(nats: &mut dyn Nats) {
    stream(nats, 2);
    assert_eq!(fetched(nats, impatient("c")), [1, 2]);
    // Until both are due.
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(nats.fetch("S", "c", 2 - got.len()).unwrap());
        nats.wait();
    }
    store(nats, "s.a", "3");
    assert!(got.iter().all(|got| got.delivered == 2), "{got:?}");
    let later = fetch_later(nats, "S", "c");
    assert!(numbers(&later).contains(&3), "{later:?}");
}

pub(crate) fn a_consumer_without_acknowledgements_delivers_once(nats: &mut dyn Nats) {
    stream(nats, 2);
    let spec = ConsumerSpec { ack_wait: None, memory: true, ..reader("c") };
    assert_eq!(fetched(nats, spec), [1, 2]);
    for _ in 0..10 {
        nats.wait();
    }
    assert_eq!(nats.fetch("S", "c", 10), Some(Vec::new()));
    store(nats, "s.a", "3");
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [3]);
}

pub(crate) fn a_filter_chooses_subjects(nats: &mut dyn Nats) {
    stream(nats, 1);
    for subject in ["s.b", "s.b.c", "s.a"] {
        store(nats, subject, "x");
    }
    let filtered = |name, filter: &str| {
        let filter = Some(filter.to_owned());
        ConsumerSpec { filter, ..reader(name) }
    };
    assert_eq!(fetched(nats, filtered("one", "s.b")), [2]);
    assert_eq!(fetched(nats, filtered("level", "s.*")), [1, 2, 4]);
    assert_eq!(fetched(nats, filtered("below", "s.b.>")), [3]);
}

pub(crate) fn a_consumer_begins_where_it_is_told(nats: &mut dyn Nats) {
    stream(nats, 4);
    nats.purge("S", &Purge { before: Some(2), filter: None }).unwrap();
    assert_eq!(fetched(nats, reader("first")), [2, 3, 4]);
    let at = |name, sequence| ConsumerSpec { start: Start::At(sequence), ..reader(name) };
    assert_eq!(fetched(nats, at("third", 3)), [3, 4]);
    assert_eq!(fetched(nats, at("purged", 1)), [2, 3, 4]);
}

pub(crate) fn a_work_queue_forgets_what_is_acknowledged(nats: &mut dyn Nats) {
    queue(nats, 3);
    assert_eq!(fetched(nats, reader("c")), [1, 2, 3]);
    nats.ack("S", "c", 2);
    assert_eq!(gone(nats, 2), Info { first: 1, last: 3, messages: 2 });
    nats.ack("S", "c", 1);
    assert_eq!(gone(nats, 1), Info { first: 3, last: 3, messages: 1 });
}

/// What the stream says of itself when this message is gone.
fn gone(nats: &mut dyn Nats, sequence: u64) -> Info {
    for _ in 0..400 {
        if nats.message("S", sequence).is_none() {
            return nats.info("S").unwrap();
        }
        nats.wait();
    }
    panic!("message {sequence} is still there");
}

pub(crate) fn a_work_queue_refuses_overlapping_readers(nats: &mut dyn Nats) {
    queue(nats, 1);
    let of = |name, subject: &str| {
        let filter = Some(subject.to_owned());
        ConsumerSpec { filter, ..reader(name) }
    };
    nats.create_consumer("S", of("a-1", "s.a")).unwrap();
    nats.create_consumer("S", of("b-1", "s.b")).unwrap();
    assert_eq!(nats.create_consumer("S", of("a-2", "s.a")), Err(Refused::InTheWay));
    assert_eq!(nats.create_consumer("S", of("all", "s.*")), Err(Refused::InTheWay));
    assert_eq!(nats.create_consumer("S", reader("unfiltered")), Err(Refused::InTheWay));
    assert!(nats.delete_consumer("S", "a-1"));
    nats.create_consumer("S", of("a-2", "s.a")).unwrap();
    assert_eq!(numbers(&fetch_later(nats, "S", "a-2")), [1]);
}

pub(crate) fn making_a_consumer_again_changes_nothing(nats: &mut dyn Nats) {
    queue(nats, 2);
    nats.create_consumer("S", reader("c")).unwrap();
    assert_eq!(numbers(&nats.fetch("S", "c", 1).unwrap()), [1]);
    nats.create_consumer("S", reader("c")).unwrap();
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [2], "the first is still on its way");
}

pub(crate) fn a_consumer_made_anew_delivers_what_was_not_acknowledged_at_once(nats: &mut dyn Nats) {
    queue(nats, 3);
    assert_eq!(fetched(nats, reader("c")), [1, 2, 3]);
    nats.ack("S", "c", 2);
    gone(nats, 2);
    assert!(nats.delete_consumer("S", "c"));
    nats.create_consumer("S", reader("c")).unwrap();
    let got = fetch_later(nats, "S", "c");
    let about: Vec<_> = got.iter().map(|got| (got.sequence, got.delivered)).collect();
    assert_eq!(about, [(1, 1), (3, 1)]);
}

pub(crate) fn a_purge_takes_what_is_unacknowledged_too(nats: &mut dyn Nats) {
    stream(nats, 3);
    assert_eq!(fetched(nats, impatient("c")), [1, 2, 3]);
    nats.purge("S", &Purge { before: Some(3), filter: None }).unwrap();
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [3]);
    nats.purge("S", &Purge::default()).unwrap();
    store(nats, "s.a", "4");
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [4]);
}

pub(crate) fn a_purge_gives_room_for_unacknowledged_messages(nats: &mut dyn Nats) {
    stream(nats, 3);
    let spec = ConsumerSpec { max_ack_pending: 3, ..reader("c") };
    assert_eq!(fetched(nats, spec), [1, 2, 3]);
    nats.purge("S", &Purge::default()).unwrap();
    store(nats, "s.a", "4");
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [4]);
}

pub(crate) fn a_consumer_in_memory_does_not_survive_a_kill(nats: &mut dyn Nats) {
    stream(nats, 1);
    nats.create_consumer("S", ConsumerSpec { memory: true, ..reader("c") }).unwrap();
    nats.restart();
    assert_eq!(nats.fetch("S", "c", 1), None);
}

pub(crate) fn a_consumer_on_file_survives_a_kill(nats: &mut dyn Nats) {
    queue(nats, 2);
    assert_eq!(fetched(nats, impatient("c")), [1, 2]);
    nats.ack("S", "c", 1);
    gone(nats, 1);
    nats.restart();
    // Whatever the server still knows of deliveries: what was not acknowledged comes again, what was
    // acknowledged is gone from the queue.
    assert_eq!(numbers(&fetch_later(nats, "S", "c")), [2]);
}

pub(crate) fn a_deleted_consumer_is_not_there(nats: &mut dyn Nats) {
    stream(nats, 1);
    nats.create_consumer("S", reader("c")).unwrap();
    assert!(nats.delete_consumer("S", "c"));
    assert!(!nats.delete_consumer("S", "c"));
    assert_eq!(nats.fetch("S", "c", 1), None);
    assert_eq!(nats.create_consumer("T", reader("c")), Err(Refused::NoStream));
}

pub(crate) fn a_standing_pull_gets_what_comes(nats: &mut dyn Nats) {
    stream(nats, 1);
    nats.create_consumer("S", reader("c")).unwrap();
    let pull = nats.pull("S", "c");
    for number in 1..=3 {
        let Pulled::Message(got) = nats.pulled(pull) else { panic!("it ended") };
        assert_eq!((got.sequence, got.payload), (number, number.to_string()));
        store(nats, "s.a", &(number + 1).to_string());
    }
}

pub(crate) fn a_standing_pull_is_told_that_its_consumer_is_gone(nats: &mut dyn Nats) {
    stream(nats, 1);
    nats.create_consumer("S", reader("c")).unwrap();
    let pull = nats.pull("S", "c");
    assert!(matches!(nats.pulled(pull), Pulled::Message(_)));
    assert!(nats.delete_consumer("S", "c"));
    assert_eq!(nats.pulled(pull), Pulled::Ended);
}

pub(crate) fn two_readers_of_one_consumer_share_its_messages(nats: &mut dyn Nats) {
    stream(nats, 0);
    nats.create_consumer("S", reader("c")).unwrap();
    let pulls = [nats.pull("S", "c"), nats.pull("S", "c")];
    fill(nats, 40);
    let (mut counts, mut all) = ([0, 0], Vec::new());
    // A third reader finds nothing only when the two have been sent everything.
    loop {
        let got = nats.fetch("S", "c", 1).expect("the consumer is there");
        if got.is_empty() {
            break;
        }
        all.extend(numbers(&got));
    }
    // The end is told after what was sent before.
    nats.delete_consumer("S", "c");
    for (count, pull) in counts.iter_mut().zip(pulls) {
        while let Pulled::Message(got) = nats.pulled(pull) {
            (*count, _) = (*count + 1, all.push(got.sequence));
        }
    }
    all.sort_unstable();
    assert_eq!(all, Vec::from_iter(1..=40), "each went to one of them");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
