//! Finished jobs: their records leave the memory for the history, later the jobs are forgotten.

use std::collections::BTreeMap;

use windrow_common::api::explain::{Explanation, WaitCode};
use windrow_common::api::jobs::{DescribeJobs, JobDetail, JobStatus, ListJobs, SubmitJob};
use windrow_common::ids::JobRef;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use crate::core::Command;
use crate::core::children::archive::Piece;
use crate::core::stories::why::explain;
use crate::core::world::{World, name, on};
use crate::view::history::{Answer, Later, Wanted};
use crate::view::{describe_jobs, list_jobs};

/// What a history store would hold.
type Store = BTreeMap<Wanted, Piece>;

/// Archives everything that has ended, as the loop does.
fn archive(w: &mut World) -> Store {
    let due: Vec<_> = w.state.index.finished.with_records(w.now).collect();
    let mut store = Store::new();
    for (_, id) in &due {
        let job = &w.state.jobs[id];
        let pieces = if job.children.needs_history() { job.children.piece_count() } else { 0 };
        for piece in 0..pieces {
            let wanted = Wanted { queue: job.queue.clone(), job: *id, piece };
            store.insert(wanted, job.children.piece(piece));
        }
    }
    w.does(Command::Archive(due));
    store
}

fn complete(w: &World, store: &Store, answer: Answer) -> Answer {
    match Later::new(&w.state, answer) {
        Ok(later) => {
            let found =
                later.wanted.iter().filter_map(|w| Some((w.clone(), store.get(w)?.clone())));
            let found = found.collect();
            later.finish(found)
        }
        Err(answer) => answer,
    }
}

fn describe(w: &World, store: &Store, id: impl Into<JobRef>) -> JobDetail {
    let request = DescribeJobs { jobs: vec![id.into().to_string()] };
    let answer = Answer::Described(describe_jobs(&w.state, &request, w.now).unwrap());
    let Answer::Described(mut answer) = complete(w, store, answer) else { panic!("not described") };
    answer.jobs.remove(0)
}

/// Why a job that has ended does not get on.
fn ended(w: &World, store: &Store, id: JobRef) -> Explanation {
    let answer = Answer::Explained(Box::new(explain(w, id)));
    let Answer::Explained(told) = complete(w, store, answer) else { panic!("not explained") };
    assert!(told.hint.as_ref().unwrap().contains("windrow job get"), "{told:?}");
    *told
}

#[test]
fn archived_jobs_are_described_listed_and_explained_as_before() {
    let mut w = World::new();
    let array = w.array(3000, vec![]);
    let retried = w.submit(w.retrying(2));
    let never = w.array(2, on(array));
    w.cancel(&never.to_string());
    let agent = w.agent("a", 4000);
    while w.state.jobs.values().any(|job| !job.children.all_ended()) {
        let mut reports = Vec::new();
        for lease in w.leases(&agent) {
            for child in lease.first..lease.first + lease.count {
                let code = i32::from(child % 1000 == 7 || lease.job == retried);
                reports.push(w.ended(&lease, child, EndCause::Exited, code));
            }
        }
        w.report(&agent, reports);
    }
    let ids: Vec<JobRef> = [array.into(), retried.into(), never.into()]
        .into_iter()
        .chain([0, 7, 1023, 1024, 2999].map(|child| JobRef::child(array, child)))
        .chain([JobRef::child(never, 1)])
        .collect();
    let before: Vec<JobDetail> = ids.iter().map(|id| describe(&w, &Store::new(), *id)).collect();
    let list = |w: &World, store: &Store, status: &str| {
        let array_job_id = Some(array.to_string());
        let job_status = Some(status.to_owned());
        let request =
            ListJobs { array_job_id, job_status, max_results: Some(50), ..Default::default() };
        complete(w, store, Answer::Listed(list_jobs(&w.state, &request, w.now).unwrap()))
    };
    let listed = ["FAILED", "SUCCEEDED", "ALL"].map(|status| list(&w, &Store::new(), status));
    let explained: Vec<Explanation> = ids.iter().map(|id| ended(&w, &Store::new(), *id)).collect();
    for (told, job) in explained.iter().zip(&before) {
        assert_eq!((told.code, told.status), (WaitCode::Ended, job.status), "{told:?}");
        assert_eq!(told.status_reason, job.status_reason, "in the words of DescribeJobs");
        assert_eq!(told.since, job.stopped_at);
    }

    let store = archive(&mut w);
    assert!(w.state.jobs.values().all(|job| job.children.is_archived()));
    assert_eq!(store.len(), 3 + 1 + 1, "three pieces of the large array, one of each other job");
    for ((id, before), explained) in ids.iter().zip(before).zip(explained) {
        assert_eq!(describe(&w, &store, *id), before, "{id}");
        assert_eq!(ended(&w, &store, *id), explained);
    }
    assert_eq!(["FAILED", "SUCCEEDED", "ALL"].map(|status| list(&w, &store, status)), listed);
    let lost = describe(&w, &Store::new(), JobRef::child(array, 7));
    assert_eq!(lost.status, JobStatus::Failed, "what the history has lost is known in short");
    w.check_replay();
}

