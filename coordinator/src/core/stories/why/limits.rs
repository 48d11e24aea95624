//! Causes that are limits: of the array, of consumable resources, of shares; and nodes that start
//! together.

use windrow_common::api::consumables::ConsumableResourceType::Replenishable;
use windrow_common::api::explain::WaitCode;
use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};
use windrow_common::ids::{JobId, JobRef};

use super::{Case, case};
use crate::core::Command;
use crate::core::stories::consumables::takes;
use crate::core::stories::nodes::{multinode, range};
use crate::core::world::World;

/// Jobs that wait for a limit.
pub(super) const LIMITS: &[Case] = &[
    case(WaitCode::ConcurrencyLimit, "--max-parallel 3`", true, |w| {
        w.agent("a", 8);
        JobRef::child(at_most_two(w), 2)
    }),
    case(WaitCode::ConcurrencyLimit, "--max-parallel 5`", true, |w| {
        w.agent("a", 8);
        JobRef::child(at_most_two(w), 4)
    }),
    case(WaitCode::ConsumableResource, "it takes 1 of consumable resource `licence`", true, |w| {
        licences(w, 1);
        taking(w, "q", 1);
        taking(w, "q", 1).into()
    }),
    case(WaitCode::ConsumableResource, "1 are left of 1, 0 are in use", true, |w| {
        licences(w, 1);
        taking(w, "q", 5).into()
    }),
    case(WaitCode::ConsumableResource, "a job that goes before it and takes 3", true, |w| {
        licences(w, 3);
        taking(w, "q", 2);
        taking(w, "q", 3);
        taking(w, "q", 1).into()
    }),
    case(WaitCode::ConsumableResource, "a job that goes before it and takes 3", true, |w| {
        licences(w, 3);
        w.queue("high", 20);
        taking(w, "q", 2);
        taking(w, "high", 3);
        taking(w, "q", 1).into()
    }),
    case(WaitCode::Quota, "than quota share `a` of queue `shared` can ever use", true, |w| {
        quota(w, &[("a", Reserve)]);
        w.definition("large", "3", "100");
        w.submit(SubmitJob { job_definition: "large".into(), ..w.shared("a") }).into()
    }),
    case(WaitCode::Quota, "with what it may borrow, is in use", true, |w| {
        quota(w, &[("a", Reserve)]);
        last_of(w, "a", 3)
    }),
    case(WaitCode::Quota, "windrow quota-share update shared/a --limit VCPU=4`", true, |w| {
        quota(w, &[("a", Reserve)]);
        last_of(w, "a", 4)
    }),
    case(WaitCode::Quota, "no other share lends enough", true, |w| {
        quota(w, &[("a", LendAndBorrow), ("b", Lend)]);
        last_of(w, "b", 2);
        last_of(w, "a", 3)
    }),
    case(WaitCode::Quota, "is lent to other shares, whose jobs make room", true, |w| {
        quota(w, &[("a", LendAndBorrow), ("b", Lend)]);
        last_of(w, "a", 4);
        last_of(w, "b", 1)
    }),
    case(WaitCode::Quota, "--limit VCPU=5`", true, |w| {
        quota(w, &[("a", Reserve)]);
        w.definition("wide", "2", "100");
        last_of(w, "a", 2);
        w.submit(SubmitJob { job_definition: "wide".into(), ..w.shared("a") });
        last_of(w, "a", 1)
    }),
    case(WaitCode::FairShare, "hold 4 vCPUs of at most 4", true, |w| {
        JobRef::child(kept_for_others(w), 4)
    }),
    case(WaitCode::FairShare, "windrow policy update p --reservation 25`", true, |w| {
        JobRef::child(kept_for_others(w), 5)
    }),
    case(WaitCode::FairShare, "windrow policy update p --reservation 0`", true, |w| {
        JobRef::child(kept_for_others(w), 7)
    }),
    case(WaitCode::GangWait, "not all of its nodes find room at the same time", true, |w| {
        w.agent("a", 2);
        w.agent("b", 2);
        w.job();
        together(w).into()
    }),
    case(WaitCode::GangWait, "do not fit together on the agents there are", true, |w| {
        w.agent("a", 2);
        together(w).into()
    }),
    case(WaitCode::Reservation, "kept for job", true, |w| {
        w.agent("a", 2);
        w.agent("b", 2);
        w.job();
        together(w);
        w.job().into()
    }),
];

/// An array of six of which two may run.
fn at_most_two(w: &mut World) -> JobId {
    let array = ArrayProperties { size: Some(6), max_parallel: Some(2) };
    w.submit(SubmitJob { array_properties: Some(array), ..w.request() })
}

/// So many licences, and an agent with room for all.
fn licences(w: &mut World, total: u64) {
    w.agent("a", 8);
    w.consumable("licence", total, Replenishable);
}

/// A job that takes licences.
fn taking(w: &mut World, queue: &str, quantity: u64) -> JobId {
    w.submit(SubmitJob {
        job_queue: queue.into(),
        consumable_resource_properties_override: takes("licence", quantity),
        ..w.request()
    })
}

/// Queue `shared` with these shares of two vCPUs each, and an agent with room for all.
fn quota(w: &mut World, shares: &[(&str, windrow_common::api::quota::ResourceSharingStrategy)]) {
    w.agent("a", 16);
    w.quota_queue();
    for (share, strategy) in shares {
        w.quota_share(share, 2, *strategy);
    }
}

/// So many jobs of a share; gives the last one.
fn last_of(w: &mut World, share: &str, count: usize) -> JobRef {
    let jobs = (0..count).map(|_| w.submit(w.shared(share)));
    jobs.last().unwrap().into()
}

/// An array of twenty in a queue of eight vCPUs half of which are kept.
fn kept_for_others(w: &mut World) -> JobId {
    w.agent("a", 8);
    w.policy("p", FairsharePolicy { compute_reservation: Some(50), ..Default::default() });
    w.fair_queue("f", "p");
    w.submit(SubmitJob {
        job_queue: "f".into(),
        share_identifier: Some("one".into()),
        array_properties: w.size(20),
        ..w.request()
    })
}

/// A job of two nodes of two vCPUs each.
fn together(w: &mut World) -> JobId {
    let definition = multinode("pair", 2, vec![range("0:", "2")]);
    w.does(Command::RegisterDefinition(Box::new(definition)));
    w.submit(SubmitJob { job_definition: "pair".into(), ..w.request() })
}
