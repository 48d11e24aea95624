//! What Windrow relies on NATS for, as properties that both the simulation's model of a server and the
//! real server must have. What the model allows and the server does not, or the other way round, would
//! make the simulation prove something about another world.
//!
//! Each property runs as `model::NAME`, on the virtual clock, and as `server::NAME`, on a server of its own.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what a property does not expect fails it")]

mod buckets;
mod consumers;
mod on_model;
mod on_server;
mod plain;
mod streams;

use windrow_sim::bus::{Ack, ConsumerSpec, Demands, Info, PublishError, Purge, StreamSpec};

/// The operations that the properties are about.
pub(crate) trait Nats {
    fn create_stream(&mut self, spec: StreamSpec);
    fn delete_stream(&mut self, stream: &str) -> bool;
    fn publish(
        &mut self,
        subject: &str,
        payload: &str,
        demands: &Demands,
    ) -> Result<Ack, PublishError>;
    fn info(&mut self, stream: &str) -> Option<Info>;
    /// Subject and payload of a message.
    fn message(&mut self, stream: &str, sequence: u64) -> Option<(String, String)>;
    /// All messages from a number on, by an ordered reader.
    fn read(&mut self, stream: &str, from: u64) -> Vec<(u64, String)>;
    fn purge(&mut self, stream: &str, purge: &Purge) -> Option<u64>;

    fn create_consumer(&mut self, stream: &str, spec: ConsumerSpec) -> Result<(), Refused>;
    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> bool;
    /// What is there to deliver now; absent: no such consumer.
    fn fetch(&mut self, stream: &str, consumer: &str, most: usize) -> Option<Vec<Got>>;
    /// Acknowledges what was fetched, by the first delivery of it that still can.
    fn ack(&mut self, stream: &str, consumer: &str, sequence: u64);
    /// A standing pull; it has a number.
    fn pull(&mut self, stream: &str, consumer: &str) -> usize;
    /// What comes next on a standing pull.
    fn pulled(&mut self, pull: usize) -> Pulled;

    fn kv_get(&mut self, key: &str) -> Option<(u64, String)>;
    /// 0: that has no value.
    fn kv_update(&mut self, key: &str, value: &str, revision: u64) -> Option<u64>;
    fn kv_delete(&mut self, key: &str);

    fn put_object(&mut self, name: &str, bytes: &[u8]);
    fn object(&mut self, name: &str) -> Option<Vec<u8>>;
    fn objects(&mut self) -> Vec<String>;
    fn delete_object(&mut self, name: &str);

    /// Subscribes; the subscription has a number.
    fn subscribe(&mut self, pattern: &str) -> usize;
    /// A plain message, from one and the same publisher.
    fn send(&mut self, subject: &str, payload: &str);
    /// The next message of a subscription.
    fn heard(&mut self, subscription: usize) -> (String, String);

    /// The server is killed and started again; buckets in memory are made anew.
    fn restart(&mut self);
    /// Its store is copied, for [`Self::put_back`].
    fn save(&mut self);
    /// It is killed, its store replaced by the copy, and started again.
    fn put_back(&mut self);
    /// A little time goes by.
    fn wait(&mut self);
}

/// A message that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) payload: String,
    /// How often it was delivered, with this time.
    pub(crate) delivered: u32,
    pub(crate) message_id: Option<String>,
}

/// What comes on a standing pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    Message(Got),
    /// The consumer is gone.
    Ended,
}

/// Why a consumer was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoStream,
    /// Another consumer of the work queue reads these subjects.
    InTheWay,
}

/// Publishes what must be taken; its number.
pub(crate) fn store(nats: &mut dyn Nats, subject: &str, payload: &str) -> u64 {
    let ack = nats.publish(subject, payload, &Demands::default()).unwrap();
    assert!(!ack.duplicate);
    ack.sequence
}

/// With an id.
pub(crate) fn with_id(id: &str) -> Demands {
    Demands { message_id: Some(id.to_owned()), ..Demands::default() }
}

