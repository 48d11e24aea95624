//! Whatever shares there are and whoever submits what: everybody gets what is its own, in finitely
//! many steps. That nothing is used beyond what may be is checked at each grant
//! (`invariants::check_grant`).

use std::collections::BTreeMap;

use proptest::prelude::*;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::quota::{
    CreateQuotaShare, QuotaSharePreemptionConfiguration, ResourceSharingStrategy,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::lease::Lease;

use super::{create, sharing};
use crate::core::Command;
use crate::core::event::Event;
use crate::core::quota::{Books, amounts};
use crate::core::world::{World, name};

use ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};

const SHARES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
struct Share {
    vcpus: u32,
    strategy: ResourceSharingStrategy,
    borrow_limit: Option<i32>,
    in_share: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    share: usize,
    vcpus: u32,
    priority: u32,
}

fn share() -> impl Strategy<Value = Share> {
    let strategy = prop_oneof![Just(Reserve), Just(Lend), Just(LendAndBorrow)];
    (1u32..6, strategy, prop::option::of(0i32..201), any::<bool>()).prop_map(
        |(vcpus, strategy, borrow_limit, in_share)| {
            let borrow_limit = borrow_limit.filter(|_| strategy == LendAndBorrow);
            Share { vcpus, strategy, borrow_limit, in_share }
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    (0..SHARES.len(), 1u32..4, 0u32..3).prop_map(|(share, vcpus, priority)| Asked {
        share,
        vcpus,
        priority,
    })
}

/// Nobody ends by itself; whoever is told to stop does.
struct Still {
    w: World,
    leases: BTreeMap<Name, Vec<Lease>>,
    jobs: Vec<JobId>,
}

impl Still {
    fn new(shares: &[Share], agents: &[u32]) -> Self {
        let mut w = World::new();
        w.quota_queue();
        for vcpus in 1..4 {
            w.definition(&format!("of{vcpus}"), &vcpus.to_string(), "100");
        }
        for (name, share) in SHARES.into_iter().zip(shares) {
            let in_share_preemption =
                if share.in_share { ResourceState::Enabled } else { ResourceState::Disabled };
            w.does(Command::CreateQuotaShare(CreateQuotaShare {
                resource_sharing_configuration: sharing(share.strategy, share.borrow_limit),
                preemption_configuration: Some(QuotaSharePreemptionConfiguration {
                    in_share_preemption,
                }),
                ..create(name, share.vcpus, share.strategy)
            }));
        }
        let agents = agents.iter().enumerate();
        let agents = agents.map(|(number, cpus)| w.agent(&format!("agent{number}"), *cpus));
        let leases = agents.map(|agent| (agent, Vec::new())).collect();
        Self { w, leases, jobs: Vec::new() }
    }

    fn submit(&mut self, asked: &Asked) {
        let job = self.w.submit(SubmitJob {
            job_definition: format!("of{}", asked.vcpus),
            scheduling_priority_override: Some(asked.priority),
            ..self.w.shared(SHARES[asked.share])
        });
        self.jobs.push(job);
    }

    /// Agents start what they were leased and stop what they are told to. Gives how many they
    /// stopped.
    fn round(&mut self) -> usize {
        let mut stopped = 0;
        for (agent, leases) in &mut self.leases {
            leases.extend(self.w.start_all(agent));
            stopped += self.w.obey(agent, leases);
        }
        stopped
    }

    /// Until nobody is told to stop any more.
    fn rest(&mut self) {
        let rounds_max = self.jobs.len() * self.jobs.len() + 1;
        let mut rounds = 0;
        while self.round() > 0 {
            rounds += 1;
            assert!(rounds <= rounds_max, "they stop each other without end");
        }
        assert!(self.w.state.preemptions.is_empty());
    }

    fn preemptions(&self) -> usize {
        let count = |event: &Event| {
            if let Event::ChildrenPreempted(preempted) = event {
                preempted.children.len()
            } else {
                0
            }
        };
        self.w.log().iter().map(count).sum()
    }

    /// Of each share the first job that waits, and what it needs.
    fn first_waiting(&self) -> Vec<(Name, JobId, [u64; 3])> {
        let ready = &self.w.state.index.ready;
        let first = |share: &str| {
            let share = name(share);
            let (rank, shape) =
                ready.share(&name("shared"), Some(&share))?.head(std::ops::Bound::Unbounded)?;
            Some((share, rank.job, amounts(shape.resources)))
        };
        SHARES.into_iter().filter_map(first).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_owner_gets_its_own_back(
        shares in prop::collection::vec(share(), SHARES.len()),
        waves in prop::collection::vec(prop::collection::vec(asked(), 1..8), 1..4),
    ) {
        // Room for all that the shares own: only the books decide.
        let room = shares.iter().map(|share| share.vcpus).sum();
        let mut still = Still::new(&shares, &[room]);
        for wave in waves {
            wave.iter().for_each(|asked| still.submit(asked));
            still.rest();
            let queue = name("shared");
            let books = Books::of(&still.w.state, &queue).unwrap();
            for (share, job, need) in still.first_waiting() {
                let vcpus = need[0];
                let limit = u64::from(shares[SHARES.iter().position(|s| share.as_str() == *s).unwrap()].vcpus);
                prop_assert!(
                    vcpus > limit || !books.is_own(&share, need),
                    "job {job} of `{share}` waits for its own: {books:?}"
                );
            }
        }
        still.w.check_replay();
    }

    #[test]
    fn nobody_is_stopped_without_end(
        shares in prop::collection::vec(share(), SHARES.len()),
        agents in prop::collection::vec(1u32..6, 1..4),
        waves in prop::collection::vec(prop::collection::vec(asked(), 1..8), 1..4),
    ) {
        let mut still = Still::new(&shares, &agents);
        for wave in waves {
            wave.iter().for_each(|asked| still.submit(asked));
            still.rest();
        }
        let jobs = still.jobs.len();
        prop_assert!(still.preemptions() <= jobs * jobs, "{} of {jobs}", still.preemptions());
        still.w.check_replay();
    }
}
