//! The history checker: what must hold of every history, whatever faults there were. Pure.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::jobs::JobStatus;

use super::history::{Awaits, Child, History, Job, Submission};
use super::truth::Run;

pub mod events;

/// Time that orders take to reach an agent when nothing is wrong, on a busy machine.
const DELIVERY: u64 = 3_000;
/// Time after a fault in which its consequences may still be felt: leaders are elected, connections
/// made again, orders repeated.
const RECOVERY: u64 = 30_000;
/// What a heartbeat and the looks at silence may add or take away from the lease time.
const BEAT: u64 = 1_000;

/// Judges a history: what does not hold, in words; nothing when all is well.
pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    submitted_once(history, &mut wrong);
    for submission in &history.submissions {
        let Some(job) = history.jobs.get(&submission.job) else { continue };
        ended(submission, job, &mut wrong);
        counted(submission, job, &mut wrong);
        results(history, submission, job, &mut wrong);
        limits(submission, job, &mut wrong);
        dependencies(history, submission, job, &mut wrong);
    }
    no_run_without_job(history, &mut wrong);
    ran_once(history, &mut wrong);
    overlaps(history, &mut wrong);
    stopped(history, &mut wrong);
    if let Some(messages) = &history.events {
        wrong.extend(events::check(messages, &history.jobs));
    }
    wrong.extend(history.leftovers.iter().map(|left| format!("left over: {left}")));
    wrong
}

/// An acknowledged submission is never lost, and one key makes one job.
fn submitted_once(history: &History, wrong: &mut Vec<String>) {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, name) in &history.listed {
        ids.entry(name).or_default().push(id);
    }
    for submission in &history.submissions {
        let Submission { key, job, .. } = submission;
        if !history.jobs.contains_key(job) {
            wrong.push(format!("job {job} ({key}) was accepted and is not known"));
        }
        match ids.get(key.as_str()).map(Vec::as_slice) {
            Some([only]) if only == job => {}
            found => {
                wrong.push(format!("{key} was answered with {job} and is listed as {found:?}"))
            }
        }
    }
    for (name, ids) in ids {
        if !history.keys.contains(name) {
            wrong.push(format!("nobody submitted {name}: {ids:?}"));
        } else if ids.len() > 1 {
            wrong.push(format!("{name} became several jobs: {ids:?}"));
        }
    }
}

/// Everything ends once the faults are over.
fn ended(submission: &Submission, job: &Job, wrong: &mut Vec<String>) {
    if !job.status.is_terminal() {
        wrong.push(format!("job {} did not end: {}", submission.job, job.status));
    }
    let size = submission.size.unwrap_or(1) as usize;
    if job.children.len() != size {
        let children = job.children.len();
        wrong.push(format!("job {} has {children} children, not {size}", submission.job));
    }
    for (index, child) in job.children.iter().enumerate() {
        if !child.status.is_terminal() {
            wrong.push(format!("child {}:{index} did not end: {}", submission.job, child.status));
        }
    }
}

/// An array's counts are those of its children, and its end follows from theirs.
fn counted(submission: &Submission, job: &Job, wrong: &mut Vec<String>) {
    let mut counts: BTreeMap<JobStatus, u32> = BTreeMap::new();
    for child in &job.children {
        *counts.entry(child.status).or_default() += 1;
    }
    let shown: BTreeMap<_, _> = job.summary.iter().filter(|(_, count)| **count > 0).collect();
    if submission.size.is_some() && !shown.into_iter().eq(&counts) {
        wrong.push(format!("array {} counts {:?}, has {counts:?}", submission.job, job.summary));
    }
    let failed = counts.contains_key(&JobStatus::Failed);
    if job.status.is_terminal() && failed != (job.status == JobStatus::Failed) {
        wrong.push(format!("job {} is {} with {counts:?}", submission.job, job.status));
    }
}

/// What is told of each attempt is what the attempt did, and a child has exactly one last word.
fn results(history: &History, submission: &Submission, job: &Job, wrong: &mut Vec<String>) {
    let runs = runs_of(history, &submission.job);
    let is_stopped = history.stops.iter().any(|stop| stop.job == submission.job);
    for (index, child) in (0u32..).zip(&job.children) {
        let who = format!("{}:{index}", submission.job);
        last_word(&who, child, is_stopped, wrong);
        for (number, attempt) in (1u32..).zip(&child.attempts) {
            let run = runs.get(&(index, number));
            let really = run.and_then(|run| run.ended).map(|(_, exit)| exit);
            match (attempt.exit_code, really) {
                // Killed: by a stop, a time limit or with its host.
                (Some(code), None) if run.is_some() && code >= 128 => {}
                // By the signals of a stop (SIGTERM, SIGKILL), before its first line.
                (Some(143 | 137), None) if is_stopped => {}
                // The same, between its last line and its end.
                (Some(code), Some(_)) if is_stopped && code >= 128 => {}
                (Some(told), really) if really != Some(told) => wrong.push(format!(
                    "attempt {number} of {who} is told to have exited with {told}, it was {really:?}"
                )),
                (Some(_) | None, _) => {}
            }
        }
        let beyond = runs.keys().filter(|(child, _)| *child == index).map(|(_, number)| *number);
        let known = u32::try_from(child.attempts.len()).unwrap_or(u32::MAX);
        if let Some(number) = beyond.max().filter(|&number| number > known) {
            wrong.push(format!("attempt {number} of {who} ran, {known} are known"));
        }
    }
}

