//! Gathers the history of a run from where its parts are: what users remember, what attempts wrote,
//! what the cluster says at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use windrow_common::api::jobs::{JobDetail, JobStatus, ListJobs};
use windrow_common::api::resources::{AgentStatus, ListAgents};

use super::check::{check, events};
use super::history::{Attempt, Child, History, Job, Message};
use super::load::{Desk, Seen};
use super::rig::Rig;
use super::truth::{self, Run};

/// How long cleaning up may take when everything has ended.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Jobs of one page of a list.
const PAGE: u32 = 1000;

/// Waits until every job has ended, gathers everything and demands that all of it holds. Gives the
/// history, for what a test wants to know besides.
///
/// # Panics
/// When something did not end within `seconds`, or does not hold.
pub fn finish(rig: &Rig, desk: &Desk, seconds: u64) -> History {
    let history = gather(rig, desk, seconds, true);
    demand(rig, &history);
    history
}

/// Demands that a history holds.
///
/// # Panics
/// When it does not; what is wrong is printed, and the rig prints its logs.
pub fn demand(rig: &Rig, history: &History) {
    let wrong = check(history);
    if !wrong.is_empty() {
        for fault in &history.faults {
            eprintln!("{fault:?}");
        }
        for one in &wrong {
            eprintln!("WRONG: {one}");
            let of = |run: &&Run| one.contains(&format!("{}:{} ", run.job, run.child));
            for run in history.runs.iter().filter(of) {
                eprintln!("    {run:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} things do not hold, see above ({})", wrong.len(), rig.urls());
}

/// Waits until every job has ended, and gathers everything; the event stream too, unless it was lost.
///
/// # Panics
/// When the cluster does not answer any more.
pub fn gather(rig: &Rig, desk: &Desk, seconds: u64, with_events: bool) -> History {
    let Seen { submissions, keys, stops, faults } = desk.seen().clone();
    wait_for_ends(
        desk,
        &submissions.iter().map(|one| one.job.clone()).collect::<Vec<_>>(),
        seconds,
    );
    let leftovers = leftovers(rig);
    let names: BTreeMap<String, &str> =
        rig.agents.iter().map(|agent| (agent.host.mark(), &*agent.name)).collect();
    let text = std::fs::read_to_string(rig.truth()).unwrap_or_default();
    let mut runs = truth::read(&text).expect("what attempts wrote");
    for run in &mut runs {
        run.host = (*names.get(&run.host).expect("a run is on an agent's host")).to_owned();
    }
    let jobs = submissions.iter().filter_map(|one| Some((one.job.clone(), job(desk, &one.job)?)));
    let jobs: BTreeMap<String, Job> = jobs.collect();
    History {
        listed: listed(desk),
        events: with_events.then(|| events(desk, &jobs)),
        jobs,
        submissions,
        keys,
        stops,
        runs,
        faults,
        lease_ttl: rig.lease_ttl(),
        is_strict: rig.is_strict(),
        leftovers,
    }
}

fn wait_for_ends(desk: &Desk, jobs: &[String], seconds: u64) {
    let start = Instant::now();
    let mut open = jobs.to_vec();
    while !open.is_empty() && start.elapsed() < Duration::from_secs(seconds) {
        let ended = desk.describe(&open).into_iter().filter(|job| job.status.is_terminal());
        let ended: Vec<String> = ended.map(|job| job.job_id).collect();
        open.retain(|job| !ended.contains(job));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The event stream, once it says the end of all jobs: events follow behind the journal.
fn events(desk: &Desk, jobs: &BTreeMap<String, Job>) -> Vec<Message> {
    let start = Instant::now();
    loop {
        let events = desk.client.events();
        if events::check(&events, jobs).is_empty() || start.elapsed() > CLEAN_UP {
            return events;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A job with its children; none when it is not known.
fn job(desk: &Desk, id: &str) -> Option<Job> {
    let detail = desk.describe(&[id.to_owned()]).pop()?;
    let size = detail.array_properties.as_ref().and_then(|array| array.size);
    let children = match size {
        None => vec![child(&detail)],
        Some(size) => {
            let ids: Vec<String> = (0..size).map(|index| format!("{id}:{index}")).collect();
            desk.describe(&ids).iter().map(child).collect()
        }
    };
    let summary = detail.array_properties.map(|array| array.status_summary).unwrap_or_default();
    Some(Job { status: detail.status, summary, children })
}

fn child(detail: &JobDetail) -> Child {
    let attempts = detail.attempts.iter().map(|attempt| Attempt {
        exit_code: attempt.container.exit_code,
        reason: attempt.status_reason.clone().unwrap_or_default(),
    });
    Child { status: detail.status, attempts: attempts.collect() }
}

/// Every job of the cluster.
fn listed(desk: &Desk) -> Vec<(String, String)> {
    let mut request = ListJobs {
        job_status: Some("ALL".to_owned()),
        max_results: Some(PAGE),
        ..Default::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = desk.client.call(&request);
        let jobs = page.job_summary_list.into_iter();
        listed.extend(jobs.map(|job| (job.job_id, job.job_name)));
        match page.next_token {
            Some(token) => request.next_token = Some(token),
            None => return listed,
        }
    }
}

/// What is still there of jobs that ended, after a while to clean up.
fn leftovers(rig: &Rig) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left = left_now(rig);
        if left.is_empty() || start.elapsed() > CLEAN_UP {
            return left;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn left_now(rig: &Rig) -> Vec<String> {
    let mut left = Vec::new();
    for agent in rig.client.call(&ListAgents {}).agents {
        if agent.leased_children > 0 || agent.leased_milli_cpu > 0 {
            left.push(format!("{} children leased to {}", agent.leased_children, agent.agent));
        }
        if agent.status != AgentStatus::Up {
            left.push(format!("agent {} is {:?}", agent.agent, agent.status));
        }
    }
    for agent in &rig.agents {
        for pid in agent.host.processes_with("windrow-chaos attempt") {
            left.push(format!("process {pid} on {}", agent.name));
        }
        let state = rig.state_directory(&agent.name);
        for what in ["scratch", "logs"] {
            for entry in entries(&state.join(what)) {
                left.push(format!("{entry} in {what} of {}", agent.name));
            }
        }
    }
    left
}

fn entries(directory: &Path) -> Vec<String> {
    let found = std::fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// How many children have this status, over all jobs.
pub fn count(history: &History, status: JobStatus) -> usize {
    let children = history.jobs.values().flat_map(|job| &job.children);
    children.filter(|child| child.status == status).count()
}
