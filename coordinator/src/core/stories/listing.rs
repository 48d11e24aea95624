//! ListJobs: scopes, filters, order, pages.

use windrow_common::api::jobs::{JobStatus, JobSummary, KeyValuesPair, ListJobs, SubmitJob};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use crate::core::apply;
use crate::core::event::{Event, Submitted};
use crate::core::world::World;
use crate::view;

fn page(w: &World, request: &ListJobs) -> Result<(Vec<JobSummary>, Option<String>), ApiError> {
    let response = view::list_jobs(&w.state, request, w.now)?;
    Ok((response.job_summary_list, response.next_token))
}

/// Ids of all pages of `size` rows.
fn ids(w: &World, request: ListJobs, size: u32) -> Vec<String> {
    let mut request = ListJobs { max_results: Some(size), ..request };
    let mut ids = Vec::new();
    loop {
        let (rows, next) = page(w, &request).unwrap();
        assert!(rows.len() <= size as usize);
        ids.extend(rows.into_iter().map(|row| row.job_id));
        request.next_token = next;
        if request.next_token.is_none() {
            return ids;
        }
    }
}

fn in_status(status: &str) -> ListJobs {
    ListJobs { job_status: Some(status.into()), ..Default::default() }
}

fn filtered(filters: &[(&str, &str)]) -> ListJobs {
    let pair = |(name, value): &(&str, &str)| KeyValuesPair {
        name: (*name).into(),
        values: vec![(*value).into()],
    };
    ListJobs { filters: filters.iter().map(pair).collect(), ..Default::default() }
}

fn named(w: &mut World, name: &str, definition: &str) -> JobId {
    w.now.0 += 10;
    w.submit(SubmitJob { job_name: name.into(), job_definition: definition.into(), ..w.request() })
}

fn shown(jobs: &[JobId]) -> Vec<String> {
    jobs.iter().map(ToString::to_string).collect()
}

#[test]
fn jobs_are_listed_newest_first_by_queue_and_status() {
    let mut w = World::new();
    w.queue("other", 1);
    let jobs: Vec<JobId> = (0..5).map(|_| w.job()).collect();
    let elsewhere = w.submit(SubmitJob { job_queue: "other".into(), ..w.request() });
    let agent = w.agent("a", 2);
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    let of_queue = |request: ListJobs| ListJobs { job_queue: Some("q".into()), ..request };
    assert_eq!(ids(&w, of_queue(ListJobs::default()), 10), shown(&jobs[..1]), "RUNNING by default");
    let mut newest_first = jobs.clone();
    newest_first.reverse();
    for size in [1, 2, 10] {
        assert_eq!(ids(&w, of_queue(in_status("ALL")), size), shown(&newest_first));
    }
    assert_eq!(ids(&w, of_queue(in_status("RUNNABLE")), 2), shown(&newest_first[..3]));
    let all = ids(&w, in_status("all"), 4);
    assert_eq!((all.len(), &all[0]), (6, &elsewhere.to_string()), "no queue: every queue");
    let oldest = ListJobs { sort: Some("OLDEST_FIRST".into()), ..of_queue(in_status("ALL")) };
    assert_eq!(ids(&w, oldest, 2), shown(&jobs));
    w.check_replay();
}

#[test]
fn a_page_neither_skips_nor_repeats_what_changes_meanwhile() {
    let mut w = World::new();
    let jobs: Vec<JobId> = (0..6).map(|_| w.job()).collect();
    let mut request = ListJobs { max_results: Some(2), ..in_status("RUNNABLE") };
    let (first, token) = page(&w, &request).unwrap();
    request.next_token = token;
    // One that was given ends, one that comes later ends, and a new one is submitted.
    w.cancel(&jobs[5].to_string());
    w.cancel(&jobs[2].to_string());
    w.job();
    let rest = ids(&w, request, 2);
    let first: Vec<String> = first.into_iter().map(|row| row.job_id).collect();
    assert_eq!(first, shown(&[jobs[5], jobs[4]]));
    assert_eq!(rest, shown(&[jobs[3], jobs[1], jobs[0]]));
}

