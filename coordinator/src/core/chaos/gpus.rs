//! GPUs on agents that come with other numbers of them than they left with, and jobs of several
//! containers, on agents that have a container engine or not.

use proptest::prelude::*;
use serde_json::json;
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::wire::agent::{ContainerEnd, EndCause, Executor, Gpu, Register, Report};

use super::{Chaos, Step, step};
use crate::core::Command;

/// One step of somebody whose jobs need more than cores and memory.
#[derive(Clone, Debug)]
pub(super) enum Device {
    /// An agent joins with so many GPUs, and perhaps a container engine; it holds what it held, if its
    /// GPUs are still there.
    Join { agent: u8, cpus: u32, gpus: u32, has_engine: bool },
    /// A job whose children need so many GPUs.
    Submit { gpus: u32, size: u32, is_fair: bool },
    /// A job of two containers.
    Group { size: u32, gpus: u32 },
    /// What the agent began last ends, container by container.
    EndGroup { agent: u8, code: i32, is_started: bool },
}

fn definition(value: serde_json::Value) -> Command {
    let request: RegisterJobDefinition = serde_json::from_value(value).unwrap();
    Command::RegisterDefinition(Box::new(request))
}

fn need(gpus: u32) -> serde_json::Value {
    let mut need =
        vec![json!({"type": "VCPU", "value": "1"}), json!({"type": "MEMORY", "value": "64"})];
    need.extend((gpus > 0).then(|| json!({"type": "GPU", "value": gpus.to_string()})));
    need.into()
}

pub(super) fn with_gpus(request: Register, count: u32) -> Register {
    let gpu = |i| Gpu { id: format!("GPU-{i}"), model: "Model T".into(), memory_mib: 1024 };
    Register {
        resources: request.resources.with_gpu(count),
        gpus: (0..count).map(gpu).collect(),
        ..request
    }
}

impl Chaos {
    /// Definitions `gpu-N` and `group-N` of jobs that need N GPUs.
    pub(super) fn define_devices(&mut self) {
        for gpus in 0..4 {
            self.w.does(definition(json!({
                "jobDefinitionName": format!("gpu-{gpus}"), "type": "container",
                "containerProperties": {"command": ["x"], "resourceRequirements": need(gpus)}})));
            let container = |name: &str, gpus: u32, essential: bool| {
                json!({"name": name, "image": "busybox", "essential": essential,
                    "resourceRequirements": need(gpus)})
            };
            self.w.does(definition(json!({
                "jobDefinitionName": format!("group-{gpus}"), "type": "container",
                "ecsProperties": {"taskProperties": [{"containers":
                    [container("app", gpus, true), container("side", 0, false)]}]}})));
        }
    }

    pub(super) fn device(&mut self, device: &Device) {
        match *device {
            Device::Join { agent, cpus, gpus, has_engine } => {
                self.join(agent, cpus, true, |mut request| {
                    if has_engine {
                        request.executors.push(Executor::Docker);
                    }
                    with_gpus(request, gpus)
                });
            }
            Device::Submit { gpus, size, is_fair } => {
                self.submit_of(&format!("gpu-{gpus}"), size, is_fair);
            }
            Device::Group { size, gpus } => self.submit_of(&format!("group-{gpus}"), size, false),
            Device::EndGroup { agent, code, is_started } => {
                if self.look(agent)
                    && let Some((lease, child)) = self.held[usize::from(agent)].pop()
                {
                    let Report::Ended(mut ended) =
                        self.w.ended(&lease, child, EndCause::Exited, code)
                    else {
                        unreachable!("an end is an end")
                    };
                    let exit_code = is_started.then_some(code);
                    let end =
                        |name: &str| ContainerEnd { name: name.into(), exit_code, reason: None };
                    ended.containers = vec![end("app"), end("side")];
                    self.tell(agent, Report::Ended(ended));
                }
            }
        }
        self.check_devices();
    }

    fn submit_of(&mut self, definition: &str, size: u32, is_fair: bool) {
        let array = ArrayProperties { size: Some(size), ..ArrayProperties::default() };
        let job = self.w.submit(SubmitJob {
            job_queue: if is_fair { "fair" } else { "q" }.into(),
            share_identifier: is_fair.then(|| "x".into()),
            job_definition: definition.into(),
            array_properties: (size > 1).then_some(array),
            ..self.w.retrying(2)
        });
        self.jobs.push(job);
    }

    /// Of an agent that came with fewer than its children have, nothing more is given out.
    fn check_devices(&self) {
        for agent in self.w.state.agents.values() {
            let leased: u64 = (agent.leases.iter())
                .map(|id| &self.w.state.leases[id])
                .map(|lease| u64::from(lease.resources.gpu) * children(lease))
                .sum();
            assert_eq!(leased, agent.leased.gpus);
            let free = u64::from(agent.resources.gpu).saturating_sub(leased);
            assert_eq!(u64::from(agent.free().gpu), free);
        }
    }
}

fn children(lease: &crate::core::state::Lease) -> u64 {
    lease.children.iter().map(|range| u64::from(range.end - range.start)).sum()
}

fn device() -> impl Strategy<Value = Device> {
    let agent = 0u8..3;
    prop_oneof![
        3 => (agent.clone(), 1u32..5, 0u32..4, any::<bool>()).prop_map(
            |(agent, cpus, gpus, has_engine)| Device::Join { agent, cpus, gpus, has_engine }
        ),
        4 => (0u32..4, 1u32..5, any::<bool>())
            .prop_map(|(gpus, size, is_fair)| Device::Submit { gpus, size, is_fair }),
        3 => (1u32..4, 0u32..3).prop_map(|(size, gpus)| Device::Group { size, gpus }),
        5 => (agent, 0i32..2, any::<bool>())
            .prop_map(|(agent, code, is_started)| Device::EndGroup { agent, code, is_started }),
    ]
}

fn device_step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => device().prop_map(Step::Device), 2 => step()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn devices_add_up_whatever_happens_and_everything_ends(
        steps in prop::collection::vec(device_step(), 1..60),
    ) {
        Chaos::new().run(&steps)?;
    }
}
