//! Finished jobs leave the memory altogether and are still described, listed, explained and run again.

use std::collections::BTreeMap;
use std::sync::Arc;

use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::explain::ExplainJob;
use windrow_common::api::jobs::{
    DescribeJobs, JobDetail, JobStatus, KeyValuesPair, ListJobs, RerunJob, SubmitJob,
};
use windrow_common::api::tags::{ListTagsForResource, TagResource};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;

use crate::core::commands::Shelve;
use crate::core::shelf::{PAGE_JOBS, PageId, Record};
use crate::core::world::{World, name, on};
use crate::core::{Answer, Command};
use crate::shell::history::page;
use crate::view::history::{Answer as Told, Later, Shelved};
use crate::view::{describe_jobs, list_jobs};

/// Pages as a history store would hold them, each in the form in which it is stored.
#[derive(Default)]
pub(in crate::core) struct Pages(BTreeMap<PageId, Vec<Vec<u8>>>);

impl Pages {
    fn read(&self, id: PageId) -> Option<Vec<Record>> {
        let parts = self.0.get(&id)?;
        let mut bytes = Vec::new();
        for message in parts {
            let (count, part) = page::part(message).unwrap();
            assert_eq!(count as usize, parts.len());
            bytes.extend_from_slice(part);
        }
        Some(page::read(&bytes).unwrap())
    }

    fn answer(&self, mut question: Shelved) -> Told {
        while let Some(id) = question.next_page() {
            question.take(self.read(id));
        }
        // Nothing here has records of children in pieces of its own.
        question.answer().unwrap().finish(Vec::new())
    }
}

impl World {
    /// Archives what has ended and shelves all of it but so many jobs, as the loop does; may then load
    /// back one of the first page.
    pub(in crate::core) fn shelve(&mut self, keep: usize, pages: &mut Pages, load: bool) {
        self.shelve_with_keys(keep, pages, u64::MAX);
        let first = pages.0.keys().next().copied();
        let record = first.and_then(|first| pages.read(first)).map(|mut page| page.remove(0));
        if let Some(record) = record.filter(|_| load) {
            self.does(Command::Load(Box::new(record)));
        }
    }

    fn shelve_with_keys(&mut self, keep: usize, pages: &mut Pages, keys_max: u64) {
        let due = self.state.index.finished.with_records(self.now).collect();
        self.does(Command::Archive(due));
        let free = self.state.index.finished.free_count();
        let ids: Vec<JobId> = self
            .state
            .index
            .finished
            .free()
            .map(|(_, id)| id)
            .take(free.saturating_sub(keep))
            .collect();
        for ids in ids.chunks(PAGE_JOBS) {
            let records = ids.iter().map(|id| Record::of(&self.state, *id).unwrap()).collect();
            let page = PageId { number: self.state.shelf.last_page + 1, term: self.state.term };
            let jobs: Arc<Vec<Record>> = Arc::new(records);
            pages.0.insert(page, page::write(&jobs));
            self.only(&Command::Shelve(Box::new(Shelve { page, jobs, keys_max })));
        }
        crate::core::invariants::check(&self.state).unwrap();
    }
}

fn describe(w: &World, pages: &Pages, ids: &[JobRef]) -> Vec<JobDetail> {
    let request = DescribeJobs { jobs: ids.iter().map(ToString::to_string).collect() };
    let known = describe_jobs(&w.state, &request, w.now).unwrap();
    let told = match Shelved::describe(&w.state, request, known, w.now) {
        Ok(question) => pages.answer(question),
        Err(known) => Told::Described(known),
    };
    let Told::Described(answer) = told else { panic!("not described") };
    answer.jobs
}

/// All pages of a list, one after the other, in pages of this size.
fn list(w: &World, pages: &Pages, request: &ListJobs, size: u32) -> Vec<String> {
    let mut request = ListJobs { max_results: Some(size), ..request.clone() };
    let mut ids = Vec::new();
    loop {
        let answer = match Shelved::list(&w.state, &request, w.now).unwrap() {
            Some(question) => pages.answer(question),
            None => Told::Listed(list_jobs(&w.state, &request, w.now).unwrap()),
        };
        let Told::Listed(answer) = answer else { panic!("not listed") };
        assert!(answer.job_summary_list.len() <= size as usize);
        ids.extend(answer.job_summary_list.into_iter().map(|row| row.job_id));
        request.next_token = answer.next_token;
        if request.next_token.is_none() {
            return ids;
        }
    }
}

fn by_status(status: &str) -> ListJobs {
    ListJobs { job_status: Some(status.into()), ..Default::default() }
}

