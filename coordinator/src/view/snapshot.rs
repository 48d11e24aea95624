//! GetJobQueueSnapshot.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::snapshot::{
    CapacityUsage, FairshareUtilization, FrontOfQueue, FrontOfQueueJob, GetJobQueueSnapshot,
    GetJobQueueSnapshotResponse, QueueUtilization, ShareUtilization,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::explain::find_queue;
use crate::core::State;
use crate::core::arn;
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
    let queue = find_queue(state, &request.job_queue)?;
    let jobs =
        dispatch_order(state, queue, now).take(FRONT_MAX).map(|id| front(state, id)).collect();
    let mut used: BTreeMap<Option<&Name>, u64> = BTreeMap::new();
    for lease in state.leases.values() {
        let Some(job) = state.jobs.get(&lease.job).filter(|job| job.queue == *queue) else {
            continue;
        };
        let children: u64 = lease.children.iter().map(|r| u64::from(r.end - r.start)).sum();
        *used.entry(job.share.as_ref()).or_insert(0) += children * u64::from(lease.resources.cpu.0);
    }
    let total = used.values().sum();
    let ready = state.index.ready.shares(queue).into_iter().flat_map(|shares| shares.keys());
    for share in ready {
        used.entry(share.as_ref()).or_insert(0);
    }
    let mut shares: Vec<(&Name, u64)> =
        used.into_iter().filter_map(|(share, used)| Some((share?, used))).collect();
    shares.sort_by_key(|(_, used)| Reverse(*used));
    let fairshare = (!shares.is_empty()).then(|| FairshareUtilization {
        active_share_count: shares.len() as u64,
        top_capacity_utilization: shares
            .iter()
            .take(SHARES_MAX)
            .map(|(share, used)| ShareUtilization {
                share_identifier: share.to_string(),
                capacity_usage: usage(*used),
            })
            .collect(),
    });
    Ok(GetJobQueueSnapshotResponse {
        front_of_queue: FrontOfQueue { jobs, last_updated_at: now.0 },
        queue_utilization: QueueUtilization {
            total_capacity_usage: usage(total),
            fairshare_utilization: fairshare,
            last_updated_at: now.0,
        },
    })
}

fn front(state: &State, id: JobId) -> FrontOfQueueJob {
    let job = &state.jobs[&id];
    let since = job.released_at.unwrap_or(job.created_at);
    FrontOfQueueJob { job_arn: arn::job(id.into()), earliest_time_at_position: since.0 }
}

fn usage(milli_cpu: u64) -> Vec<CapacityUsage> {
    #[expect(clippy::cast_precision_loss, reason = "vCPUs of a cluster fit a double exactly")]
    let quantity = milli_cpu as f64 / 1000.0;
    vec![CapacityUsage { capacity_unit: "VCPU".to_owned(), quantity }]
}
