//! Multi-node jobs among the others, on agents that obey stops or do not.

use proptest::prelude::*;
use windrow_common::api::jobs::{NodeOverrides, SubmitJob};
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::{Lease, Order};

use super::{Chaos, Step, step};
use crate::core::Command;
use crate::core::stories::nodes::{multinode, range};

impl Chaos {
    /// Definition `m`: nodes of one core each.
    pub(super) fn define_nodes(&mut self) {
        let definition = multinode("m", 2, vec![range(":", "1")]);
        self.w.does(Command::RegisterDefinition(Box::new(definition)));
    }

    pub(super) fn submit_nodes(&mut self, count: u32, attempts: u32) {
        let node_overrides =
            Some(NodeOverrides { num_nodes: Some(count), ..NodeOverrides::default() });
        let job_definition = "m".to_owned();
        let request = SubmitJob { node_overrides, job_definition, ..self.w.retrying(attempts) };
        let job = self.w.submit(request);
        self.jobs.push(job);
    }

    /// The agent stops what it was told to stop.
    pub(super) fn obey(&mut self, index: u8) {
        if !self.look(index) {
            return;
        }
        let orders = self.w.orders.remove(&Self::agent(index)).unwrap_or_default();
        for order in orders {
            let Order::Stop(stop) = order else { continue };
            let held = &mut self.held[usize::from(index)];
            let is_meant = |(lease, _): &mut (Lease, u32)| lease.id == stop.lease;
            let stopped: Vec<_> = held.extract_if(.., is_meant).collect();
            for (lease, child) in stopped {
                let report = self.w.ended(&lease, child, EndCause::Stopped, 143);
                self.tell(index, report);
            }
        }
    }
}

/// Mostly what concerns multi-node jobs.
fn nodes_step() -> impl Strategy<Value = Step> {
    let agent = 0u8..3;
    prop_oneof![
        3 => (2u32..5, 1u32..3).prop_map(|(count, attempts)| Step::Nodes { count, attempts }),
        3 => (agent.clone(), 2u32..4, any::<bool>())
            .prop_map(|(agent, cpus, keep)| Step::Register { agent, cpus, keep }),
        6 => agent.clone().prop_map(|agent| Step::Start { agent }),
        4 => (agent.clone(), 0i32..2).prop_map(|(agent, code)| Step::End { agent, code }),
        3 => agent.prop_map(|agent| Step::Obey { agent }),
        4 => step(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nodes_act_together_whatever_happens(steps in prop::collection::vec(nodes_step(), 1..60)) {
        Chaos::new().run(&steps)?;
    }
}
