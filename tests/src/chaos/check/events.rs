//! The event stream: without gap, without repeat, and with one last word of each job.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::events::{TYPE_CHILDREN_CHANGE, TYPE_STATE_CHANGE, read_batch};
use windrow_common::api::jobs::JobStatus;

use crate::chaos::history::{Job, Message};

/// What does not hold of it, beside what is described at the end.
pub fn check(messages: &[Message], jobs: &BTreeMap<String, Job>) -> Vec<String> {
    let mut wrong = Vec::new();
    in_order(messages, &mut wrong);
    let mut ids = BTreeSet::new();
    let mut last: BTreeMap<String, Vec<JobStatus>> = BTreeMap::new();
    for message in messages {
        let Ok(records) = read_batch(&message.payload) else {
            wrong.push(format!("event message {} cannot be read", message.id));
            continue;
        };
        for record in records {
            if !ids.insert(record.id.clone()) {
                wrong.push(format!("event {} comes twice", record.id));
            }
            let status = record.data.status;
            if record.kind == TYPE_STATE_CHANGE {
                note(&record.subject, status, &mut last, &mut wrong);
            } else if record.kind == TYPE_CHILDREN_CHANGE {
                for child in range(record.children.as_deref().unwrap_or_default()) {
                    note(&format!("{}:{child}", record.subject), status, &mut last, &mut wrong);
                }
            }
        }
    }
    for (id, job) in jobs {
        let is_array = !job.summary.is_empty();
        let children = job.children.iter().enumerate().filter(|_| is_array);
        let children = children.map(|(index, child)| (format!("{id}:{index}"), child.status));
        for (id, status) in children.chain([(id.clone(), job.status)]) {
            let told = last.get(&id).and_then(|all| all.last());
            if told != Some(&status) {
                wrong.push(format!("{id} is {status}, its last event says {told:?}"));
            }
        }
    }
    wrong
}

/// A job that has ended changes no more.
fn note(
    id: &str,
    status: JobStatus,
    last: &mut BTreeMap<String, Vec<JobStatus>>,
    wrong: &mut Vec<String>,
) {
    let told = last.entry(id.to_owned()).or_default();
    if let Some(before) = told.last().filter(|before| before.is_terminal()) {
        wrong.push(format!("{id} was {before}, and then {status}"));
    }
    told.push(status);
}

/// `0-9` as numbers.
fn range(text: &str) -> std::ops::Range<u32> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(first), Ok(last)) => first..last + 1,
        _ => 0..0,
    }
}

/// Messages follow on one another by journal message and number in it, from 1.
fn in_order(messages: &[Message], wrong: &mut Vec<String>) {
    let mut before = (0, 0);
    for message in messages {
        let parsed = message.id.split_once('.');
        let mark = parsed.and_then(|(s, n)| Some((s.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
        let Some(mark) = mark else {
            wrong.push(format!("an event message has the id `{}`", message.id));
            continue;
        };
        let follows =
            (mark.0 == before.0 && mark.1 == before.1 + 1) || (mark.0 > before.0 && mark.1 == 1);
        if !follows {
            wrong.push(format!("event message {} follows {}.{}", message.id, before.0, before.1));
        }
        before = mark;
    }
}