#[test]
fn jobs_can_depend_on_archived_ones_and_keep_them_known() {
    let mut w = World::new();
    let (good, bad) = (w.job(), w.job());
    let agent = w.agent("a", 2);
    let mut leases = w.leases(&agent);
    leases.sort_by_key(|lease| lease.job);
    let ends = vec![
        w.ended(&leases[0], 0, EndCause::Exited, 0),
        w.ended(&leases[1], 0, EndCause::Exited, 1),
    ];
    w.report(&agent, ends);
    archive(&mut w);
    let after_bad = w.submit(SubmitJob { depends_on: on(bad), ..w.request() });
    assert_eq!(w.status(after_bad), JobStatus::Failed);
    let after_good = w.submit(SubmitJob { depends_on: on(good), ..w.request() });
    assert_eq!(w.status(after_good), JobStatus::Starting);

    w.does(Command::Forget(w.now));
    assert!(!w.state.jobs.contains_key(&bad), "nobody waits for it any more");
    assert!(w.state.jobs.contains_key(&good), "an unended job names it");
    w.run_all(&agent, 0);
    w.does(Command::Forget(w.now));
    assert!(w.state.jobs.is_empty());
    w.check_replay();
}

#[test]
fn a_forgotten_job_takes_its_key_and_its_spec_with_it() {
    let mut w = World::new();
    let keyed = |w: &World| SubmitJob { idempotency_key: Some("k".into()), ..w.request() };
    let first = w.submit(keyed(&w));
    let agent = w.agent("a", 1);
    w.run_all(&agent, 0);
    archive(&mut w);
    assert_eq!(w.submit(keyed(&w)), first, "as long as the job is known, so is its key");
    w.does(Command::Forget(Timestamp(w.now.0 - 1)));
    assert!(w.state.jobs.contains_key(&first), "it is not time yet");
    w.does(Command::Forget(w.now));
    assert!(w.state.specs.is_empty() && w.state.idempotency.is_empty());
    let list = ListJobs { job_status: Some("ALL".into()), ..Default::default() };
    assert!(list_jobs(&w.state, &list, w.now).unwrap().job_summary_list.is_empty());
    assert_ne!(w.submit(keyed(&w)), first);
    w.check_replay();
}

#[test]
fn what_was_stored_of_an_earlier_end_archives_nothing() {
    let mut w = World::new();
    let job = w.job();
    w.agent("a", 1);
    w.does(Command::Archive(vec![(w.now, job)]));
    assert!(!w.state.jobs[&job].children.is_archived(), "it has not ended");
    w.run_all(&name("a"), 0);
    w.does(Command::Archive(vec![(Timestamp(w.now.0 + 1), job)]));
    assert!(!w.state.jobs[&job].children.is_archived(), "it ended at another time");
}