/// Fetches as soon as there is something.
pub(crate) fn fetch_later(nats: &mut dyn Nats, stream: &str, consumer: &str) -> Vec<Got> {
    for _ in 0..400 {
        let got = nats.fetch(stream, consumer, 100).unwrap();
        if !got.is_empty() {
            return got;
        }
        nats.wait();
    }
    panic!("nothing was delivered by `{consumer}` of `{stream}`");
}

/// Numbers of what was fetched.
pub(crate) fn numbers(got: &[Got]) -> Vec<u64> {
    got.iter().map(|got| got.sequence).collect()
}

/// Makes a test of each property, on the model and on a server.
macro_rules! properties {
    ($($file:ident: $($name:ident),+;)+) => {
        mod model {
            $($(#[test] fn $name() { super::$file::$name(&mut super::on_model::Model::new()); })+)+
        }
        mod server {
            $($(#[test] fn $name() { super::$file::$name(&mut super::on_server::Server::new()); })+)+
        }
    };
}

properties! {
    streams:
        numbers_rise_by_one_and_messages_are_kept_as_they_are,
        an_expected_last_number_fences,
        an_expected_last_number_counts_what_was_purged,
        a_message_id_is_stored_once,
        the_expected_number_is_looked_at_before_the_id,
        a_message_id_is_forgotten_after_its_window,
        a_refused_message_leaves_its_id_unused,
        a_subject_without_stream_is_refused,
        a_full_stream_refuses_and_takes_again_when_there_is_room,
        a_work_queue_that_is_full_takes_again_after_an_acknowledgement,
        a_limit_for_each_subject_removes_the_older,
        an_empty_stream_says_what_comes_next,
        a_purge_up_to_a_number_keeps_that_one,
        a_purge_of_a_subject_spares_the_others,
        a_purge_beyond_the_end_jumps,
        a_stream_made_anew_begins_where_it_is_told,
        a_deleted_stream_is_not_there,
        an_ordered_reader_passes_over_what_is_gone,
        a_file_stream_survives_a_kill_and_a_memory_stream_does_not,
        message_ids_survive_a_kill,
        a_store_put_back_gives_numbers_again;
    consumers:
        what_is_acknowledged_does_not_come_again,
        what_is_not_acknowledged_comes_again_and_is_counted,
        an_acknowledgement_counts_after_a_redelivery,
        no_more_than_the_limit_is_unacknowledged,
        redeliveries_come_before_new_messages,
        a_consumer_without_acknowledgements_delivers_once,
        a_filter_chooses_subjects,
        a_consumer_begins_where_it_is_told,
        a_work_queue_forgets_what_is_acknowledged,
        a_work_queue_refuses_overlapping_readers,
        making_a_consumer_again_changes_nothing,
        a_consumer_made_anew_delivers_what_was_not_acknowledged_at_once,
        a_purge_takes_what_is_unacknowledged_too,
        a_purge_gives_room_for_unacknowledged_messages,
        a_consumer_in_memory_does_not_survive_a_kill,
        a_consumer_on_file_survives_a_kill,
        a_deleted_consumer_is_not_there,
        a_standing_pull_gets_what_comes,
        a_standing_pull_is_told_that_its_consumer_is_gone,
        two_readers_of_one_consumer_share_its_messages;
    buckets:
        a_key_is_set_at_its_revision_only,
        a_deleted_key_can_be_set_anew,
        revisions_rise_over_all_keys,
        a_bucket_in_memory_is_empty_after_a_kill,
        objects_are_replaced_listed_and_removed,
        objects_survive_a_kill;
    plain:
        a_plain_message_goes_to_who_listens,
        who_listens_later_hears_nothing_of_before,
        messages_of_one_publisher_come_in_order,
        a_plain_message_is_stored_by_the_stream_of_its_subject,
        wildcards_choose_subjects;
}
