//! Words for what keeps a ready job back although there may be room, and how far each limit would have
//! to be moved for the job and for those that go before it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::json;
use windrow_common::api::quota::CapacityUnit;
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::units::vcpus;

use super::words::Words;
use super::{Hold, Look, dispatch_order, hold, needs_at_once, reservation_for};
use crate::core::arn;
use crate::core::index::Shape;
use crate::core::quota::{Amounts, Books, Short, share_of};
use crate::core::state::Job;

/// Most jobs before one that are counted for a proposal: some milliseconds.
const JOBS_MAX: usize = 10_000;

/// It needs more of a unit than its quota share can ever use.
pub(super) fn beyond_share(job: &Job, unit: CapacityUnit) -> Words {
    Words::new(format!(
        "it needs more {} than {} can ever use, with all it may borrow",
        unit.as_str(),
        named_share(job)
    ))
    .status("MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED")
}

fn named_share(job: &Job) -> String {
    let share = job.share.as_ref().map_or("", Name::as_str);
    format!("quota share `{share}` of queue `{}`", job.queue)
}

/// As many children of its array run as may.
pub(super) fn max_parallel(id: JobRef, job: &Job, limit: u32) -> Words {
    let more = limit.saturating_add(turn(id, job));
    Words::new(format!(
        "`maxParallel` of its array lets {limit} children run at a time, and as many do"
    ))
    .request(
        "UpdateJob",
        json!({ "jobId": id.job.to_string(), "maxParallel": more }),
        format!("windrow job update {} --max-parallel {more}", id.job),
    )
}

/// How many starts of its own job it takes until this one has: its own is the last of them.
pub(super) fn turn(id: JobRef, job: &Job) -> u32 {
    if job.nodes.is_some() {
        return 1;
    }
    job.children.ready_before(id.child.unwrap_or(0)).unwrap_or(0).saturating_add(1)
}

impl<'a> Look<'a> {
    /// Why the scheduler holds a job back.
    pub(super) fn held(&self, id: JobRef, job: &Job, hold: &Hold) -> Words {
        match hold {
            Hold::NoEnvironment => self.no_environment(&job.queue),
            Hold::Consumable(name, quantity) => self.consumable_words(id, job, name, *quantity),
            Hold::QuotaShare(short) => self.quota_words(id, job, *short),
            Hold::KeptForOtherShares { most, held } => {
                self.reservation_words(id, job, *most, *held)
            }
        }
    }

    pub(super) fn no_environment(&self, queue: &Name) -> Words {
        let names = self.state.queues.get(queue).map(|q| q.environments.as_slice());
        let first = names.and_then(|names| names.first()).map(|(_, name)| name);
        let words = Words::new(format!("no compute environment of queue `{queue}` is ENABLED"))
            .status("ACTION_REQUIRED");
        match first {
            None => words.hint(format!("`windrow queue update {queue} --ce NAME`")),
            Some(name) => words.request(
                "UpdateComputeEnvironment",
                json!({ "computeEnvironment": name.to_string(), "state": "ENABLED" }),
                format!("windrow ce update {name} --enable"),
            ),
        }
    }

    fn consumable_words(&self, id: JobRef, job: &Job, name: &Name, quantity: u64) -> Words {
        let Some(found) = self.state.consumables.get(name) else {
            return Words::new(format!("consumable resource `{name}` does not exist")).request(
                "CreateConsumableResource",
                json!({ "consumableResourceName": name.to_string(), "totalQuantity": quantity }),
                format!("windrow consumable create {name} --total {quantity}"),
            );
        };
        let left = found.available();
        let own = self.takes(job, name);
        let (total, used) = (found.total, found.in_use);
        let words = Words::new(if own > left {
            format!(
                "it takes {own} of consumable resource `{name}`: {left} are left of {total}, {used} are in use"
            )
        } else {
            format!(
                "what is left of consumable resource `{name}`, {left} of {total}, is kept for a job that goes before it and takes {quantity}"
            )
        });
        let wait = format!("wait for a job of `windrow consumable jobs {name}` to end");
        let Some(before) = self.takes_before(id.job, name) else { return words.hint(wait) };
        let needed = before.saturating_add(own.saturating_mul(turn(id, job).into()));
        let missing = needed.saturating_sub(left);
        let operation = "UpdateConsumableResource";
        let request = json!({ "consumableResource": name.to_string(), "operation": "ADD", "quantity": missing });
        let command = format!("windrow consumable update {name} --add {missing}");
        // Nothing comes back of what nobody holds, and never more than there is.
        match used == 0 || own > total {
            true => words.request(operation, request, command),
            false => words.request_or(operation, request, command, &wait),
        }
    }

