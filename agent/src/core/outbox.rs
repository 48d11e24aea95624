//! Reports on their way to the coordinator: numbered from 1 in each session, sent in order, kept until
//! confirmed.

use std::collections::VecDeque;
use std::time::Duration;

use windrow_common::ids::LeaseId;
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::wire::agent::{ContainerEnd, Report};

use crate::executor::AttemptKey;

/// A coordinator that journals at all confirms within milliseconds; one that is silent for this long
/// is new, or lost the report.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be told; the rest is looked up when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The attempt runs.
    Started(AttemptKey),
    /// It ended.
    Ended(AttemptKey),
    /// Children never started.
    Returned(LeaseId, Vec<(u32, u32)>),
    /// The agent stops.
    Leaving,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    at: Duration,
    item: Item,
}

/// The reports of one session.
#[derive(Debug, Default)]
pub struct Outbox {
    last_number: u64,
    pending: VecDeque<Item>,
    unconfirmed: VecDeque<Sent>,
}

impl Outbox {
    /// Adds a report.
    pub fn push(&mut self, item: Item) {
        self.pending.push_back(item);
    }

    /// Begins a session whose first reports are `items`.
    pub fn restart(&mut self, items: impl IntoIterator<Item = Item>) {
        *self = Self { pending: items.into_iter().collect(), ..Self::default() };
    }

    /// Whether everything was sent.
    pub fn is_sent(&self) -> bool {
        self.pending.is_empty()
    }

    /// Number of the last report sent.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// When to register again because nothing was confirmed.
    pub fn confirm_deadline(&self) -> Option<Duration> {
        self.unconfirmed.front().map(|sent| sent.at.saturating_add(CONFIRM_TIMEOUT))
    }

    /// The next message: number of its first report, and the reports. `find` gives an item's report, or
    /// nothing when it needs none any more, such as a start whose end waits behind it.
    pub fn cut(
        &mut self,
        now: Duration,
        find: impl Fn(&Item) -> Option<Report>,
    ) -> Option<(u64, Vec<Report>)> {
        let first = self.last_number + 1;
        let mut reports = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.pending.front() {
            if let Some(report) = find(item) {
                bytes += bytes_at_most(&report);
                if bytes > MESSAGE_BYTES_MAX && !reports.is_empty() {
                    break;
                }
                reports.push(report);
                self.last_number += 1;
                let item = item.clone();
                self.unconfirmed.push_back(Sent { number: self.last_number, at: now, item });
            }
            self.pending.pop_front();
        }
        (!reports.is_empty()).then_some((first, reports))
    }

    /// Takes out what is confirmed.
    pub fn confirm(&mut self, upto: u64) -> Vec<Item> {
        let count = self.unconfirmed.partition_point(|sent| sent.number <= upto);
        self.unconfirmed.drain(..count).map(|sent| sent.item).collect()
    }
}

/// A bound on a report's encoding: field names, ids and numbers, and what has no fixed length.
fn bytes_at_most(report: &Report) -> usize {
    match report {
        Report::Started { .. } => 128,
        Report::Ended(ended) => {
            let reason = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let of = |end: &ContainerEnd| 64 + end.name.len() + reason(&end.reason);
            256 + reason(&ended.reason) + ended.containers.iter().map(of).sum::<usize>()
        }
        Report::Returned { children, .. } => 128 + 11 * children.len(),
        Report::Leaving => 16,
    }
}

#[cfg(test)]
mod tests {
    use windrow_common::codec::to_msgpack;
    use windrow_common::ids::JobId;
    use windrow_common::time::Timestamp;
    use windrow_common::wire::agent::{EndCause, Ended};

    use super::*;

    fn longest() -> [Report; 4] {
        let (lease, job, child) = (LeaseId(u64::MAX), JobId::from_u128(u128::MAX), u32::MAX);
        let at = Timestamp(u64::MAX);
        [
            Report::Started { lease, job, child, at },
            Report::Ended(Ended {
                lease,
                job,
                child,
                started_at: Some(at),
                ended_at: at,
                exit_code: Some(i32::MIN),
                cause: EndCause::StartFailed,
                reason: Some("é".repeat(255)),
                log_bytes: u64::MAX,
                containers: vec![
                    ContainerEnd {
                        name: "n".repeat(255),
                        exit_code: Some(i32::MIN),
                        reason: Some("é".repeat(255)),
                    };
                    10
                ],
            }),
            Report::Returned { lease, job, children: vec![(u32::MAX, u32::MAX); 70_000] },
            Report::Leaving,
        ]
    }

    #[test]
    fn the_bound_holds() {
        for report in longest() {
            assert!(to_msgpack(&report).len() <= bytes_at_most(&report), "{report:?}");
        }
    }

    #[test]
    fn messages_stay_below_the_limit_and_numbers_follow_on() {
        let [_, ended, ..] = longest();
        let mut outbox = Outbox::default();
        for child in 0..3000 {
            outbox.push(Item::Ended(AttemptKey { lease: LeaseId(1), child }));
        }
        let mut next = 1;
        while let Some((first, reports)) =
            outbox.cut(Duration::from_secs(1), |_| Some(ended.clone()))
        {
            assert_eq!(first, next);
            assert!(to_msgpack(&reports).len() <= MESSAGE_BYTES_MAX);
            next += u64::try_from(reports.len()).unwrap();
        }
        assert_eq!(next, 3001);
        assert_eq!(outbox.confirm(2999).len(), 2999);
        assert_eq!(outbox.confirm(2999).len(), 0);
        assert_eq!(outbox.confirm_deadline(), Some(Duration::from_secs(1) + CONFIRM_TIMEOUT));
        assert_eq!(outbox.confirm(3000).len(), 1);
        assert_eq!(outbox.confirm_deadline(), None);
    }
}
