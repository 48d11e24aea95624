//! `windrow agent ...`.

use std::collections::BTreeSet;

use serde_json::json;
use windrow_common::api::resources::{AgentDetail, DrainAgent, ListAgents};
use windrow_common::units::{MiB, MilliCpu};

use crate::args::AgentCommand;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View, list_or_dash, or_dash};

pub(super) async fn run(context: &Context, command: AgentCommand) -> Result<Answer> {
    let client = context.client().await?;
    let (agent, drain) = match command {
        AgentCommand::List => {
            let response = client.call(&ListAgents {}).await?;
            let rows = response.agents.iter().map(row).collect();
            let grid = Grid::new(HEADERS, rows);
            let names = response.agents.iter().map(|agent| agent.agent.clone()).collect();
            return Ok(Answer::list(&response, "agents", names, View::Grid(grid, "no agents")));
        }
        AgentCommand::Drain { name } => (name, true),
        AgentCommand::Undrain { name } => (name, false),
    };
    client.call(&DrainAgent { agent: agent.clone(), drain }).await?;
    let what = if drain { "takes no new work" } else { "takes work again" };
    let text = format!("agent {agent}: {what}\n");
    Ok(Answer::one(&json!({ "agent": agent, "drain": drain }), vec![agent], text))
}

const HEADERS: &[&str] = &[
    "NAME",
    "HOST",
    "ENVIRONMENT",
    "STATUS",
    "VCPUS",
    "MEMORY MIB",
    "GPUS",
    "CHILDREN",
    "RUNS",
    "HEARD",
    "CLOCK",
    "PROBLEMS",
];

/// How many of how many are leased, and their models.
fn gpus(agent: &AgentDetail) -> String {
    if agent.total_gpus == 0 {
        return "-".to_owned();
    }
    let models: BTreeSet<&str> = agent.gpus.iter().map(|gpu| gpu.model.as_str()).collect();
    let models: Vec<&str> = models.into_iter().collect();
    let count = format!("{}/{} {}", agent.leased_gpus, agent.total_gpus, models.join(", "));
    count.trim_end().to_owned()
}

/// How far the agent's clock is from the coordinator's; what heartbeats cannot tell apart is none.
fn clock(skew_millis: i64) -> String {
    match skew_millis {
        -999..=999 => "ok".to_owned(),
        ahead => format!("{:+}s", ahead / 1000),
    }
}

fn row(agent: &AgentDetail) -> Vec<String> {
    let executors: Vec<String> =
        agent.executors.iter().map(|executor| format!("{executor:?}").to_lowercase()).collect();
    let (used, total) = (MilliCpu(agent.leased_milli_cpu), MilliCpu(agent.total_milli_cpu));
    let (used_memory, memory) = (MiB(agent.leased_memory_mib), MiB(agent.total_memory_mib));
    vec![
        agent.agent.clone(),
        agent.host.clone(),
        agent.compute_environment.clone(),
        format!("{:?}", agent.status).to_uppercase(),
        format!("{used}/{total}"),
        format!("{used_memory}/{memory}"),
        gpus(agent),
        agent.leased_children.to_string(),
        list_or_dash(&executors),
        or_dash(agent.last_heard_millis.map(|millis| format!("{}s ago", millis / 1000))),
        or_dash(agent.clock_skew_millis.map(clock)),
        list_or_dash(&agent.problems.iter().map(|p| p.message.clone()).collect::<Vec<_>>()),
    ]
}