/// So many single jobs, of which every third fails; all have ended, one second after the other.
fn finished(w: &mut World, count: usize) -> Vec<JobId> {
    let agent = w.agent("a", 4);
    let end = |w: &mut World, number: usize| {
        let tags = BTreeMap::from([("n".to_owned(), number.to_string())]);
        let id = w.submit(SubmitJob { tags, ..w.request() });
        let lease = w.leases(&agent).remove(0);
        w.advance(1);
        let code = i32::from(number.is_multiple_of(3));
        let report = w.ended(&lease, 0, EndCause::Exited, code);
        w.report(&agent, vec![report]);
        id
    };
    (0..count).map(|number| end(w, number)).collect()
}

#[test]
fn shelved_jobs_are_described_and_explained_as_before() {
    let mut w = World::new();
    let capable = RegisterJobDefinition {
        platform_capabilities: vec!["EC2".into()],
        ..w.image_definition("capable")
    };
    w.does(Command::RegisterDefinition(Box::new(capable)));
    let mut jobs = finished(&mut w, 5);
    jobs.push(w.submit(SubmitJob { job_definition: "capable".into(), ..w.request() }));
    let array = w.array(3, vec![]);
    for job in [jobs[5], array] {
        w.terminate(&job.to_string());
    }
    w.run_all(&name("a"), 0);
    let due = w.state.index.finished.with_records(w.now).collect();
    w.does(Command::Archive(due));
    let waits = w.array(2, vec![]);
    let ids: Vec<JobRef> =
        jobs.iter().copied().map(JobRef::from).chain([array.into(), waits.into()]).collect();
    let mut pages = Pages::default();
    let before = describe(&w, &pages, &ids);
    assert_eq!(before[5].platform_capabilities, ["EC2"]);

    w.shelve(2, &mut pages, false);
    assert_eq!(w.state.index.finished.free_count(), 2);
    assert_eq!(w.state.jobs.len(), 3, "two finished ones and one that has not ended");
    assert_eq!(describe(&w, &pages, &ids), before, "in the order asked for, whoever knows them");
    let explain = ExplainJob { job_id: jobs[0].to_string() };
    let question = Shelved::explain(&w.state, &explain, w.now).unwrap();
    let Told::Explained(told) = pages.answer(question) else { panic!("not explained") };
    assert_eq!((told.status, told.since), (JobStatus::Failed, before[0].stopped_at));
    let tags = ListTagsForResource { resource_arn: before[0].job_arn.clone() };
    let question = Shelved::tags(&w.state, &tags, w.now).unwrap();
    let Told::Tagged(told) = pages.answer(question) else { panic!("no tags") };
    assert_eq!(told.tags, before[0].tags);
    let nobody = JobRef::from(JobId::from_u128(999));
    assert!(describe(&w, &pages, &[nobody]).is_empty(), "as AWS has it");
    assert_eq!(describe(&w, &Pages::default(), &ids).len(), 3, "what the history has lost");
    w.check_replay();
}

#[test]
fn lists_go_on_with_shelved_jobs() {
    let mut w = World::new();
    w.queue("other", 5);
    let jobs = finished(&mut w, 9);
    let elsewhere = w.submit(SubmitJob { job_queue: "other".into(), ..w.request() });
    w.run_all(&name("a"), 0);
    let mut pages = Pages::default();
    for keep in [7, 5, 2] {
        w.shelve(keep, &mut pages, false);
    }
    assert_eq!(w.state.shelf.page_count(), 3);
    let newest_first = |wanted: &dyn Fn(usize) -> bool| {
        let wanted = jobs.iter().enumerate().rev().filter(|(number, _)| wanted(*number));
        wanted.map(|(_, id)| id.to_string()).collect::<Vec<String>>()
    };
    let mut all = vec![elsewhere.to_string()];
    all.extend(newest_first(&|_| true));
    let failed = newest_first(&|number| number % 3 == 0);
    for size in [1, 2, 3, 50] {
        assert_eq!(list(&w, &pages, &by_status("ALL"), size), all);
        assert_eq!(list(&w, &pages, &by_status("FAILED"), size), failed);
        assert!(list(&w, &pages, &by_status("RUNNING"), size).is_empty());
        let of_q = ListJobs { job_queue: Some("q".into()), ..by_status("SUCCEEDED") };
        assert_eq!(list(&w, &pages, &of_q, size), newest_first(&|number| number % 3 != 0));
        let named = |value: &str| ListJobs {
            filters: vec![KeyValuesPair { name: "JOB_NAME".into(), values: vec![value.into()] }],
            ..Default::default()
        };
        assert_eq!(list(&w, &pages, &named("J*"), size).len(), 10);
        assert!(list(&w, &pages, &named("x*"), size).is_empty());
    }
    let lost: Vec<PageId> = pages.0.keys().copied().take(2).collect();
    lost.iter().for_each(|page| drop(pages.0.remove(page)));
    assert_eq!(list(&w, &pages, &by_status("ALL"), 50), all[..5], "the oldest are lost");
}

