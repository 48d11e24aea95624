//! What must always hold of the state. Checked after every step of the tests; the numbers are those
//! of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::consumables::ConsumableResourceType;
use windrow_common::api::quota::{CapacityUnit, ResourceSharingStrategy};
use windrow_common::ids::{JobId, Name};

use super::State;
use super::children::Child;
use super::quota::{Amounts, QuotaShare, amounts, share_of};
use super::state::{Leased, Phase};

/// The first broken invariant, in words.
///
/// # Errors
/// Names the invariant and where it is broken.
pub fn check(state: &State) -> Result<(), String> {
    leases_and_children_agree(state)?;
    nodes_act_together(state)?;
    allocations_add_up(state)?;
    consumables_add_up(state)?;
    preemptions_are_of_leased_children(state)?;
    use_of_shares_adds_up(state)?;
    blocked_heads_are_ready(state)?;
    agents_are_kept_for_ready_jobs(state)?;
    given_up_leases_are_of_unended_jobs(state)?;
    keys_lead_to_known_jobs(state)?;
    state.services.check()?;
    for (id, job) in &state.jobs {
        let counted = job.children.recount();
        let kept = windrow_common::api::jobs::JobStatus::ALL.map(|s| job.children.count(s));
        if counted != kept {
            return Err(format!("INV-9: job {id} counts {kept:?}, its children are {counted:?}"));
        }
    }
    let mut rebuilt = state.clone();
    rebuilt.reindex();
    rebuilt.index.changed.clone_from(&state.index.changed);
    if rebuilt.index != state.index {
        return Err("INV-16: the tables differ from those rebuilt from the state".to_owned());
    }
    Ok(())
}

/// A key in memory leads to a job in memory, and what has left it is counted.
fn keys_lead_to_known_jobs(state: &State) -> Result<(), String> {
    for (key, (job, _)) in &state.idempotency {
        if !state.jobs.get(job).is_some_and(|job| job.keys.contains(key)) {
            return Err(format!("key `{key}` leads to {job}, which does not have it"));
        }
    }
    let jobs = state.shelf.recount();
    if jobs != state.shelf.jobs {
        return Err(format!("{jobs} jobs on the shelf, counted are {}", state.shelf.jobs));
    }
    Ok(())
}

/// INV-20: what blocks a queue or share is one of its ready jobs.
fn blocked_heads_are_ready(state: &State) -> Result<(), String> {
    for ((queue, share), blocked) in &state.blocked {
        let is_ready = state.rank(blocked.job).is_some();
        let is_there = state.jobs.get(&blocked.job);
        if !is_ready || is_there.is_none_or(|job| job.queue != *queue || job.share != *share) {
            return Err(format!("INV-20: {} is said to block queue {queue}", blocked.job));
        }
    }
    Ok(())
}

/// INV-21: an agent is kept for a job of the queue that is ready, and can be.
fn agents_are_kept_for_ready_jobs(state: &State) -> Result<(), String> {
    for (queue, kept) in &state.reservations {
        let is_ready = state.rank(kept.job).is_some();
        let is_of_queue = state.jobs.get(&kept.job).is_some_and(|job| job.queue == *queue);
        let agent = state.agents.get(&kept.agent);
        if !is_ready || !is_of_queue || agent.is_none_or(|agent| !agent.takes_work()) {
            return Err(format!("INV-21: queue {queue} keeps {kept:?}"));
        }
    }
    Ok(())
}

/// INV-4: what an agent can have back is of a job that has not ended, and is leased to nobody.
fn given_up_leases_are_of_unended_jobs(state: &State) -> Result<(), String> {
    for (id, leases) in &state.given_up {
        let job = state.jobs.get(id).filter(|job| !job.children.all_ended());
        if job.is_none_or(|job| job.nodes.is_some()) || leases.is_empty() {
            return Err(format!("INV-4: leases of {id} can be had back"));
        }
        if let Some(lease) = leases.keys().find(|lease| state.leases.contains_key(*lease)) {
            return Err(format!("INV-4: {lease} is held and can be had back"));
        }
    }
    Ok(())
}

