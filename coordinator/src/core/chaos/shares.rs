//! Fair share under all kinds of policies, which change while jobs wait and run; among jobs so short
//! that agents hold a backlog of them.

use proptest::prelude::*;
use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::api::policies::{
    FairsharePolicy, ShareAttributes, UpdateSchedulingPolicy, WeightFactor,
};
use windrow_common::api::resources::{UpdateComputeEnvironment, UpdateJobQueue};
use windrow_common::wire::agent::EndCause;

use super::{Chaos, Step, step};
use crate::core::Command;
use crate::core::world::name;

/// Jobs name these; `z1` and `z2` are covered by a prefix at most.
const SHARES: [&str; 4] = ["x", "y", "z1", "z2"];
/// Queue `fair` has the first of them at the start.
const POLICIES: [&str; 2] = ["fair", "other"];

/// Most cores of each of the three agents.
const CPUS_MAX: u32 = 7;

/// One step of somebody who shares.
#[derive(Clone, Debug)]
pub(super) enum Sharing {
    /// A policy becomes another.
    Update(u8, FairsharePolicy),
    /// The queue gets this policy.
    Exchange(u8),
    Submit {
        share: u8,
        size: u32,
        is_large: bool,
        priority: u32,
    },
    /// What the agent began last ends after so many milliseconds.
    EndSoon {
        agent: u8,
        millis: u64,
    },
    /// What the environment is said to have, for the part of it that is kept.
    Say(u32),
}

impl Chaos {
    pub(super) fn define_shares(&mut self) {
        self.w.policy(POLICIES[1], FairsharePolicy::default());
    }

    pub(super) fn share(&mut self, sharing: &Sharing) {
        match sharing {
            Sharing::Update(policy, rules) => {
                self.w.does(Command::UpdatePolicy(UpdateSchedulingPolicy {
                    arn: POLICIES[usize::from(*policy)].into(),
                    fairshare_policy: Some(rules.clone()),
                    quota_share_policy: None,
                }));
            }
            Sharing::Exchange(policy) => {
                self.w.does(Command::UpdateQueue(UpdateJobQueue {
                    job_queue: "fair".into(),
                    scheduling_policy_arn: Some(POLICIES[usize::from(*policy)].into()),
                    ..Default::default()
                }));
            }
            Sharing::Submit { share, size, is_large, priority } => {
                let array = ArrayProperties { size: Some(*size), ..Default::default() };
                let job = self.w.submit(SubmitJob {
                    job_queue: "fair".into(),
                    job_definition: if *is_large { "large" } else { "d" }.into(),
                    share_identifier: Some(SHARES[usize::from(*share)].into()),
                    scheduling_priority_override: Some(*priority),
                    array_properties: (*size > 1).then_some(array),
                    ..self.w.retrying(2)
                });
                self.jobs.push(job);
            }
            Sharing::EndSoon { agent, millis } => {
                if self.look(*agent)
                    && let Some((lease, child)) = self.held[usize::from(*agent)].pop()
                {
                    let cause = EndCause::Exited;
                    let report = self.w.ended_after(*millis, &lease, child, cause, 0);
                    self.tell(*agent, report);
                }
            }
            Sharing::Say(vcpus) => {
                self.w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
                    compute_environment: "e".into(),
                    unmanagedv_cpus: Some(*vcpus),
                    ..Default::default()
                }));
            }
        }
        self.check_fair();
    }

    /// What waits at agents is not held, and no share is active that is not needed.
    fn check_fair(&self) {
        let state = &self.w.state;
        let Some(queue) = state.usage.get(&name("fair")) else { return };
        assert!(
            queue.held <= 3 * 1000 * u64::from(CPUS_MAX),
            "more than agents ever had: {queue:?}"
        );
        for (share, used) in &queue.shares {
            let is_active = used.active_jobs > 0 || used.active_until.is_some();
            assert!(is_active && (used.held == 0 || used.active_jobs > 0), "{share}: {used:?}");
        }
    }
}

fn weight(share: &str, weight: u32) -> ShareAttributes {
    ShareAttributes { share_identifier: share.into(), weight_factor: Some(WeightFactor(weight)) }
}

fn policy() -> impl Strategy<Value = FairsharePolicy> {
    let weights = || prop_oneof![Just(1u32), 1u32..50_000, Just(9_999_999)];
    let shares = prop_oneof![
        Just(Vec::new()),
        (weights(), weights(), weights())
            .prop_map(|(x, y, z)| { vec![weight("x", x), weight("y", y), weight("z*", z)] }),
    ];
    let decay =
        prop_oneof![Just(None), Just(Some(1)), (0u32..5000).prop_map(Some), Just(Some(604_800))];
    let reservation = prop_oneof![3 => Just(None), 2 => (1u32..100).prop_map(Some)];
    (shares, decay, reservation).prop_map(
        |(share_distribution, share_decay_seconds, compute_reservation)| FairsharePolicy {
            share_decay_seconds,
            compute_reservation,
            share_distribution,
        },
    )
}

fn sharing() -> impl Strategy<Value = Sharing> {
    let agent = 0u8..3;
    prop_oneof![
        2 => (0u8..2, policy()).prop_map(|(which, rules)| Sharing::Update(which, rules)),
        1 => (0u8..2).prop_map(Sharing::Exchange),
        6 => (0u8..4, 1u32..40, any::<bool>(), 0u32..3).prop_map(
            |(share, size, is_large, priority)| Sharing::Submit { share, size, is_large, priority }
        ),
        6 => (agent, prop_oneof![0u64..100, 100u64..20_000])
            .prop_map(|(agent, millis)| Sharing::EndSoon { agent, millis }),
        1 => (0u32..8).prop_map(Sharing::Say),
    ]
}

fn shared_step() -> impl Strategy<Value = Step> {
    let agent = 0u8..3;
    prop_oneof![
        8 => sharing().prop_map(Step::Share),
        2 => (agent.clone(), 1..=CPUS_MAX, any::<bool>())
            .prop_map(|(agent, cpus, keep)| Step::Register { agent, cpus, keep }),
        2 => agent.prop_map(|agent| Step::Start { agent }),
        1 => (1u8..200).prop_map(|seconds| Step::Wait { seconds }),
        3 => step(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn shares_are_kept_whatever_happens_and_everything_ends(
        rules in policy(),
        steps in prop::collection::vec(shared_step(), 1..60),
    ) {
        let mut chaos = Chaos::new();
        chaos.share(&Sharing::Update(0, rules));
        chaos.run(&steps)?;
    }
}
