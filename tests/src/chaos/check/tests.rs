//! Histories written by hand, and what the checker says of each.

use super::*;
use crate::chaos::history::{Attempt, Fault, Message, Stop};

/// An array of two and a job that waits for it, all as it should be: the first child failed once.
fn good() -> History {
    let attempt = |exit| Attempt { exit_code: Some(exit), reason: "ended".to_owned() };
    let child = |attempts| Child { status: JobStatus::Succeeded, attempts };
    let succeeded = |children: Vec<Child>, summary| (JobStatus::Succeeded, children, summary);
    let jobs = [
        (
            "a",
            succeeded(
                vec![child(vec![attempt(1), attempt(0)]), child(vec![attempt(0)])],
                [(JobStatus::Succeeded, 2)].into(),
            ),
        ),
        ("b", succeeded(vec![child(vec![attempt(0)])], BTreeMap::new())),
    ];
    let job = |(id, (status, children, summary)): (&str, _)| {
        (id.to_owned(), Job { status, children, summary })
    };
    let submission = |key: &str, job: &str, size, awaits| Submission {
        key: key.to_owned(),
        job: job.to_owned(),
        size,
        attempts: 2,
        awaits,
    };
    History {
        submissions: vec![
            submission("k1", "a", Some(2), Vec::new()),
            submission("k2", "b", None, vec![Awaits::Job("a".to_owned())]),
        ],
        keys: ["k1", "k2", "k3"].map(str::to_owned).into(),
        runs: vec![
            run("a", 0, 1, "a1", 100, Some((200, 1))),
            run("a", 1, 1, "a2", 100, Some((250, 0))),
            run("a", 0, 2, "a1", 300, Some((400, 0))),
            run("b", 0, 1, "a2", 500, Some((600, 0))),
        ],
        jobs: jobs.map(job).into(),
        listed: [("a", "k1"), ("b", "k2")].map(|(id, key)| (id.to_owned(), key.to_owned())).into(),
        lease_ttl: 6_000,
        ..Default::default()
    }
}

fn run(
    job: &str,
    child: u32,
    attempt: u32,
    host: &str,
    started: u64,
    ended: Option<(u64, i32)>,
) -> Run {
    let alive = ended.map_or(started, |(at, _)| at);
    Run { job: job.to_owned(), child, attempt, host: host.to_owned(), started, ended, alive }
}

/// What is found wrong after this change, which must be something that holds `words`.
#[track_caller]
fn finds(words: &str, change: impl FnOnce(&mut History)) {
    let mut history = good();
    change(&mut history);
    let wrong = check(&history);
    assert!(wrong.iter().any(|one| one.contains(words)), "no `{words}` in {wrong:#?}");
}

fn job<'a>(history: &'a mut History, id: &str) -> &'a mut Job {
    history.jobs.get_mut(id).unwrap()
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(check(&good()), Vec::<String>::new());
}

#[test]
fn lost_and_doubled_submissions_are_found() {
    finds("is not known", |h| drop(h.jobs.remove("b")));
    finds("is listed as", |h| drop(h.listed.pop()));
    finds("is listed as", |h| h.submissions[1].job = "a".to_owned());
    finds("several jobs", |h| h.listed.push(("c".to_owned(), "k2".to_owned())));
    finds("nobody submitted", |h| h.listed.push(("c".to_owned(), "k9".to_owned())));
    // One whose answer was lost may or may not be there.
    let mut history = good();
    history.listed.push(("c".to_owned(), "k3".to_owned()));
    assert_eq!(check(&history), Vec::<String>::new());
}

#[test]
fn what_did_not_end_is_found() {
    finds("job b did not end", |h| job(h, "b").status = JobStatus::Running);
    finds("child a:1 did not end", |h| job(h, "a").children[1].status = JobStatus::Runnable);
    finds("has 1 children", |h| drop(job(h, "a").children.pop()));
    finds("left over: lease", |h| h.leftovers.push("lease 7".to_owned()));
}

#[test]
fn wrong_counts_are_found() {
    finds("counts", |h| job(h, "a").summary = [(JobStatus::Failed, 1)].into());
    finds("is FAILED with", |h| job(h, "a").status = JobStatus::Failed);
}

#[test]
fn invented_lost_and_second_results_are_found() {
    finds("it was Some(1)", |h| job(h, "a").children[0].attempts[0].exit_code = Some(3));
    finds("it was None", |h| drop(h.runs.pop()));
    let killed = |h: &mut History| {
        job(h, "a").children[0].attempts[0].exit_code = Some(143);
    };
    finds("it was Some(1)", killed);
    let mut history = good();
    killed(&mut history);
    history.stops.push(Stop { job: "a".to_owned(), answered: 5_000 });
    assert_eq!(check(&history), Vec::<String>::new(), "between its last line and its end");
    // A single job of which nothing ran.
    let unseen = |h: &mut History, code| {
        h.runs.retain(|run| run.job != "b");
        job(h, "b").status = JobStatus::Failed;
        job(h, "b").children[0].status = JobStatus::Failed;
        job(h, "b").children[0].attempts.truncate(1);
        job(h, "b").children[0].attempts[0].exit_code = Some(code);
    };
    let stop = || Stop { job: "b".to_owned(), answered: 5_000 };
    finds("it was None", |h| unseen(h, 143));
    finds("it was None", |h| {
        unseen(h, 1);
        h.stops.push(stop());
    });
    let mut history = good();
    unseen(&mut history, 143);
    history.stops.push(stop());
    assert_eq!(check(&history), Vec::<String>::new(), "before its first line");
    finds("are known", |h| drop(job(h, "a").children[0].attempts.pop()));
    finds("SUCCEEDED with attempts", |h| {
        job(h, "a").children[0].attempts[0].exit_code = Some(0);
    });
    finds("FAILED with attempts", |h| job(h, "a").children[1].status = JobStatus::Failed);
}

