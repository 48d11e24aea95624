//! Why a RUNNABLE job waits when no agent could hold it as things are. One that only waits its turn has
//! no reason here.

use windrow_common::api::resources::{AgentStatus, ResourceState};
use windrow_common::ids::Name;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Executor;

use crate::core::State;
use crate::core::state::{Agent, Job};

/// The reason, with AWS's prefix for it; absent when some agent is large and able enough.
pub(super) fn reason(state: &State, job: &Job) -> Option<String> {
    let queue = state.queues.get(&job.queue)?;
    let enabled = |name: &&Name| {
        state.environments.get(*name).is_some_and(|e| e.state == ResourceState::Enabled)
    };
    let environments: Vec<&Name> =
        queue.environments.iter().map(|(_, name)| name).filter(enabled).collect();
    let named = environments.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("`, `");
    if environments.is_empty() {
        return Some(format!(
            "ACTION_REQUIRED - no compute environment of queue `{}` is ENABLED",
            job.queue
        ));
    }
    let up = |agent: &&Agent| {
        agent.status == AgentStatus::Up && environments.contains(&&agent.environment)
    };
    let agents: Vec<&Agent> = state.agents.values().filter(up).collect();
    if agents.is_empty() {
        return Some(format!("ACTION_REQUIRED - no agent of compute environment `{named}` is UP"));
    }
    let spec = &state.specs[&job.spec].spec;
    let able = agents.iter().filter(|agent| agent.executors.contains(&spec.executor));
    let largest = able.clone().map(|agent| agent.resources).max();
    let need = spec.resources;
    match largest {
        None => Some(format!(
            "ACTION_REQUIRED - no agent of compute environment `{named}` runs {}",
            match spec.executor {
                Executor::Docker => "containers: the job has an image, and none of them has Docker",
                Executor::Process => "plain processes: give the job an image",
            }
        )),
        Some(largest) if !able.clone().any(|agent| agent.resources.fits(need)) => {
            Some(too_large(need, largest))
        }
        Some(_) => None,
    }
}

fn too_large(need: Resources, largest: Resources) -> String {
    format!(
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s) attached to the job queue: it needs {need}, the largest agent offers {largest}"
    )
}
