//! GetJobQueueSnapshot.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use windrow_common::api::ApiError;
use windrow_common::api::quota::CapacityUnit;
use windrow_common::api::snapshot::{
    CapacityUsage, FairshareUtilization, FrontOfQueue, FrontOfQueueJob, FrontOfQuotaShares,
    GetJobQueueSnapshot, GetJobQueueSnapshotResponse, QueueUtilization, QuotaShareCapacity,
    QuotaShareUtilization, ShareUtilization,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use crate::core::State;
use crate::core::arn;
use crate::core::children::Readiness;
use crate::core::find;
use crate::core::quota::{Books, QuotaShare};
use crate::core::state::Job;
use crate::scheduler::order::dispatch_order;

/// Jobs shown, as AWS has it.
const FRONT_MAX: usize = 100;
/// Shares shown, as AWS has it.
const SHARES_MAX: usize = 20;

/// Which jobs of a queue go next, and what it uses.
///
/// # Errors
/// There is no such queue.
pub fn queue_snapshot(
    state: &State,
    request: &GetJobQueueSnapshot,
    now: Timestamp,
) -> Result<GetJobQueueSnapshotResponse, ApiError> {
    let (queue, found) = &find::queue(state, &request.job_queue)?;
    let started = Started::of(state, queue);
    let mut since = Timestamp::default();
    let jobs = dispatch_order(state, queue, now).take(FRONT_MAX).map(|id| {
        since = since.max(started.place_since(state, id));
        FrontOfQueueJob { job_arn: arn::job(id.into()), earliest_time_at_position: since.0 }
    });
    let jobs = if found.is_service() { service_jobs(state, queue) } else { jobs.collect() };
    let quota = state.quota_shares.get(queue);
    let used = used(state, queue);
    Ok(GetJobQueueSnapshotResponse {
        front_of_queue: FrontOfQueue { jobs, last_updated_at: now.0 },
        front_of_quota_shares: quota.map(|shares| FrontOfQuotaShares {
            quota_shares: heads(state, queue, shares, &started),
            last_updated_at: now.0,
        }),
        queue_utilization: QueueUtilization {
            total_capacity_usage: vec![CapacityUsage::vcpus(used.values().sum())],
            fairshare_utilization: state.fair_share(queue).map(|_| fairshare(state, queue, used)),
            quota_share_utilization: quota.map(|shares| quota_shares(state, queue, shares)),
            last_updated_at: now.0,
        },
    })
}

/// The service jobs of a queue that have not ended: higher scheduling priority first if they have
/// shares, then by order of submission.
fn service_jobs(state: &State, queue: &Name) -> Vec<FrontOfQueueJob> {
    let jobs = state.services.jobs.iter();
    let mut jobs: Vec<_> =
        jobs.filter(|(_, job)| job.queue == *queue && job.ended.is_none()).collect();
    jobs.sort_by_key(|(_, job)| Reverse(job.share.as_ref().and(job.priority).unwrap_or(0)));
    let mut since = Timestamp::default();
    let front = jobs.into_iter().take(FRONT_MAX).map(|(id, job)| {
        since = since.max(job.created_at);
        FrontOfQueueJob { job_arn: arn::service_job(*id), earliest_time_at_position: since.0 }
    });
    front.collect()
}

/// Jobs that have left the queue's line and still run: since when those behind them have moved up.
struct Started<'a> {
    /// By share: places in the line, each with the latest start up to there.
    shares: BTreeMap<Option<&'a Name>, Vec<(Place, Timestamp)>>,
}

/// A place among the jobs of a share that were not tried before: higher scheduling priority first,
/// then by order of submission.
type Place = (Reverse<u32>, u64);

impl<'a> Started<'a> {
    fn of(state: &'a State, queue: &Name) -> Self {
        let mut shares: BTreeMap<Option<&Name>, Vec<(Place, Timestamp)>> = BTreeMap::new();
        for lease in state.leases.values() {
            let job = &state.jobs[&lease.job];
            let has_left = job.queue == *queue && state.rank(lease.job).is_none();
            if let Some(at) = lease.granted_at.filter(|_| has_left) {
                shares.entry(job.share.as_ref()).or_default().push((place(job), at));
            }
        }
        for starts in shares.values_mut() {
            starts.sort_unstable();
            let mut latest = Timestamp::default();
            for (_, at) in starts {
                latest = latest.max(*at);
                *at = latest;
            }
        }
        Self { shares }
    }