/// A child that is terminated has FAILED, also when it still came to a good end.
fn last_word(who: &str, child: &Child, is_stopped: bool, wrong: &mut Vec<String>) {
    let good = child.attempts.iter().filter(|attempt| attempt.exit_code == Some(0)).count();
    let last = child.attempts.last().and_then(|attempt| attempt.exit_code);
    match child.status {
        JobStatus::Succeeded if good != 1 || last != Some(0) => {
            wrong.push(format!("child {who} SUCCEEDED with attempts {:?}", child.attempts));
        }
        JobStatus::Failed if good != 0 && !is_stopped => {
            wrong.push(format!("child {who} FAILED with attempts {:?}", child.attempts));
        }
        JobStatus::Succeeded
        | JobStatus::Failed
        | JobStatus::Submitted
        | JobStatus::Pending
        | JobStatus::Runnable
        | JobStatus::Starting
        | JobStatus::Running => {}
    }
}

/// A child is tried as often as allowed; what was lost with its host does not count.
fn limits(submission: &Submission, job: &Job, wrong: &mut Vec<String>) {
    for (index, child) in job.children.iter().enumerate() {
        let charged = child.attempts.iter().filter(|attempt| !attempt.is_lost()).count();
        if charged > submission.attempts as usize {
            let (who, limit) = (&submission.job, submission.attempts);
            wrong.push(format!("child {who}:{index} was tried {charged} times, of {limit}"));
        }
    }
}

/// What waits starts after what it waits for has succeeded.
fn dependencies(history: &History, submission: &Submission, job: &Job, wrong: &mut Vec<String>) {
    for awaits in &submission.awaits {
        let (on, same_index) = match awaits {
            Awaits::Job(on) => (on, false),
            Awaits::NToN(on) => (on, true),
        };
        let awaited = runs_of(history, on);
        for run in history.runs.iter().filter(|run| run.job == submission.job) {
            let needed =
                awaited.iter().filter(|((child, _), _)| !same_index || *child == run.child);
            let good: Vec<u64> = needed
                .filter_map(|(_, awaited)| awaited.ended)
                .filter_map(|(at, exit)| (exit == 0).then_some(at))
                .collect();
            let wanted = match history.jobs.get(on) {
                Some(on) if !same_index => on.children.len(),
                Some(_) | None => 1,
            };
            // A child can succeed in two overlapping runs, of which one is refused: the first counts.
            let before = good.iter().filter(|&&at| at <= run.started).count();
            if before < wanted {
                let (who, child) = (&submission.job, run.child);
                wrong.push(format!(
                    "child {who}:{child} started when {before} of {wanted} of {on} had succeeded"
                ));
            }
        }
        let failed = history.jobs.get(on).is_some_and(|on| on.status == JobStatus::Failed);
        if failed && !same_index && job.status == JobStatus::Succeeded {
            wrong.push(format!("job {} succeeded, {on} did not", submission.job));
        }
    }
}

fn no_run_without_job(history: &History, wrong: &mut Vec<String>) {
    let listed: BTreeSet<&str> = history.listed.iter().map(|(id, _)| &**id).collect();
    for run in &history.runs {
        if !listed.contains(run.job.as_str()) {
            wrong.push(format!("a child of {} ran, which is not known", run.job));
        }
    }
}

/// An attempt number is given to one start only.
fn ran_once(history: &History, wrong: &mut Vec<String>) {
    let mut seen: BTreeMap<(&str, u32, u32), &Run> = BTreeMap::new();
    for run in &history.runs {
        if let Some(first) = seen.insert((&run.job, run.child, run.attempt), run) {
            let Run { job, child, attempt, .. } = run;
            wrong.push(format!(
                "attempt {attempt} of {job}:{child} ran on {} from {} and on {} from {}",
                first.host, first.started, run.host, run.started
            ));
        }
    }
}

/// Two attempts of a child run at the same time only when the first one's agent had been silent for
/// the lease time; where that is promised, never.
fn overlaps(history: &History, wrong: &mut Vec<String>) {
    let mut children: BTreeMap<(&str, u32), Vec<&Run>> = BTreeMap::new();
    for run in &history.runs {
        children.entry((&run.job, run.child)).or_default().push(run);
    }
    for ((job, child), runs) in children {
        for (first, second) in runs.iter().zip(runs.iter().skip(1)) {
            let may = !history.is_strict && was_silent(history, &first.host, second.started);
            if first.alive > second.started && !may {
                wrong.push(format!(
                    "attempts {} and {} of {job}:{child} ran at once, on {} and {}",
                    first.attempt, second.attempt, first.host, second.host
                ));
            }
        }
    }
}

/// Whether the host had been out of reach for the lease time before this moment.
fn was_silent(history: &History, host: &str, at: u64) -> bool {
    let silence = history.lease_ttl.saturating_sub(BEAT);
    let mut of_host = history.faults.iter().filter(|fault| fault.node == host);
    of_host.any(|fault| fault.from + silence <= at && fault.from + silence <= fault.until + BEAT)
}

/// After a request to end a job is answered nothing of it starts: what was on its way to an agent may
/// for as long as orders take.
fn stopped(history: &History, wrong: &mut Vec<String>) {
    for stop in &history.stops {
        for run in history.runs.iter().filter(|run| run.job == stop.job) {
            let disturbed = history
                .faults
                .iter()
                .any(|fault| fault.from <= run.started && fault.until + RECOVERY >= stop.answered);
            let limit = stop.answered + DELIVERY + if disturbed { RECOVERY } else { 0 };
            if run.started > limit {
                let late = run.started - stop.answered;
                let Run { job, child, .. } = run;
                wrong.push(format!("{job}:{child} started {late} ms after it was ended"));
            }
        }
    }
}

/// The runs of a job by child and attempt.
fn runs_of<'a>(history: &'a History, job: &str) -> BTreeMap<(u32, u32), &'a Run> {
    let runs = history.runs.iter().filter(|run| run.job == job);
    runs.map(|run| ((run.child, run.attempt), run)).collect()
}

#[cfg(test)]
mod tests;