#[test]
fn too_many_attempts_are_found_but_lost_hosts_are_free() {
    finds("was tried 2 times, of 1", |h| h.submissions[0].attempts = 1);
    let mut history = good();
    history.submissions[0].attempts = 1;
    job(&mut history, "a").children[0].attempts[0] =
        Attempt { exit_code: None, reason: "Host EC2 (instance a1) terminated.".to_owned() };
    history.runs[0].ended = None;
    assert_eq!(check(&history), Vec::<String>::new());
}

#[test]
fn a_second_start_of_the_same_attempt_is_found() {
    finds("attempt 1 of a:1 ran on a2", |h| {
        h.runs.push(run("a", 1, 1, "a1", 700, Some((800, 0))));
    });
    finds("which is not known", |h| h.runs.push(run("x", 0, 1, "a1", 700, None)));
}

#[test]
fn overlaps_are_found_unless_the_first_host_was_silent() {
    let overlap = |h: &mut History| {
        h.runs[0].alive = 350;
    };
    finds("ran at once", overlap);
    let silent_where = |is_strict, from, until| {
        let mut history = good();
        for run in &mut history.runs {
            run.started += 10_000;
            run.ended = run.ended.map(|(at, exit)| (at + 10_000, exit));
            run.alive += 10_000;
        }
        history.runs[0].alive = 10_350;
        history.is_strict = is_strict;
        let (node, what) = ("a1".to_owned(), "frozen".to_owned());
        history.faults.push(Fault { node, what, from, until });
        check(&history)
    };
    let silent = |from, until| silent_where(false, from, until);
    assert_eq!(silent(4_000, 20_000), Vec::<String>::new());
    assert_eq!(silent_where(true, 4_000, 20_000).len(), 1, "never is never");
    assert_eq!(silent(6_000, 20_000).len(), 1, "not yet silent for the lease time");
    assert_eq!(silent(2_000, 3_000).len(), 1, "silent for a moment only");
}

#[test]
fn dependents_that_start_early_or_after_a_failure_are_found() {
    finds("1 of 2 of a had succeeded", |h| h.runs[3].started = 399);
    finds("b succeeded, a did not", |h| job(h, "a").status = JobStatus::Failed);
    let n_to_n = |h: &mut History| {
        h.submissions[1].awaits = vec![Awaits::NToN("a".to_owned())];
    };
    finds("0 of 1 of a had succeeded", |h| {
        n_to_n(h);
        h.runs[3].started = 399;
    });
    let mut history = good();
    n_to_n(&mut history);
    assert_eq!(check(&history), Vec::<String>::new());
}

#[test]
fn starts_after_a_stop_are_found() {
    let stop = |answered| Stop { job: "b".to_owned(), answered };
    let late = |h: &mut History| {
        h.stops.push(stop(400));
        h.runs[3].started = 400 + DELIVERY + 1;
        h.runs[3].ended = Some((400 + DELIVERY + 2, 0));
    };
    finds("after it was ended", late);
    let mut history = good();
    late(&mut history);
    let fault = Fault { node: "c1".to_owned(), what: "killed".to_owned(), from: 0, until: 900 };
    history.faults.push(fault);
    assert_eq!(check(&history), Vec::<String>::new(), "orders may be late after a fault");
}

/// Messages of one record each: message id, job and status.
fn told(all: &[(&str, &str, &str)]) -> Vec<Message> {
    let message = |(number, (id, subject, status)): (usize, &(&str, &str, &str))| {
        let record = serde_json::json!({
            "specversion": "1.0", "id": format!("e{number}"), "source": "s",
            "type": "windrow.batch.job.state-change", "subject": subject, "time": "t",
            "datacontenttype": "application/json",
            "data": {"jobArn": "", "jobId": subject, "jobName": "", "jobQueue": "",
                     "jobDefinition": "", "status": status, "createdAt": 0},
        });
        Message { id: (*id).to_owned(), payload: serde_json::json!([record]).to_string().into() }
    };
    all.iter().enumerate().map(message).collect()
}

#[test]
fn gaps_repeats_and_second_ends_in_the_events_are_found() {
    let good = [
        ("1.1", "a", "RUNNABLE"),
        ("1.2", "b", "RUNNABLE"),
        ("4.1", "a:0", "SUCCEEDED"),
        ("4.2", "a:1", "SUCCEEDED"),
        ("4.3", "a", "SUCCEEDED"),
        ("6.1", "b", "SUCCEEDED"),
    ];
    let with = |change: &dyn Fn(&mut Vec<Message>)| {
        let mut messages = told(&good);
        change(&mut messages);
        let history = History { events: Some(messages), ..super::tests::good() };
        check(&history)
    };
    assert_eq!(with(&|_| {}), Vec::<String>::new());
    let found = |words: &str, change: &dyn Fn(&mut Vec<Message>)| {
        let wrong = with(change);
        assert!(wrong.iter().any(|one| one.contains(words)), "no `{words}` in {wrong:#?}");
    };
    found("4.3 follows 4.1", &|all| drop(all.remove(3)));
    found("its last event says", &|all| drop(all.pop()));
    found("4.1 follows 4.1", &|all| all.insert(2, all[2].clone()));
    found("comes twice", &|all| all.push(Message { id: "7.1".to_owned(), ..all[0].clone() }));
    found("was SUCCEEDED, and then", &|all| {
        all.extend(told(&[("7.1", "b", "RUNNING")]).into_iter().map(|mut one| {
            one.payload = String::from_utf8(one.payload).unwrap().replace("e0", "e9").into();
            one
        }));
    });
    found("cannot be read", &|all| all[0].payload.clear());
}