#[test]
fn a_shelved_job_comes_back_to_be_run_again_waited_for_or_tagged() {
    let mut w = World::new();
    let jobs = finished(&mut w, 4);
    let mut pages = Pages::default();
    w.shelve(0, &mut pages, false);
    assert!(w.state.jobs.is_empty() && w.state.specs.is_empty());
    let record = |pages: &Pages, id: JobId| {
        let found =
            pages.0.keys().rev().find_map(|page| {
                pages.read(*page).unwrap().into_iter().find(|record| record.id == id)
            });
        Box::new(found.unwrap())
    };
    let load = |w: &mut World, pages: &Pages, id: JobId| {
        w.does(Command::Load(record(pages, id)));
        assert!(w.state.jobs.contains_key(&id));
    };
    load(&mut w, &pages, jobs[0]);
    w.does(Command::Load(record(&pages, jobs[0])));
    let rerun = RerunJob { job_id: jobs[0].to_string(), ..Default::default() };
    let again = JobId::from_u128(5_000);
    w.does(Command::Rerun { id: again, request: Box::new(rerun) });
    assert_eq!(w.status(again), JobStatus::Starting);
    load(&mut w, &pages, jobs[1]);
    let after = w.submit(SubmitJob { depends_on: on(jobs[1]), ..w.request() });
    w.shelve(0, &mut pages, false);
    assert!(w.state.jobs.contains_key(&jobs[1]), "an unended job names it");
    assert!(!w.state.jobs.contains_key(&jobs[0]));
    assert_eq!(w.status(after), JobStatus::Starting);

    load(&mut w, &pages, jobs[2]);
    let resource_arn = format!("job/{}", jobs[2]);
    w.does(Command::Tag(TagResource {
        resource_arn,
        tags: BTreeMap::from([("new".to_owned(), "1".to_owned())]),
    }));
    w.run_all(&name("a"), 0);
    w.shelve(0, &mut pages, false);
    assert!(w.state.jobs.is_empty());
    let tags = &describe(&w, &pages, &[jobs[2].into()])[0].tags;
    assert_eq!(tags.len(), 2, "the later page has it as it is: {tags:?}");
    let listed = list(&w, &pages, &by_status("ALL"), 3);
    assert_eq!(listed.len(), 6, "each job once: {listed:?}");
    w.check_replay();
}

#[test]
fn a_page_is_given_up_when_something_has_become_of_a_job_since() {
    let mut w = World::new();
    let jobs = finished(&mut w, 2);
    let due = w.state.index.finished.with_records(w.now).collect();
    let stored = |w: &World, term: u64, number: u64| {
        let records = jobs.iter().map(|id| Record::of(&w.state, *id).unwrap()).collect();
        let page = PageId { number, term };
        Command::Shelve(Box::new(Shelve { page, jobs: Arc::new(records), keys_max: 9 }))
    };
    let early = stored(&w, 1, 1);
    w.does(early);
    w.does(Command::Archive(due));
    let (old_term, old_number) = (stored(&w, 0, 1), stored(&w, 1, 2));
    w.does(old_term);
    w.does(old_number);
    let before = stored(&w, 1, 1);
    let resource_arn = format!("job/{}", jobs[1]);
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    w.does(Command::Tag(TagResource { resource_arn, tags }));
    w.does(before);
    assert_eq!(w.state.jobs.len(), 2, "none was given up");
    let now = stored(&w, 1, 1);
    w.does(now);
    assert!(w.state.jobs.is_empty());
    w.check_replay();
}

#[test]
fn keys_outlive_their_jobs_on_the_shelf_until_those_are_forgotten() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let keyed =
        |w: &World, key: &str| SubmitJob { idempotency_key: Some(key.into()), ..w.request() };
    let first = w.submit(keyed(&w, "k"));
    w.run_all(&agent, 0);
    let mut pages = Pages::default();
    w.shelve(0, &mut pages, false);
    assert!(w.state.idempotency.is_empty());
    assert_eq!((w.state.shelf.key_count(), w.state.shelf.page_count()), (1, 1));
    assert_eq!(w.submit(keyed(&w, "k")), first, "the same answer, and no second job");
    let other = SubmitJob { job_name: "other".into(), ..keyed(&w, "k") };
    let id = JobId::from_u128(7_000);
    w.refused(Command::Submit { id, request: Box::new(other) });
    w.does(Command::Forget(Timestamp(w.now.0 - 1)));
    assert_eq!(w.state.shelf.page_count(), 1, "it is not time yet");
    w.advance(1);
    w.does(Command::Forget(w.now));
    assert_eq!((w.state.shelf.key_count(), w.state.shelf.page_count()), (0, 0));
    assert_eq!(w.state.shelf.jobs, 0);
    assert!(describe(&w, &pages, &[first.into()]).is_empty());
    assert_ne!(w.submit(keyed(&w, "k")), first);
    w.check_replay();
}