/// INV-4: a leased child has exactly one lease, and that lease has the child.
fn leases_and_children_agree(state: &State) -> Result<(), String> {
    let mut owners = BTreeMap::new();
    for (id, lease) in &state.leases {
        if lease.children.is_empty() {
            return Err(format!("INV-4: {id} is empty"));
        }
        for child in lease.children.iter().cloned().flatten() {
            if owners.insert((lease.job, child), *id).is_some() {
                return Err(format!("INV-4: child {child} of {} has two leases", lease.job));
            }
        }
    }
    for (id, job) in &state.jobs {
        let of_job = owners.range((*id, 0)..=(*id, u32::MAX));
        let given = of_job.map(|((_, child), lease)| (*lease, *child));
        let all = 0..job.children.size();
        if !job.children.leased_in(std::slice::from_ref(&all)).into_iter().eq(given) {
            return Err(format!("INV-4: children of {id} and their leases disagree"));
        }
    }
    Ok(())
}

/// INV-14: a multi-node job is leased entirely or not at all, and all its nodes are in one attempt.
fn nodes_act_together(state: &State) -> Result<(), String> {
    for (id, job) in &state.jobs {
        let Some(nodes) = &job.nodes else { continue };
        let mut attempts = BTreeSet::new();
        for node in 0..job.children.size() {
            let record = &*job.children.get(node);
            let (attempt, is_live) = match record {
                Child::Untried => (1, false),
                Child::Retrying { attempt, .. } => (*attempt, false),
                Child::Ended { attempt, .. } => (*attempt, false),
                Child::Starting { attempt, .. }
                | Child::Running { attempt, .. }
                | Child::Settled { attempt, .. } => (*attempt, true),
            };
            attempts.insert(attempt);
            if is_live != (nodes.phase != Phase::Idle) {
                return Err(format!(
                    "INV-14: {:?}, but node {node} of {id} {record:?}",
                    nodes.phase
                ));
            }
            let early = nodes.phase == Phase::Starting && node != nodes.main;
            if early && matches!(record, Child::Running { .. }) {
                return Err(format!("INV-14: node {node} of {id} runs before the main node"));
            }
        }
        if attempts.len() > 1 {
            return Err(format!("INV-14: nodes of {id} are in attempts {attempts:?}"));
        }
    }
    Ok(())
}

/// INV-7 at the coordinator: what an agent is thought to hold is what its leases hold.
fn allocations_add_up(state: &State) -> Result<(), String> {
    for (name, agent) in &state.agents {
        let mut sum = Leased::default();
        for id in &agent.leases {
            let lease = state.leases.get(id).ok_or(format!("INV-7: {name} holds unknown {id}"))?;
            let count: u32 = lease.children.iter().map(super::children::len).sum();
            sum.add(lease.resources, count);
        }
        if sum != agent.leased {
            return Err(format!("INV-7: {name} has {:?} leased, its leases {sum:?}", agent.leased));
        }
    }
    let held: usize = state.agents.values().map(|agent| agent.leases.len()).sum();
    if held != state.leases.len() {
        return Err(format!("INV-7: {held} leases at agents, {} in all", state.leases.len()));
    }
    Ok(())
}

/// INV-12: what is in use of a consumable resource is what leased children took of it.
fn consumables_add_up(state: &State) -> Result<(), String> {
    let mut sums = BTreeMap::<&Name, u64>::new();
    for lease in state.leases.values() {
        let count: u32 = lease.children.iter().map(super::children::len).sum();
        for (name, quantity) in state.specs[&lease.spec].spec.consumables.iter() {
            *sums.entry(name).or_default() += quantity * u64::from(count);
        }
    }
    for (name, consumable) in &state.consumables {
        let sum = match consumable.kind {
            ConsumableResourceType::Replenishable => sums.get(name).copied().unwrap_or(0),
            ConsumableResourceType::NonReplenishable => 0,
        };
        if sum != consumable.in_use {
            let shown = consumable.in_use;
            return Err(format!("INV-12: `{name}` has {shown} in use, its leases {sum}"));
        }
    }
    Ok(())
}

/// INV-13: only leased children of queues of quota shares make room for others.
fn preemptions_are_of_leased_children(state: &State) -> Result<(), String> {
    for (id, child) in state.preemptions.keys() {
        let job = state.jobs.get(id).filter(|job| job.rare.quota.is_some());
        if job.and_then(|job| job.children.get(*child).lease()).is_none() {
            return Err(format!("INV-13: child {child} of {id} makes room and is not leased"));
        }
    }
    Ok(())
}

