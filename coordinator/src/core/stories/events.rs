//! What is told of jobs: every change of status, in order, with what it was at that moment.

use windrow_common::api::events::{JobEvent, TYPE_CHILDREN_CHANGE, TYPE_QUEUE_BLOCKED, read_batch};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::JobRef;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use crate::core::world::{World, name, on};
use crate::view::changes::{Message, messages};

/// The records of everything so far, as if it were one journal message, and how they are packed.
fn records(w: &World) -> (Vec<JobEvent>, Vec<Message>) {
    let changes = w.told.iter().map(|(_, change)| change.clone()).collect();
    let messages = messages(&name("c"), 7, Timestamp(1_700_000_000_000), changes);
    let records = messages.iter().flat_map(|m| read_batch(&m.payload).unwrap()).collect();
    (records, messages)
}

/// Statuses told of a job or child, oldest first.
fn statuses(w: &World, id: impl Into<JobRef>) -> Vec<JobStatus> {
    let id = id.into().to_string();
    let (records, _) = records(w);
    let told = records.iter().filter(|r| r.subject == id && r.kind != TYPE_QUEUE_BLOCKED);
    told.map(|r| r.data.status).collect()
}

#[test]
fn every_status_of_a_job_is_told_once_with_its_detail() {
    use JobStatus::{Failed, Pending, Runnable, Running, Starting, Submitted};
    let mut w = World::new();
    let job = w.submit(w.retrying(2));
    let agent = w.agent("a", 1);
    for _ in 0..2 {
        let lease = w.leases(&agent).remove(0);
        let (started, ended) = (w.started(&lease, 0), w.ended(&lease, 0, EndCause::Exited, 7));
        w.report(&agent, vec![started, ended]);
    }
    let again = [Starting, Running];
    let expected = [&[Submitted, Pending, Runnable], &again[..], &[Runnable], &again, &[Failed]];
    assert_eq!(statuses(&w, job), expected.concat());

    let (records, messages) = records(&w);
    assert_eq!(messages.len(), 1, "one message for one job");
    let first = &records[0];
    assert_eq!((first.specversion.as_str(), first.source.as_str()), ("1.0", "windrow/c"));
    assert_eq!(first.id, format!("{job}/7.1"));
    assert_eq!(first.time, "2023-11-14T22:13:20.000Z");
    let settings = &first.data.container.as_ref().unwrap().properties;
    assert_eq!(settings.command, Some(vec!["true".to_owned()]));
    let running = records.iter().find(|r| r.data.status == Running).unwrap();
    assert!(running.data.started_at.is_some() && running.data.attempts.is_empty());
    let last = records.last().unwrap();
    assert_eq!(last.data.container.as_ref().unwrap().outcome.exit_code, Some(7));
    assert_eq!(last.data.attempts.len(), 2);
    w.check_replay();
}

#[test]
fn children_and_their_parent_are_told_of_each() {
    use JobStatus::{Pending, Runnable, Starting, Submitted, Succeeded};
    let mut w = World::new();
    let job = w.array(3, vec![]);
    let agent = w.agent("a", 3);
    w.run_all(&agent, 0);
    for child in 0..3 {
        let id = JobRef::child(job, child);
        assert_eq!(statuses(&w, id), [Pending, Runnable, Starting, Succeeded], "child {child}");
    }
    assert_eq!(statuses(&w, job), [Submitted, Pending, Succeeded]);
    let (records, _) = records(&w);
    assert_eq!(records.last().unwrap().subject, job.to_string(), "the parent ends last");
    let child = records.iter().find(|r| r.subject == format!("{job}:2")).unwrap();
    assert_eq!(child.data.array_properties.as_ref().unwrap().index, Some(2));
    let settings = &child.data.container.as_ref().unwrap().properties;
    assert_eq!(*settings, Default::default(), "shared settings are told with the parent");
    let ids: std::collections::BTreeSet<&str> = records.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids.len(), records.len(), "ids are unique");
}

#[test]
fn changes_of_very_many_children_at_once_are_one_record() {
    let mut w = World::new();
    let job = w.array(10_001, vec![]);
    let small = w.array(10_000, on(job));
    w.cancel(&small.to_string());
    let (mut records, messages) = records(&w);
    records.retain(|record| record.kind != TYPE_QUEUE_BLOCKED);
    let of_large: Vec<&JobEvent> =
        records.iter().filter(|r| r.data.job_id.starts_with(&job.to_string())).collect();
    assert_eq!(of_large.len(), 4, "SUBMITTED, PENDING; its children PENDING, RUNNABLE");
    let released = of_large[3];
    assert_eq!(
        (released.kind.as_str(), released.data.status),
        (TYPE_CHILDREN_CHANGE, JobStatus::Runnable)
    );
    assert_eq!(released.children.as_deref(), Some("0-10000"));
    assert_eq!(released.subject, job.to_string());
    let failed = records.iter().filter(|r| r.data.status == JobStatus::Failed);
    assert_eq!(failed.count(), 10_001, "as AWS has it: each child of its largest array");
    assert!(messages.len() > 3 && messages.iter().all(|m| m.payload.len() < 300 * 1024));
}

#[test]
fn a_record_never_outgrows_a_message() {
    let mut w = World::new();
    let parameters = [("p".to_owned(), "\u{1}".repeat(200_000))].into();
    let job = w.submit(windrow_common::api::jobs::SubmitJob { parameters, ..w.request() });
    let (records, messages) = records(&w);
    assert!(messages.iter().all(|m| m.payload.len() < 800 * 1024));
    assert_eq!(statuses(&w, job).len(), 3);
    assert!(records[0].data.parameters.is_empty(), "DescribeJobs has them");
}
