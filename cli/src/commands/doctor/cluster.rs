//! The coordinator, its agents, and what it could not accept.

use windrow_common::api::resources::{AgentDetail, AgentStatus, DescribeCluster, ListAgents};

use super::{Check, Verdict};
use crate::client::Client;

/// The coordinator, and the dead letters.
pub(super) async fn coordinator(client: &Client) -> Vec<Check> {
    let status = match client.call(&DescribeCluster {}).await {
        Ok(status) => status,
        Err(failure) => {
            let check = Check::new("coordinator", Verdict::Failure, failure.message);
            return vec![check.hint(failure.hint.unwrap_or_default())];
        }
    };
    let detail = format!(
        "{} leads, {} stand by; version {}, term {}, {} jobs, {} MiB of memory",
        status.leader,
        status.standbys.len(),
        status.version,
        status.term,
        status.jobs,
        status.memory_bytes >> 20
    );
    let mut checks = vec![Check::new("coordinator", Verdict::Ok, detail)];
    if status.version != env!("CARGO_PKG_VERSION") {
        let detail = format!("the coordinator's is {}", status.version);
        let check = Check::new("version", Verdict::Warning, detail);
        checks.push(check.hint(format!("this program's is {}", env!("CARGO_PKG_VERSION"))));
    }
    checks.extend(status.alarms.iter().map(|alarm| {
        let what = format!("{} {}", alarm.at, alarm.text);
        if let Some(said) = &alarm.acknowledged {
            let detail = format!("acknowledged by {} {}: {what}", said.by, said.at);
            return Check::new("alarm", Verdict::Ok, detail);
        }
        let look = "look whether what is missing matters to you";
        Check::new("alarm", Verdict::Warning, what).hint(match alarm.id {
            0 => "it goes when its cause does".to_owned(),
            id => format!("{look}; then `windrow cluster acknowledge {id}`"),
        })
    }));
    checks.push(dead_letters(client).await);
    checks
}

async fn dead_letters(client: &Client) -> Check {
    const NAME: &str = "dead-letters";
    let stream = client.jetstream().get_stream(client.dead_letter_stream()).await;
    match stream.map(|stream| stream.cached_info().state.messages) {
        Ok(0) => Check::new(NAME, Verdict::Ok, "none"),
        Ok(count) => Check::new(NAME, Verdict::Warning, format!("{count} kept"))
            .hint("`windrow deadletter list` shows what could not be accepted, and why"),
        Err(e) => Check::new(NAME, Verdict::Unknown, e.to_string()),
    }
}

/// The agents.
pub(super) async fn agents(client: &Client) -> Vec<Check> {
    match client.call(&ListAgents {}).await {
        Ok(response) => findings(&response.agents),
        // Said about the coordinator already.
        Err(_) => Vec::new(),
    }
}

fn findings(agents: &[AgentDetail]) -> Vec<Check> {
    let count = |status| agents.iter().filter(|agent| agent.status == status).count();
    let (up, draining, lost) =
        (count(AgentStatus::Up), count(AgentStatus::Draining), count(AgentStatus::Lost));
    let detail = format!("{up} up, {draining} draining, {lost} lost");
    let mut checks = vec![match (up, lost) {
        (0, _) => Check::new("agents", Verdict::Warning, detail)
            .hint("no job can start: start an agent with `windrow-agent`"),
        (_, 1..) => Check::new("agents", Verdict::Warning, detail)
            .hint("`windrow agent list` names those lost; what they ran runs elsewhere"),
        (_, 0) => Check::new("agents", Verdict::Ok, detail),
    }];
    let ours = env!("CARGO_PKG_VERSION");
    let others = agents.iter().filter(|a| a.status == AgentStatus::Up && a.agent_version != ours);
    for agent in others {
        let detail = format!("{} has version {}", agent.agent, agent.agent_version);
        checks.push(Check::new("agent-version", Verdict::Warning, detail));
    }
    checks
}
