//! Journals that an earlier version wrote stay readable: the golden file holds a short history.
//! To add an example, append it here, run with `UPDATE_GOLDEN=1` to write the next numbered file, and
//! keep the older ones.

use std::path::PathBuf;

use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use super::event::Event;
use super::shelf::Record;
use super::world::{World, name, on};
use super::{Command, State, apply};
use crate::shell::history::page;

/// A job with its retries, losses and stops.
fn history() -> World {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    let job = w.array(3, vec![]);
    let after = w.submit(windrow_common::api::jobs::SubmitJob {
        depends_on: on(job),
        idempotency_key: Some("key".into()),
        ..w.retrying(2)
    });
    let lease = w.leases(&agent).remove(0);
    let (started, ended) = (w.started(&lease, 0), w.ended(&lease, 0, EndCause::OutOfMemory, 137));
    w.report(&agent, vec![started, ended.clone(), ended]);
    w.terminate(&job.to_string());
    w.cancel(&after.to_string());
    w.lose(&name("a"));
    w
}

#[test]
fn the_journal_of_version_1_is_readable() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/journal-1.msgpack");
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, rmp_serde::to_vec(history().log()).unwrap()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    let events: Vec<Event> = rmp_serde::from_slice(&bytes).unwrap();
    let mut state = State::default();
    for event in &events {
        apply(&mut state, event);
    }
    super::invariants::check(&state).unwrap();
    assert_eq!(state.jobs.len(), 2);
    assert!(state.jobs.values().all(|job| job.children.all_ended()));
    assert_eq!((state.fenced_results, state.last_lease), (1, LeaseId(2)));
    assert_eq!(state.jobs.values().next().unwrap().stopped_at, Some(Timestamp(1_000_000)));
}

/// The events of service environments and service jobs.
#[test]
fn the_journal_of_service_jobs_of_version_1_is_readable() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/journal-services-1.msgpack");
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut w = World::new();
        w.service_queue();
        w.service_jobs();
        std::fs::write(&path, rmp_serde::to_vec(w.log()).unwrap()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    let events: Vec<Event> = rmp_serde::from_slice(&bytes).unwrap();
    let mut state = State::default();
    events.iter().for_each(|event| apply(&mut state, event));
    super::invariants::check(&state).unwrap();
    let services = &state.services;
    assert!(state.queues[&name("train")].is_service());
    assert_eq!(services.environments.keys().collect::<Vec<_>>(), [&name("sage")]);
    let shown = services.jobs.values().map(|job| (job.ended.is_some(), job.priority));
    assert_eq!(shown.collect::<Vec<_>>(), [(true, None), (false, Some(5))]);
    assert_eq!((services.tokens.len(), services.ended.len()), (1, 1));
    assert_eq!(state.queues[&name("train")].active_jobs, 1);
}

/// Pages of finished jobs: an older file stays, a change adds one.
#[test]
fn a_page_of_the_history_of_version_1_is_readable() {
    let mut w = history();
    let due = w.state.index.finished.with_records(w.now).collect();
    w.does(Command::Archive(due));
    let ids = w.state.jobs.keys().copied();
    let records: Vec<Record> = ids.map(|id| Record::of(&w.state, id).unwrap()).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/history-page-1.msgpack");
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page::write(&records)[0]).unwrap();
    }
    let message = std::fs::read(&path).unwrap();
    let (parts, content) = page::part(&message).unwrap();
    assert_eq!(parts, 1);
    assert_eq!(page::read(content).unwrap(), records);
}