    /// A ready job has not had its place for longer than since then, as far as it itself and those
    /// that have left tell.
    fn place_since(&self, state: &State, id: JobId) -> Timestamp {
        let job = &state.jobs[&id];
        let ready = match (job.children.readiness(), job.children.next_runnable(1)) {
            // Its attempt had ended before.
            (Some(Readiness::Retry), Some((next, _))) => {
                job.children.past(next.start).last().map(|attempt| attempt.ended_at)
            }
            (Some(Readiness::Retry | Readiness::First) | None, _) => job.released_at,
        };
        let ready = ready.unwrap_or(job.created_at);
        if state.rank(id).is_some_and(|rank| rank.readiness == Readiness::Retry) {
            return ready;
        }
        let starts = self.shares.get(&job.share.as_ref()).map_or(&[][..], Vec::as_slice);
        let before = starts.partition_point(|(other, _)| *other < place(job));
        let moved_up = before.checked_sub(1).map(|last| starts[last].1);
        moved_up.map_or(ready, |at| at.max(ready))
    }
}

fn place(job: &Job) -> Place {
    (Reverse(job.rank_priority()), job.order)
}

/// The first RUNNABLE job of each quota share.
fn heads(
    state: &State,
    queue: &Name,
    shares: &BTreeMap<Name, QuotaShare>,
    started: &Started<'_>,
) -> BTreeMap<String, Vec<FrontOfQueueJob>> {
    let first = |share: &Name| {
        let ready = state.index.ready.share(queue, Some(share))?;
        let (rank, _) = ready.head(Bound::Unbounded)?;
        let since = started.place_since(state, rank.job);
        let job_arn = arn::job(rank.job.into());
        let job = FrontOfQueueJob { job_arn, earliest_time_at_position: since.0 };
        Some((share.to_string(), vec![job]))
    };
    shares.keys().filter_map(first).collect()
}

/// Thousandths of a core that STARTING and RUNNING jobs of a queue hold, by share.
fn used<'a>(state: &'a State, queue: &Name) -> BTreeMap<Option<&'a Name>, u64> {
    let mut used: BTreeMap<Option<&Name>, u64> = BTreeMap::new();
    for lease in state.leases.values() {
        let job = &state.jobs[&lease.job];
        if job.queue == *queue {
            let children: u64 = lease.children.iter().map(|r| u64::from(r.end - r.start)).sum();
            *used.entry(job.share.as_ref()).or_insert(0) +=
                children * u64::from(lease.resources.cpu.0);
        }
    }
    used
}

fn fairshare<'a>(
    state: &'a State,
    queue: &Name,
    mut used: BTreeMap<Option<&'a Name>, u64>,
) -> FairshareUtilization {
    let ready = state.index.ready.shares(queue).into_iter().flat_map(|shares| shares.keys());
    for share in ready {
        used.entry(share.as_ref()).or_insert(0);
    }
    let mut shares: Vec<(&Name, u64)> =
        used.into_iter().filter_map(|(share, used)| Some((share?, used))).collect();
    shares.sort_by_key(|(_, used)| Reverse(*used));
    let row = |(share, used): &(&Name, u64)| ShareUtilization {
        share_identifier: share.to_string(),
        capacity_usage: vec![CapacityUsage::vcpus(*used)],
    };
    FairshareUtilization {
        active_share_count: shares.len() as u64,
        top_capacity_utilization: shares.iter().take(SHARES_MAX).map(row).collect(),
    }
}

fn quota_shares(
    state: &State,
    queue: &Name,
    shares: &BTreeMap<Name, QuotaShare>,
) -> QuotaShareUtilization {
    let books = Books::of(state, queue);
    let used = |share: &Name| books.as_ref().map(|books| books.used(share)).unwrap_or_default();
    let mut order: Vec<(&Name, &QuotaShare)> = shares.iter().collect();
    order.sort_by_key(|(name, _)| Reverse(used(name)));
    let row = |(name, share): (&Name, &QuotaShare)| {
        let used = used(name);
        let units = share.limits.keys().map(|unit| match unit {
            CapacityUnit::Vcpu => CapacityUsage::vcpus(used[*unit as usize]),
            CapacityUnit::MemoryMib | CapacityUnit::Gpu => {
                CapacityUsage::whole(unit.as_str(), used[*unit as usize])
            }
        });
        QuotaShareCapacity { quota_share_name: name.to_string(), capacity_usage: units.collect() }
    };
    let top_capacity_utilization = order.into_iter().take(SHARES_MAX).map(row).collect();
    QuotaShareUtilization { top_capacity_utilization }
}