#[test]
fn filters_follow_their_rules() {
    let mut w = World::new();
    w.definition("other", "1", "100");
    w.definition("d", "2", "100");
    let start = w.now.0;
    let align = named(&mut w, "Align-1", "d:1");
    let sort = named(&mut w, "sort", "d:2");
    let align_2 = named(&mut w, "align-2", "other");
    let again = named(&mut w, "align-1", "d:1");
    let list = |w: &World, filters: &[(&str, &str)]| ids(w, filtered(filters), 1);
    // Names in any case; a star is a prefix; grouped by name, each newest first.
    assert_eq!(list(&w, &[("JOB_NAME", "ALIGN-1")]), shown(&[again, align]));
    assert_eq!(list(&w, &[("JOB_NAME", "align*")]), shown(&[again, align, align_2]));
    assert_eq!(list(&w, &[("JOB_NAME", "align")]), shown(&[]));
    // Definitions by name, in their case, any revision; or one revision by its ARN.
    assert_eq!(list(&w, &[("JOB_DEFINITION", "d")]), shown(&[again, sort, align]));
    assert_eq!(list(&w, &[("JOB_DEFINITION", "D")]), shown(&[]));
    assert_eq!(list(&w, &[("JOB_DEFINITION", "o*")]), shown(&[align_2]));
    let arn = w.detail(sort).job_definition;
    assert_eq!(list(&w, &[("JOB_DEFINITION", &arn)]), shown(&[sort]));
    // Times are bounds without their ends.
    let at = |millis: u64| (start + millis).to_string();
    assert_eq!(list(&w, &[("BEFORE_CREATED_AT", &at(20))]), shown(&[align]));
    assert_eq!(list(&w, &[("AFTER_CREATED_AT", &at(20))]), shown(&[again, align_2]));
    // Several have to hold together, our extension.
    let both = [("JOB_NAME", "align*"), ("AFTER_CREATED_AT", &at(20)[..])];
    assert_eq!(list(&w, &both), shown(&[again, align_2]));
    let within = [("AFTER_CREATED_AT", &at(10)[..]), ("BEFORE_CREATED_AT", &at(40)[..])];
    assert_eq!(list(&w, &within), shown(&[align_2, sort]));
    let none = [("AFTER_CREATED_AT", &at(40)[..]), ("BEFORE_CREATED_AT", &at(10)[..])];
    assert_eq!(list(&w, &none), shown(&[]));
    // With a filter every status is listed, whatever jobStatus says.
    w.cancel(&align.to_string());
    let request =
        ListJobs { job_status: Some("RUNNING".into()), ..filtered(&[("JOB_NAME", "align-1")]) };
    assert_eq!(ids(&w, request, 10), shown(&[again, align]));
    let failed = [("JOB_NAME", "align*"), ("JOB_STATUS", "FAILED")];
    assert_eq!(list(&w, &failed), shown(&[align]));
    let row = page(&w, &filtered(&failed)).unwrap().0.remove(0);
    assert_eq!((row.status, row.is_cancelled), (JobStatus::Failed, true));
}

#[test]
fn what_a_list_cannot_do_is_refused() {
    let mut w = World::new();
    let array = w.array(3, vec![]);
    let refused = |w: &World, request: ListJobs| page(w, &request).unwrap_err().message;
    assert!(refused(&w, filtered(&[("NAME", "x")])).contains("there is no filter `NAME`"));
    assert!(refused(&w, filtered(&[("AFTER_CREATED_AT", "noon")])).contains("got `noon`"));
    assert!(refused(&w, filtered(&[("JOB_NAME", "x"), ("JOB_NAME", "y")])).contains("twice"));
    let arn = "arn:aws:batch:local:000000000000:job-definition/d:*";
    assert!(refused(&w, filtered(&[("JOB_DEFINITION", arn)])).contains("one revision"));
    let two = ListJobs {
        filters: vec![KeyValuesPair { name: "JOB_NAME".into(), values: vec![] }],
        ..Default::default()
    };
    assert!(refused(&w, two).contains("exactly one value, got 0"));
    let large = ListJobs { max_results: Some(101), ..filtered(&[("JOB_NAME", "x")]) };
    assert!(refused(&w, large).contains("from 1 to 100, got 101"));
    assert!(
        refused(&w, ListJobs { max_results: Some(1001), ..Default::default() }).contains("1000")
    );
    let of_array = |request| ListJobs { array_job_id: Some(array.to_string()), ..request };
    assert!(refused(&w, of_array(filtered(&[("JOB_NAME", "x")]))).contains("do not apply"));
    let oldest = |request| ListJobs { sort: Some("OLDEST_FIRST".into()), ..request };
    assert!(refused(&w, of_array(oldest(ListJobs::default()))).contains("by their index"));
    assert!(refused(&w, oldest(filtered(&[("JOB_NAME", "x")]))).contains("grouped by name"));
    assert!(refused(&w, in_status("WAITING")).contains("not a job status"));
    for bad in ["x", "1.2.3.4", "-1", "a.1.2"] {
        let request = ListJobs { next_token: Some(bad.into()), ..Default::default() };
        assert!(refused(&w, request).contains("nextToken"), "{bad}");
    }
    let both = ListJobs { job_queue: Some("q".into()), ..of_array(ListJobs::default()) };
    assert!(refused(&w, both).contains("not both"));
    let unknown = ListJobs { job_queue: Some("nowhere".into()), ..Default::default() };
    assert_eq!(refused(&w, unknown), "JobQueue nowhere not found.");
}

