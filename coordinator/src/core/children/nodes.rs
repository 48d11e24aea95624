//! Children that are the nodes of a multi-node job: their attempts begin and end together.
//!
//! ```text
//! STARTING, RUNNING -> settled: SUCCEEDED or FAILED by itself, RUNNING when it was stopped
//! settled -> SUCCEEDED, FAILED or RUNNABLE, all nodes at once
//! ```

use std::sync::Arc;

use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;

use super::{Attempt, Child, Children, NodeEnd};

impl Children {
    /// A leased node's part in the attempt has ended.
    pub(in crate::core) fn settle(&mut self, node: u32, ended: Attempt, end: NodeEnd) {
        let from = self.status(node);
        if let Some((attempt, charged)) = self.get(node).live() {
            self.put(node, Child::Settled { attempt, charged, end, last: ended });
            self.settled += 1;
            self.node_moved(node, from);
        }
    }

    /// How the node's part in the present attempt ended; absent while it has not.
    pub fn settled(&self, node: u32) -> Option<NodeEnd> {
        match &*self.get(node) {
            Child::Settled { end, .. } => Some(*end),
            Child::Untried
            | Child::Retrying { .. }
            | Child::Starting { .. }
            | Child::Running { .. }
            | Child::Ended { .. } => None,
        }
    }

    /// All settled nodes end for good: those that were stopped as the job does.
    pub(in crate::core) fn end_settled(&mut self, succeeded: bool) {
        self.each_settled(|attempt, _, end, last| {
            let succeeded = match end {
                NodeEnd::Succeeded => true,
                NodeEnd::Failed | NodeEnd::TimedOut | NodeEnd::Lost => false,
                NodeEnd::Stopped | NodeEnd::Preempted => succeeded,
            };
            (Child::Ended { succeeded, attempt, last }, None)
        });
    }

    /// All settled nodes may run again in a new attempt, but not before a time if there is one.
    pub(in crate::core) fn retry_settled(
        &mut self,
        charged_too: bool,
        not_before: Option<Timestamp>,
    ) {
        self.each_settled(|attempt, charged, _, last| {
            let charged = charged + u32::from(charged_too);
            (Child::Retrying { attempt: attempt + 1, charged, not_before }, Some(last))
        });
    }

    fn each_settled(
        &mut self,
        next: impl Fn(u32, u32, NodeEnd, Attempt) -> (Child, Option<Attempt>),
    ) {
        for node in 0..self.size {
            let Child::Settled { attempt, charged, end, last } = self.get(node).into_owned() else {
                continue;
            };
            let from = self.status(node);
            let (record, past) = next(attempt, charged, end, last);
            if let Some(past) = past {
                self.rare.past.entry(node).or_default().push(past);
                match record.not_before() {
                    Some(at) => drop(self.rare.backing_off.insert((at, node))),
                    None => self.retry.insert(node..node + 1),
                }
            }
            self.put(node, record);
            self.settled -= 1;
            self.node_moved(node, from);
        }
    }

    fn node_moved(&mut self, node: u32, from: JobStatus) {
        let to = self.status(node);
        if from != to {
            self.move_count(from, to, node..node + 1);
        }
    }

    /// Gives the status reason of a settled node's attempt.
    pub(in crate::core) fn set_settled_reason(&mut self, node: u32, reason: &Arc<str>) {
        if let Child::Settled { attempt, charged, end, mut last } = self.get(node).into_owned() {
            last.status_reason = Some(reason.clone());
            self.put(node, Child::Settled { attempt, charged, end, last });
        }
    }

    /// A leased node's lease gets another number.
    pub(in crate::core) fn renew(&mut self, node: u32, lease: LeaseId) {
        let mut record = self.get(node).into_owned();
        if let Child::Starting { lease: old, .. } | Child::Running { lease: old, .. } = &mut record
        {
            *old = lease;
            self.put(node, record);
        }
    }
}
