//! What limits the start of jobs: consumable resources, `maxParallel`, shares and quota shares, all
//! changed while jobs wait and run.

use proptest::prelude::*;
use windrow_common::api::consumables::{
    ConsumableResourceType, QuantityOperation, UpdateConsumableResource,
};
use windrow_common::api::jobs::{ArrayProperties, NodeOverrides, SubmitJob, UpdateJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::{
    CreateQuotaShare, DeleteQuotaShare, PreemptionConfiguration, ResourceSharingStrategy,
    UpdateQuotaShare,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::JobId;

use super::{Chaos, Step, step};
use crate::core::Command;
use crate::core::stories::consumables::{takes, update};
use crate::core::stories::quota::{create, sharing};

/// Consumable resources: one comes back, one does not.
const RESOURCES: [&str; 2] = ["licence", "credit"];
/// Quota shares of queue `shared`: one of each strategy, and one that borrows without end.
const SHARES: [&str; 4] = ["keeps", "lends", "half", "all"];

/// One step of somebody who limits or is limited.
#[derive(Clone, Debug)]
pub(super) enum Limit {
    /// A job that takes of a consumable resource; single for size 1.
    Take {
        resource: u8,
        quantity: u64,
        size: u32,
        max_parallel: Option<u32>,
        is_fair: bool,
    },
    Total {
        resource: u8,
        operation: QuantityOperation,
        quantity: u64,
    },
    Change {
        job: u8,
        max_parallel: Option<u32>,
        priority: Option<u32>,
    },
    /// A job in the queue with a fair-share policy.
    Fair {
        share: u8,
        size: u32,
        priority: u32,
    },
    /// A job of a quota share. It may be preempted so often, or without end.
    Quota {
        share: u8,
        size: u32,
        is_large: bool,
        priority: u32,
        preemptions_max: Option<u32>,
    },
    /// Two nodes in a quota share.
    QuotaNodes {
        share: u8,
    },
    /// Another capacity and another strategy.
    Share {
        share: u8,
        vcpus: u32,
        strategy: ResourceSharingStrategy,
        in_share: bool,
    },
    /// A quota share goes, with its jobs, or comes again.
    Delete {
        share: u8,
    },
}

fn array(size: u32, max_parallel: Option<u32>) -> Option<ArrayProperties> {
    (size > 1).then_some(ArrayProperties { size: Some(size), max_parallel })
}

impl Chaos {
    /// Resources, a queue with a fair-share policy, one with quota shares.
    pub(super) fn define_limits(&mut self) {
        use ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};
        let w = &mut self.w;
        w.consumable(RESOURCES[0], 2, ConsumableResourceType::Replenishable);
        w.consumable(RESOURCES[1], 4, ConsumableResourceType::NonReplenishable);
        w.policy("fair", FairsharePolicy::default());
        w.fair_queue("fair", "fair");
        w.definition("large", "2", "100");
        w.quota_queue();
        let shares =
            [(Reserve, None), (Lend, None), (LendAndBorrow, Some(50)), (LendAndBorrow, None)];
        for (share, (strategy, borrow_limit)) in SHARES.into_iter().zip(shares) {
            w.does(Command::CreateQuotaShare(CreateQuotaShare {
                resource_sharing_configuration: sharing(strategy, borrow_limit),
                ..create(share, 2, strategy)
            }));
        }
    }

    /// Submits what may be refused: its share may be gone.
    fn tries_to_submit(&mut self, request: SubmitJob) {
        let id = JobId::from_u128(2_000_000 + self.jobs.len() as u128);
        let command = Command::Submit { id, request: Box::new(request) };
        if self.w.tries(command).is_ok() {
            self.jobs.push(id);
        }
    }

    pub(super) fn limit(&mut self, limit: &Limit) {
        match *limit {
            Limit::Take { resource, quantity, size, max_parallel, is_fair } => {
                let resource = RESOURCES[usize::from(resource)];
                let request = SubmitJob {
                    consumable_resource_properties_override: takes(resource, quantity),
                    array_properties: array(size, max_parallel),
                    job_queue: if is_fair { "fair" } else { "q" }.into(),
                    share_identifier: is_fair.then(|| "x".into()),
                    ..self.w.retrying(2)
                };
                self.tries_to_submit(request);
            }
            Limit::Total { resource, operation, quantity } => {
                let resource = RESOURCES[usize::from(resource)];
                // Refused if less is there than is to be removed.
                let _ = self.w.tries(update(resource, operation, quantity, None));
            }
            Limit::Change { job, max_parallel, priority } => {
                let Some(job) = self.jobs.get(usize::from(job)) else { return };
                // Refused for single jobs, and in queues without shares.
                let _ = self.w.tries(Command::UpdateJob(UpdateJob {
                    job_id: job.to_string(),
                    max_parallel,
                    scheduling_priority: priority,
                }));
            }
            Limit::Fair { share, size, priority } => {
                let request = SubmitJob {
                    job_queue: "fair".into(),
                    share_identifier: Some(["x", "y", "z"][usize::from(share % 3)].into()),
                    scheduling_priority_override: Some(priority),
                    array_properties: array(size, None),
                    ..self.w.retrying(2)
                };
                self.tries_to_submit(request);
            }
            Limit::Quota { share, size, is_large, priority, preemptions_max } => {
                let request = SubmitJob {
                    job_definition: if is_large { "large" } else { "d" }.into(),
                    array_properties: array(size, None),
                    scheduling_priority_override: Some(priority),
                    preemption_configuration: preemptions_max.map(|most| PreemptionConfiguration {
                        preemption_retries_before_termination: Some(most),
                    }),
                    ..self.of_share(share)
                };
                self.tries_to_submit(request);
            }
            Limit::QuotaNodes { share } => {
                let node_overrides =
                    Some(NodeOverrides { num_nodes: Some(2), ..NodeOverrides::default() });
                let job_definition = "m".into();
                let request = SubmitJob { node_overrides, job_definition, ..self.of_share(share) };
                self.tries_to_submit(request);
            }
            Limit::Share { share, vcpus, strategy, in_share } => {
                self.change_share(share, vcpus, strategy, in_share);
            }
            Limit::Delete { share } => self.delete_share(share),
        }
    }

    fn of_share(&self, share: u8) -> SubmitJob {
        SubmitJob { ..self.w.shared(SHARES[usize::from(share)]) }
    }

    fn change_share(
        &mut self,
        share: u8,
        vcpus: u32,
        strategy: ResourceSharingStrategy,
        in_share: bool,
    ) {
        let name = SHARES[usize::from(share)];
        let like = create(name, vcpus, strategy);
        let in_share = if in_share { ResourceState::Enabled } else { ResourceState::Disabled };
        // Refused while it goes.
        let _ = self.w.tries(Command::UpdateQuotaShare(UpdateQuotaShare {
            quota_share_arn: format!("shared/{name}"),
            capacity_limits: like.capacity_limits,
            resource_sharing_configuration: like.resource_sharing_configuration,
            preemption_configuration: like.preemption_configuration.map(|mut configuration| {
                configuration.in_share_preemption = in_share;
                configuration
            }),
            ..Default::default()
        }));
    }

    fn delete_share(&mut self, share: u8) {
        let name = SHARES[usize::from(share)];
        let like = create(name, 2, ResourceSharingStrategy::Lend);
        if self.w.tries(Command::CreateQuotaShare(like)).is_ok() {
            return;
        }
        let quota_share_arn = format!("shared/{name}");
        let _ = self.w.tries(Command::UpdateQuotaShare(UpdateQuotaShare {
            quota_share_arn: quota_share_arn.clone(),
            state: Some(ResourceState::Disabled),
            ..Default::default()
        }));
        self.w.does(Command::DeleteQuotaShare(DeleteQuotaShare { quota_share_arn }));
    }

    /// There is enough of everything.
    pub(super) fn replenish(&mut self) {
        for resource in RESOURCES {
            self.w.does(Command::UpdateConsumable(UpdateConsumableResource {
                consumable_resource: resource.into(),
                operation: Some(QuantityOperation::Set),
                quantity: Some(10_000),
                client_token: None,
            }));
        }
    }
}

fn limit() -> impl Strategy<Value = Limit> {
    use QuantityOperation::{Add, Remove, Set};
    use ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};
    let parallel = || prop::option::of(1u32..4);
    let share = || 0u8..4;
    prop_oneof![
        4 => (0u8..2, 1u64..4, 1u32..5, parallel(), any::<bool>()).prop_map(
            |(resource, quantity, size, max_parallel, is_fair)| {
                let max_parallel = max_parallel.filter(|_| size > 1);
                Limit::Take { resource, quantity, size, max_parallel, is_fair }
            }
        ),
        2 => (0u8..2, prop_oneof![Just(Set), Just(Add), Just(Remove)], 0u64..5).prop_map(
            |(resource, operation, quantity)| Limit::Total { resource, operation, quantity }
        ),
        2 => (0u8..8, prop::option::of(0u32..4), prop::option::of(0u32..3)).prop_map(
            |(job, max_parallel, priority)| Limit::Change { job, max_parallel, priority }
        ),
        2 => (0u8..3, 1u32..4, 0u32..3)
            .prop_map(|(share, size, priority)| Limit::Fair { share, size, priority }),
        6 => (share(), 1u32..4, any::<bool>(), 0u32..3, prop::option::of(0u32..3)).prop_map(
            |(share, size, is_large, priority, preemptions_max)| {
                Limit::Quota { share, size, is_large, priority, preemptions_max }
            }
        ),
        1 => share().prop_map(|share| Limit::QuotaNodes { share }),
        2 => (share(), 2u32..5, prop_oneof![Just(Reserve), Just(Lend), Just(LendAndBorrow)], any::<bool>())
            .prop_map(|(share, vcpus, strategy, in_share)| {
                Limit::Share { share, vcpus, strategy, in_share }
            }),
        1 => share().prop_map(|share| Limit::Delete { share }),
    ]
}

fn limited_step() -> impl Strategy<Value = Step> {
    let agent = 0u8..3;
    prop_oneof![
        8 => limit().prop_map(Step::Limit),
        3 => (agent.clone(), 2u32..8, any::<bool>())
            .prop_map(|(agent, cpus, keep)| Step::Register { agent, cpus, keep }),
        3 => agent.clone().prop_map(|agent| Step::Start { agent }),
        3 => (agent.clone(), 0i32..2).prop_map(|(agent, code)| Step::End { agent, code }),
        3 => agent.prop_map(|agent| Step::Obey { agent }),
        4 => step(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_whatever_happens_and_everything_ends(
        steps in prop::collection::vec(limited_step(), 1..60)
    ) {
        Chaos::new().run(&steps)?;
    }

    #[test]
    fn quota_shares_keep_their_books_whatever_happens(
        steps in prop::collection::vec(
            prop_oneof![3 => limited_step(), 3 => (0u8..4, 1u32..4, any::<bool>()).prop_map(
                |(share, size, is_large)| Step::Limit(Limit::Quota {
                    share, size, is_large, priority: 0, preemptions_max: None,
                })
            )],
            20..60,
        )
    ) {
        Chaos::new().run(&steps)?;
    }
}