#[test]
fn children_are_listed_by_status_across_a_large_array() {
    let mut w = World::new();
    let array = w.array(20_000, vec![]);
    let of_array =
        |status: &str| ListJobs { array_job_id: Some(array.to_string()), ..in_status(status) };
    assert_eq!(ids(&w, of_array("RUNNABLE"), 1000).len(), 20_000);
    let agent = w.agent("a", 3);
    let lease = w.leases(&agent).remove(0);
    let (one, two) = (w.started(&lease, 0), w.ended(&lease, 1, EndCause::Exited, 1));
    w.report(&agent, vec![one, two]);
    w.terminate(&format!("{array}:17777"));
    let child = |index: u32| format!("{array}:{index}");
    assert_eq!(ids(&w, of_array("RUNNING"), 10), [child(0)]);
    assert_eq!(ids(&w, of_array("FAILED"), 1), [child(1), child(17_777)]);
    assert_eq!(ids(&w, of_array("STARTING"), 10), [child(2), child(3)]);
    assert_eq!(ids(&w, of_array("PENDING"), 10), [] as [String; 0]);
    let all = ids(&w, of_array("ALL"), 1000);
    assert_eq!((all.len(), &all[19_999]), (20_000, &child(19_999)));
    let request = ListJobs { next_token: Some("20000".into()), ..of_array("ALL") };
    assert_eq!(page(&w, &request).unwrap().0.len(), 0);
}

/// Submits so many jobs like the last one, each at its time.
fn submit_at(w: &mut World, times: impl IntoIterator<Item = u64>) {
    let submitted = w.log().iter().rev().find_map(|event| {
        let Event::JobSubmitted { submitted, .. } = event else { return None };
        Some((**submitted).clone())
    });
    let submitted = submitted.unwrap();
    for (number, at) in (0u128..).zip(times) {
        let job = JobId::from_u128(1_000_000 + number);
        let submitted = Box::new(Submitted { at: Timestamp(at), ..submitted.clone() });
        apply(&mut w.state, &Event::JobSubmitted { job, submitted });
    }
}

#[test]
fn jobs_are_found_by_time_also_when_the_clock_was_set_back() {
    let mut w = World::new();
    w.job();
    let time = |number: u64| w.now.0 + if number < 700 { number } else { number - 500 };
    let times: Vec<u64> = (0..1000).map(time).collect();
    submit_at(&mut w, times.clone());
    for (after, before) in [(0, 100), (150, 260), (199, 201), (500, 600), (690, 2000), (5, 5)] {
        let (after, before) = (w.now.0 + after, w.now.0 + before);
        let within = [
            ("AFTER_CREATED_AT", &*after.to_string()),
            ("BEFORE_CREATED_AT", &*before.to_string()),
        ];
        let expected = times.iter().filter(|at| **at > after && **at < before).count();
        assert_eq!(ids(&w, filtered(&within), 100).len(), expected, "{after}..{before}");
    }
}

#[test]
fn a_page_looks_at_a_bounded_number_of_jobs() {
    let mut w = World::new();
    w.job();
    // Many that do not match between the first page's start and the one that does.
    let later = w.now.0 + 1;
    submit_at(&mut w, (0..20_005).map(|_| later));
    let before = later.to_string();
    let request = filtered(&[("JOB_DEFINITION", "d"), ("BEFORE_CREATED_AT", &before)]);
    let (rows, token) = page(&w, &request).unwrap();
    assert_eq!(rows.len(), 0, "the first page is short");
    let (rows, end) = page(&w, &ListJobs { next_token: token, ..request }).unwrap();
    assert_eq!((rows.len(), end), (1, None));
}

#[test]
fn children_and_nodes_are_of_jobs_that_have_them() {
    let mut w = World::new();
    let job = w.job().to_string();
    let stranger = JobId::from_u128(9).to_string();
    let of_array = |id: &str| ListJobs { array_job_id: Some(id.into()), ..Default::default() };
    let of_nodes = |id: &str| ListJobs { multi_node_job_id: Some(id.into()), ..Default::default() };
    let refused = |request: ListJobs| view::list_jobs(&w.state, &request, w.now).unwrap_err();
    for (request, kind, message) in [
        (
            of_array(&job),
            ErrorKind::Invalid,
            format!("job {job} is no array job and has no children"),
        ),
        (
            of_nodes(&job),
            ErrorKind::Invalid,
            format!("job {job} is no multi-node job and has no nodes"),
        ),
        (
            of_array(&stranger),
            ErrorKind::NotFound,
            format!("array job `{stranger}` does not exist"),
        ),
        (of_nodes("x"), ErrorKind::NotFound, "multi-node job `x` does not exist".to_owned()),
    ] {
        let error = refused(request);
        assert_eq!((error.kind, &error.message), (kind, &message));
        assert!(error.hint.is_some(), "{message}");
    }
}