    /// How much of a consumable resource one start of the job takes.
    fn takes(&self, job: &Job, name: &Name) -> u64 {
        let (needs, _) = needs_at_once(self.state, job);
        needs.iter().find(|(other, _)| other == name).map_or(0, |(_, quantity)| *quantity)
    }

    /// What jobs of this and of other queues that go before this one will take of it; none when too
    /// many go before it.
    fn takes_before(&self, id: JobId, name: &Name) -> Option<u64> {
        let state = self.state;
        let total = state.consumables.get(name).map_or(0, |found| found.total);
        let priority = |queue: &Name| state.queues.get(queue).map_or(0, |queue| queue.priority);
        let queue = &state.jobs[&id].queue;
        let own = (Reverse(priority(queue)), queue);
        let earlier = state.index.ready.queues().filter(|q| (Reverse(priority(q)), *q) < own);
        let takers = |job: JobId, hold: Option<&Hold>| match hold {
            None => true,
            Some(Hold::Consumable(other, _)) => {
                other == name && self.takes(&state.jobs[&job], name) <= total
            }
            Some(Hold::NoEnvironment | Hold::QuotaShare(_) | Hold::KeptForOtherShares { .. }) => {
                false
            }
        };
        let before = self.going_before(id, earlier, takers)?;
        let of_one = |(job, starts): (JobId, u32)| {
            self.takes(&state.jobs[&job], name).saturating_mul(starts.into())
        };
        Some(before.into_iter().map(of_one).fold(0, u64::saturating_add))
    }

    /// Ready jobs that go before this one in its queue, and all of the queues named, that `counts`
    /// given what holds them back; with how many starts of each are left. None when there are more
    /// than are counted.
    fn going_before(
        &self,
        id: JobId,
        queues: impl Iterator<Item = &'a Name>,
        counts: impl Fn(JobId, Option<&Hold>) -> bool,
    ) -> Option<Vec<(JobId, u32)>> {
        let state = self.state;
        let own = dispatch_order(state, &state.jobs[&id].queue, self.now);
        let others = queues.flat_map(|queue| dispatch_order(state, queue, self.now));
        let before = others.chain(own.take_while(|other| *other != id));
        // Jobs of one share with equal shapes are held back alike.
        let mut known: BTreeMap<(Name, Option<Name>, Shape), bool> = BTreeMap::new();
        let mut found = Vec::new();
        for (looks, other) in before.enumerate() {
            if looks == JOBS_MAX {
                return None;
            }
            let job = &state.jobs[&other];
            let key = (job.queue.clone(), job.share.clone(), Shape::of_job(&state.specs, job));
            let is_one =
                known.entry(key).or_insert_with(|| counts(other, hold(state, other).as_ref()));
            if *is_one {
                found.push((other, starts(job)));
            }
        }
        Some(found)
    }

    /// What a quota share lacks, with AWS's words for it.
    fn quota_words(&self, id: JobRef, job: &Job, short: Short) -> Words {
        let (lacks, unit) = match short {
            Short::Never(unit) => {
                let words = beyond_share(job, unit);
                return self.raise_quota(id, job, words, "submit it with smaller needs");
            }
            Short::Full(unit) => ("its capacity, with what it may borrow, is in use", unit),
            Short::NothingLent(unit) => {
                ("its own capacity is in use, and no other share lends enough", unit)
            }
            Short::LentOut(unit) => {
                ("what is left of its capacity is lent to other shares, whose jobs make room", unit)
            }
        };
        let words = Words::new(format!("{}, {}: {lacks}", named_share(job), unit.as_str()));
        self.raise_quota(id, job, words, "wait")
    }