#[test]
fn a_rerun_under_the_key_of_a_job_that_is_gone_says_so() {
    let mut w = World::new();
    let jobs = finished(&mut w, 1);
    let request = RerunJob {
        job_id: jobs[0].to_string(),
        idempotency_key: Some("again".into()),
        ..Default::default()
    };
    let rerun =
        |id| Command::Rerun { id: JobId::from_u128(id), request: Box::new(request.clone()) };
    let Answer::Rerun(first) = w.does(rerun(8_000)) else { panic!("not run again") };
    w.run_all(&name("a"), 0);
    let mut pages = Pages::default();
    w.shelve(0, &mut pages, false);
    let error = w.refused(rerun(8_001));
    assert!(error.message.contains(&first.job_id), "{error}");
}

#[test]
fn the_state_does_not_grow_with_finished_jobs() {
    const KEEP: usize = 20;
    let mut w = World::new();
    w.is_checked = false;
    let agent = w.agent("a", 4);
    let mut pages = Pages::default();
    let size = |w: &World| crate::shell::snapshot::encode(&w.state, Default::default()).len();
    let mut sizes = Vec::new();
    for round in 0..40 {
        for number in 0..50 {
            let key = Some(format!("key {round} {number}"));
            w.submit(SubmitJob { idempotency_key: key, ..w.request() });
        }
        w.run_all(&agent, 0);
        w.advance(1);
        // Of the blocks of keys there is but one here, so all keys stay.
        w.shelve_with_keys(KEEP, &mut pages, 1);
        let state = &w.state;
        let finished = &state.index.finished;
        assert_eq!((state.jobs.len(), finished.free_count()), (KEEP, KEEP));
        assert_eq!((state.idempotency.len(), state.specs.len()), (KEEP, 1));
        sizes.push(size(&w));
    }
    let shelved = 39 * 50;
    assert_eq!(w.state.shelf.jobs, shelved + 50 - KEEP as u64);
    let per_job = (sizes[39] - sizes[0]) as u64 / shelved;
    // 16 of the key, 16 of the job, 8 of the content, 5 of the print, and a share of the page.
    assert!(per_job < 64, "{per_job} bytes in a snapshot");
    w.check_replay();
}

#[test]
fn a_large_page_is_cut_into_messages_and_an_unreadable_one_is_refused() {
    let mut w = World::new();
    let large = "x".repeat(100_000);
    let parameters: Vec<BTreeMap<String, String>> =
        (0..12).map(|n| BTreeMap::from([(format!("p{n}"), large.clone())])).collect();
    let jobs: Vec<JobId> = parameters
        .into_iter()
        .map(|parameters| w.submit(SubmitJob { parameters, ..w.request() }))
        .collect();
    jobs.iter().for_each(|id| w.cancel(&id.to_string()));
    let records: Vec<Record> = jobs.iter().map(|id| Record::of(&w.state, *id).unwrap()).collect();
    let parts = page::write(&records);
    assert_eq!(parts.len(), 2);
    let id = PageId { number: 1, term: 1 };
    assert_eq!(Pages(BTreeMap::from([(id, parts.clone())])).read(id), Some(records));
    assert!(page::part(b"\x00").is_err());
    assert!(page::part(b"\x00\x09\x00\x00\x00\x01abc").unwrap_err().contains("version 9"));
    assert!(page::read(&parts[0][6..]).is_err(), "half of it");
}

#[test]
fn later_pieces_complete_a_shelved_array() {
    let mut w = World::new();
    let agent = w.agent("a", 2000);
    let array = w.array(1500, vec![]);
    for code in [0, 1, 0] {
        w.run_all(&agent, code);
    }
    let child = JobRef::child(array, 1400);
    let pages = &mut Pages::default();
    let before = describe(&w, pages, &[child, array.into()]);
    let piece = |w: &World, number| w.state.jobs[&array].children.piece(number);
    let stored = [piece(&w, 0), piece(&w, 1)];
    w.shelve(0, pages, false);
    let request = DescribeJobs { jobs: vec![child.to_string(), array.to_string()] };
    let known = describe_jobs(&w.state, &request, w.now).unwrap();
    let mut question = Shelved::describe(&w.state, request, known, w.now).unwrap();
    while let Some(id) = question.next_page() {
        question.take(pages.read(id));
    }
    let later: Later = question.answer().unwrap();
    let wanted: Vec<_> = later.wanted.iter().cloned().collect();
    let found = wanted.into_iter().map(|w| (w.clone(), stored[w.piece as usize].clone()));
    let Told::Described(told) = later.finish(found.collect()) else { panic!("not described") };
    assert_eq!(told.jobs, before);
}