/// Shares hold what the leases of their jobs weigh, and know how many jobs they have.
fn use_of_shares_adds_up(state: &State) -> Result<(), String> {
    let mut expected = BTreeMap::new();
    for job in state.jobs.values().filter(|job| !job.children.all_ended()) {
        let Some(share) = job.share.as_ref().filter(|_| state.fair_share(&job.queue).is_some())
        else {
            continue;
        };
        expected.entry((&job.queue, share)).or_insert((0, 0)).1 += 1;
    }
    for lease in state.leases.values() {
        let job = &state.jobs[&lease.job];
        let Some(share) = &job.share else { continue };
        if let Some(used) = expected.get_mut(&(&job.queue, share)) {
            used.0 += super::usage::weight(lease);
        }
    }
    for (queue, shares) in &state.usage {
        for (share, used) in &shares.shares {
            let (held, jobs) = expected.remove(&(queue, share)).unwrap_or_default();
            if (used.held, used.active_jobs) != (held, jobs) {
                return Err(format!(
                    "share {share} of {queue} holds {held} for {jobs} jobs, kept is {used:?}"
                ));
            }
        }
        if shares.held != shares.shares.values().map(|used| used.held).sum::<u64>() {
            return Err(format!("queue {queue} holds other than its shares"));
        }
    }
    match expected.first_key_value() {
        Some((missing, _)) => Err(format!("no use is kept of share {missing:?}")),
        None => Ok(()),
    }
}

/// INV-19, right after children of the job were leased: its quota share uses no more than its own
/// capacity and what it may borrow; what all shares borrow is covered by idle capacity of shares that
/// lend. Later changes of a share may break either until enough of its jobs have gone.
///
/// # Errors
/// Names the share, the unit and the amounts.
pub fn check_grant(state: &State, id: JobId) -> Result<(), String> {
    let job = &state.jobs[&id];
    let Some(name) = share_of(job) else { return Ok(()) };
    let shares = &state.quota_shares[&job.queue];
    let used = used_by_shares(state, &job.queue);
    let used = |share: &Name, unit: CapacityUnit| {
        used.get(share).map_or(0, |amounts: &Amounts| amounts[unit as usize])
    };
    let share =
        shares.get(name).ok_or(format!("INV-19: {id} started in `{name}`, which is gone"))?;
    for (unit, limit) in &share.limits {
        let own = used(name, *unit);
        let borrowed = own.saturating_sub(*limit);
        let most = match (share.strategy, share.borrow_limit) {
            (ResourceSharingStrategy::Reserve | ResourceSharingStrategy::Lend, _) => 0,
            (ResourceSharingStrategy::LendAndBorrow, None) => u64::MAX,
            (ResourceSharingStrategy::LendAndBorrow, Some(percent)) => {
                limit * u64::from(percent) / 100
            }
        };
        if borrowed > most {
            return Err(format!(
                "INV-19: `{name}` uses {own} of {limit} {unit:?}, may borrow {most}"
            ));
        }
        let lent = |(other, found): (&Name, &QuotaShare)| {
            let limit = found.limits.get(unit).copied()?;
            let is_lent = found.strategy != ResourceSharingStrategy::Reserve;
            is_lent.then(|| limit.saturating_sub(used(other, *unit)))
        };
        let over = |(other, found): (&Name, &QuotaShare)| {
            Some(used(other, *unit).saturating_sub(*found.limits.get(unit)?))
        };
        let idle: u64 = shares.iter().filter_map(lent).sum();
        let over: u64 = shares.iter().filter_map(over).sum();
        let concerns_others = borrowed > 0 || share.strategy != ResourceSharingStrategy::Reserve;
        if concerns_others && over > idle {
            return Err(format!(
                "INV-19: {over} {unit:?} borrowed, {idle} lent, as `{name}` starts"
            ));
        }
    }
    Ok(())
}

/// What leased children of each share need, counted anew.
fn used_by_shares(state: &State, queue: &Name) -> BTreeMap<Name, Amounts> {
    let mut used = BTreeMap::<Name, Amounts>::new();
    for lease in state.leases.values() {
        let job = &state.jobs[&lease.job];
        let Some(share) = share_of(job).filter(|_| job.queue == *queue) else { continue };
        let count: u32 = lease.children.iter().map(super::children::len).sum();
        let sums = used.entry(share.clone()).or_default();
        for (sum, amount) in sums.iter_mut().zip(amounts(lease.resources)) {
            *sum += amount * u64::from(count);
        }
    }
    used
}
