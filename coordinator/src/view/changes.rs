//! Events for the outside: what a fact of the journal changed, as CloudEvents records. A function of the
//! state right after the fact, so that a replay of the journal gives the same records with the same
//! ids as the coordinator that decided it.

use std::collections::BTreeMap;
use std::ops::Range;

use windrow_common::api::events::{
    JobEvent, TYPE_CHILDREN_CHANGE, TYPE_QUEUE_BLOCKED, TYPE_STATE_CHANGE,
};
use windrow_common::api::jobs::{ContainerDetail, JobDetail, JobStatus};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;

use super::jobs::{child_detail, detail};
use crate::core::State;
use crate::core::arn;
use crate::core::children::{Child, len};
use crate::core::index::Changed;
use crate::core::state::Job;

/// Most children of one change that get a record each; of more at once one record tells. AWS Batch's
/// largest array.
const CHILD_RECORDS_MAX: u32 = 10_000;
/// Size at which a job's records are cut into messages, in bytes.
const MESSAGE_BYTES: usize = 256 * 1024;
/// A larger record is told without settings and parameters, so that every message fits NATS' limit.
const RECORD_BYTES_MAX: usize = 512 * 1024;

/// One change of status to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub queue: Name,
    pub job: JobId,
    /// As it is right after the change; when there are `children`, as the first of them is.
    pub detail: Box<JobDetail>,
    /// All these changed in the same way.
    pub children: Option<Range<u32>>,
    /// The status is not new: the job blocks its queue.
    pub is_blocked: bool,
}

/// What an event changed, in the order in which it is told. `state` is the one right after it and
/// `changed` what applying it left in the index.
pub fn changes(state: &State, changed: &[Changed]) -> Vec<Change> {
    let mut changes = Vec::new();
    for Changed { job: id, children, whole, blocked } in changed {
        let job = &state.jobs[id];
        let change = |detail: JobDetail, children: Option<Range<u32>>| Change {
            queue: job.queue.clone(),
            job: *id,
            detail: Box::new(detail),
            children,
            is_blocked: false,
        };
        if let Some(reason) = blocked {
            let mut detail = detail(state, JobRef::from(*id), job);
            detail.status = JobStatus::Runnable;
            detail.status_reason = Some(reason.to_string());
            changes.push(Change { is_blocked: true, ..change(detail, None) });
            continue;
        }
        let whole = whole.map(|_| change(detail(state, JobRef::from(*id), job), None));
        if job.array_size.is_none() && job.nodes.is_none() {
            changes.extend(whole);
            continue;
        }
        let ended = job.status().is_terminal();
        let (before, after) = if ended { (None, whole) } else { (whole, None) };
        changes.extend(before);
        for children in children {
            let child = |index| child_detail(state, job.part(*id, index), job);
            if len(children) > 1 && are_alike(job, children.start) {
                changes.push(change(child(children.start), Some(children.clone())));
            } else {
                changes.extend(children.clone().map(|index| change(child(index), None)));
            }
        }
        changes.extend(after);
    }
    changes
}

/// Whether children that changed together with this one differ in nothing but their index: they
/// were never tried before. Nodes differ in what they run.
fn are_alike(job: &Job, first: u32) -> bool {
    if job.nodes.is_some() {
        return false;
    }
    match &*job.children.get(first) {
        Child::Untried | Child::Starting { attempt: 1, .. } => true,
        Child::Starting { .. }
        | Child::Retrying { .. }
        | Child::Running { .. }
        | Child::Ended { .. }
        | Child::Settled { .. } => false,
    }
}

/// A message of records of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub queue: Name,
    pub job: JobId,
    /// A CloudEvents JSON batch.
    pub payload: Vec<u8>,
}

/// The messages that tell the changes of one journal message. `sequence` is its number and `at` its
/// time.
pub fn messages(
    cluster: &Name,
    sequence: u64,
    at: Timestamp,
    changes: Vec<Change>,
) -> Vec<Message> {
    let mut writer = Writer {
        source: format!("windrow/{cluster}"),
        time: at.to_string(),
        sequence,
        records: 0,
        open: BTreeMap::new(),
        order: Vec::new(),
        full: Vec::new(),
    };
    for change in changes {
        writer.tell(change);
    }
    writer.finish()
}

/// Messages being filled, one a job.
struct Writer {
    source: String,
    time: String,
    sequence: u64,
    /// Records so far.
    records: u64,
    open: BTreeMap<JobId, Message>,
    /// Jobs in the order of their first record.
    order: Vec<JobId>,
    full: Vec<Message>,
}

impl Writer {
    fn tell(&mut self, change: Change) {
        let Change { queue, job, mut detail, children, is_blocked } = change;
        let Some(children) = children else {
            let kind = if is_blocked { TYPE_QUEUE_BLOCKED } else { TYPE_STATE_CHANGE };
            return self.add(kind, &queue, job, *detail, None);
        };
        if len(&children) > CHILD_RECORDS_MAX {
            set_id(&mut detail, job.into());
            let array = detail.array_properties.get_or_insert_default();
            array.index = None;
            let named = format!("{}-{}", children.start, children.end - 1);
            return self.add(TYPE_CHILDREN_CHANGE, &queue, job, *detail, Some(named));
        }
        for index in children {
            set_id(&mut detail, JobRef::child(job, index));
            detail.array_properties.get_or_insert_default().index = Some(index);
            self.add(TYPE_STATE_CHANGE, &queue, job, (*detail).clone(), None);
        }
    }

    fn add(
        &mut self,
        kind: &str,
        queue: &Name,
        job: JobId,
        data: JobDetail,
        children: Option<String>,
    ) {
        self.records += 1;
        let mut record = JobEvent {
            specversion: "1.0".to_owned(),
            id: format!("{job}/{}.{}", self.sequence, self.records),
            source: self.source.clone(),
            kind: kind.to_owned(),
            subject: data.job_id.clone(),
            time: self.time.clone(),
            datacontenttype: "application/json".to_owned(),
            children,
            data,
        };
        let mut bytes = written(&record);
        if bytes.len() > RECORD_BYTES_MAX {
            record.data.parameters.clear();
            record.data.depends_on.clear();
            let outcome = record.data.container.take().unwrap_or_default().outcome;
            record.data.container = Some(ContainerDetail { outcome, ..Default::default() });
            bytes = written(&record);
        }
        let message = self.open.entry(job).or_insert_with(|| {
            self.order.push(job);
            Message { queue: queue.clone(), job, payload: Vec::new() }
        });
        message.payload.push(if message.payload.is_empty() { b'[' } else { b',' });
        message.payload.extend(bytes);
        if message.payload.len() > MESSAGE_BYTES {
            self.full.extend(self.open.remove(&job));
        }
    }

    /// Messages that became full early come first: of each job they hold its oldest records.
    fn finish(mut self) -> Vec<Message> {
        for job in &self.order {
            self.full.extend(self.open.remove(job));
        }
        for message in &mut self.full {
            message.payload.push(b']');
        }
        self.full
    }
}

fn written(record: &JobEvent) -> Vec<u8> {
    serde_json::to_vec(record).expect("API types have a JSON form")
}

fn set_id(detail: &mut JobDetail, id: JobRef) {
    detail.job_arn = arn::job(id);
    detail.job_id = id.to_string();
}