    /// Proposes limits with which the share could have this job, and those of it that go before, as
    /// its own.
    fn raise_quota(&self, id: JobRef, job: &Job, words: Words, otherwise: &str) -> Words {
        let queue = &job.queue;
        let limits = share_of(job).zip(Books::of(self.state, queue)).and_then(|(share, books)| {
            let before = self.going_before(id.job, std::iter::empty(), |other, hold| {
                let is_never = matches!(hold, Some(Hold::QuotaShare(Short::Never(_))));
                share_of(&self.state.jobs[&other]) == Some(share) && !is_never
            })?;
            let mut more = Amounts::default();
            for (other, starts) in before.into_iter().chain([(id.job, turn(id, job))]) {
                let (_, need) = needs_at_once(self.state, &self.state.jobs[&other]);
                for (more, need) in more.iter_mut().zip(need) {
                    *more = more.saturating_add(need.saturating_mul(starts.into()));
                }
            }
            Some((share, books.limits_for(share, more)))
        });
        let Some((share, limits)) = limits.filter(|(_, limits)| !limits.is_empty()) else {
            return words.hint(otherwise);
        };
        let whole = |(unit, limit): (CapacityUnit, u64)| match unit {
            CapacityUnit::Vcpu => (unit.as_str(), limit.div_ceil(1000)),
            CapacityUnit::MemoryMib | CapacityUnit::Gpu => (unit.as_str(), limit),
        };
        let limits: Vec<(&str, u64)> = limits.into_iter().map(whole).collect();
        let entry =
            |(unit, limit): &(&str, u64)| json!({ "capacityUnit": unit, "maxCapacity": limit });
        let option = |(unit, limit): &(&str, u64)| format!(" --limit {unit}={limit}");
        let options: String = limits.iter().map(option).collect();
        words.request_or(
            "UpdateQuotaShare",
            json!({
                "quotaShareArn": arn::quota_share(queue, share),
                "capacityLimits": limits.iter().map(entry).collect::<Vec<_>>(),
            }),
            format!("windrow quota-share update {queue}/{share}{options}"),
            otherwise,
        )
    }

    /// What is left of the queue is kept for shares that are not active.
    fn reservation_words(&self, id: JobRef, job: &Job, most: u64, held: u64) -> Words {
        let queue = &job.queue;
        let words = Words::new(format!(
            "the rest of queue `{queue}` is kept for shares that are not active: the active ones hold {} vCPUs of at most {}",
            vcpus(held),
            vcpus(most)
        ));
        let otherwise = "wait until jobs of the active shares end";
        let before = self.going_before(id.job, std::iter::empty(), |_, hold| {
            matches!(hold, None | Some(Hold::KeptForOtherShares { .. }))
        });
        let Some(before) = before else { return words.hint(otherwise) };
        let all = before.into_iter().chain([(id.job, turn(id, job))]);
        let needs = all.map(|(other, starts)| {
            let (_, need) = needs_at_once(self.state, &self.state.jobs[&other]);
            need[CapacityUnit::Vcpu as usize].saturating_mul(starts.into())
        });
        let needed = needs.fold(held, u64::saturating_add);
        let policy = self.state.queues.get(queue).and_then(|queue| queue.policy.as_ref());
        let Some((policy, rules)) = policy.zip(self.state.fair_share(queue)) else {
            return words.hint(otherwise);
        };
        // With less kept the agents are what it waits for next.
        let percent = reservation_for(self.state, queue, needed).unwrap_or(0);
        let mut rules = rules.to_api();
        rules.compute_reservation = Some(percent);
        words.request_or(
            "UpdateSchedulingPolicy",
            json!({ "arn": arn::policy(policy), "fairsharePolicy": rules }),
            format!("windrow policy update {policy} --reservation {percent}"),
            otherwise,
        )
    }
}

/// How many more starts a ready job takes: of a multi-node job there is one.
fn starts(job: &Job) -> u32 {
    match job.nodes {
        Some(_) => 1,
        None => job.children.runnable_count().min(job.parallel_left()),
    }
}
