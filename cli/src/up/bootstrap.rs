//! Waits for the parts to answer, and creates what a first job needs.

use std::time::Duration;

use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::resources::{
    AgentStatus, ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
    DescribeCluster, DescribeComputeEnvironments, DescribeJobQueues, ListAgents,
};
use windrow_common::subjects::Subjects;

use crate::client::Client;
use crate::commands::ensure_definition;
use crate::failure::{Exit, Result};
use crate::submission::{DEFINITION_DEFAULT, QUEUE_DEFAULT, adhoc_properties};

/// Compute environment of the agents that `windrow up` starts.
pub(super) const ENVIRONMENT: &str = "default";
/// Priority of the default queue: room above and below.
const PRIORITY: u32 = 100;
/// Pause between looks at a part that does not answer yet; it has no way to tell us.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Connects as soon as the server takes connections.
pub(super) async fn connect(url: &str, subjects: &Subjects) -> Result<Client> {
    loop {
        match Client::connect(url, subjects.clone(), None).await {
            Ok(client) => return Ok(client),
            Err(failure) if failure.exit == Exit::Unreachable => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Waits until a coordinator answers.
pub(super) async fn coordinator_answers(client: &Client) -> Result<()> {
    loop {
        match client.call(&DescribeCluster {}).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.exit == Exit::Unreachable => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Creates the default environment, queue and definition where they are not there.
pub(super) async fn create_defaults(client: &Client) -> Result<()> {
    let request = DescribeComputeEnvironments {
        compute_environments: vec![ENVIRONMENT.to_owned()],
        ..Default::default()
    };
    if client.call(&request).await?.compute_environments.is_empty() {
        let request = CreateComputeEnvironment {
            compute_environment_name: ENVIRONMENT.to_owned(),
            kind: "UNMANAGED".to_owned(),
            ..Default::default()
        };
        client.call_once(&request).await?;
    }
    let request =
        DescribeJobQueues { job_queues: vec![QUEUE_DEFAULT.to_owned()], ..Default::default() };
    if client.call(&request).await?.job_queues.is_empty() {
        let order =
            ComputeEnvironmentOrder { order: 1, compute_environment: ENVIRONMENT.to_owned() };
        let request = CreateJobQueue {
            job_queue_name: QUEUE_DEFAULT.to_owned(),
            priority: PRIORITY,
            compute_environment_order: vec![order],
            ..Default::default()
        };
        client.call_once(&request).await?;
    }
    let definition = RegisterJobDefinition {
        job_definition_name: DEFINITION_DEFAULT.to_owned(),
        kind: "container".to_owned(),
        container_properties: Some(adhoc_properties(None, None)),
        ..Default::default()
    };
    ensure_definition(client, &definition).await.map(|_| ())
}

/// Waits until all the named agents are up.
pub(super) async fn agents_are_up(client: &Client, names: &[String]) -> Result<()> {
    loop {
        let agents = client.call(&ListAgents {}).await?.agents;
        let is_up = |name: &String| {
            let is = |status| matches!(status, AgentStatus::Up | AgentStatus::Draining);
            agents.iter().any(|agent| agent.agent == *name && is(agent.status))
        };
        if names.iter().all(is_up) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
