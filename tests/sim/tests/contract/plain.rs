//! Properties of messages that no stream keeps.

use windrow_sim::bus::StreamSpec;

use crate::Nats;

fn heard(nats: &mut dyn Nats, subscription: usize) -> String {
    nats.heard(subscription).1
}

pub(crate) fn a_plain_message_goes_to_who_listens(nats: &mut dyn Nats) {
    let (one, two) = (nats.subscribe("a.b"), nats.subscribe("a.b"));
    let other = nats.subscribe("a.c");
    nats.send("a.b", "x");
    nats.send("a.c", "y");
    assert_eq!(heard(nats, one), "x");
    assert_eq!(heard(nats, two), "x");
    assert_eq!(heard(nats, other), "y", "and nothing before it");
}

pub(crate) fn who_listens_later_hears_nothing_of_before(nats: &mut dyn Nats) {
    nats.send("a.b", "early");
    let listener = nats.subscribe("a.b");
    nats.send("a.b", "late");
    assert_eq!(heard(nats, listener), "late");
}

pub(crate) fn messages_of_one_publisher_come_in_order(nats: &mut dyn Nats) {
    let listener = nats.subscribe("a.*");
    for number in 0..200 {
        nats.send(["a.b", "a.c"][number % 2], &number.to_string());
    }
    for number in 0..200 {
        assert_eq!(heard(nats, listener), number.to_string());
    }
}

pub(crate) fn a_plain_message_is_stored_by_the_stream_of_its_subject(nats: &mut dyn Nats) {
    nats.create_stream(StreamSpec::file("S", "s.>"));
    nats.send("s.a", "1");
    for _ in 0..400 {
        if nats.info("S").unwrap().last > 0 {
            break;
        }
        nats.wait();
    }
    assert_eq!(nats.message("S", 1), Some(("s.a".to_owned(), "1".to_owned())));
}

pub(crate) fn wildcards_choose_subjects(nats: &mut dyn Nats) {
    let (level, below) = (nats.subscribe("a.*.c"), nats.subscribe("a.>"));
    for (subject, payload) in [("a", "0"), ("a.b", "1"), ("a.b.c", "2"), ("a.b.c.d", "3")] {
        nats.send(subject, payload);
    }
    nats.send("a.x.c", "4");
    assert_eq!([heard(nats, level), heard(nats, level)], ["2", "4"]);
    for payload in ["1", "2", "3", "4"] {
        assert_eq!(heard(nats, below), payload);
    }
}
