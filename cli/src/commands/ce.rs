//! `windrow ce ...`: compute environments.

use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::api::resources::{
    ComputeEnvironmentDetail, ComputeEnvironmentResponse, CreateComputeEnvironment,
    DeleteComputeEnvironment, DescribeComputeEnvironments, DescribeComputeEnvironmentsResponse,
    ResourceState, UpdateComputeEnvironment,
};
use windrow_common::units::vcpus;

use crate::args::CeCommand;
use crate::client::Client;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View, list_or_dash, or_dash};
use crate::pages;

pub(super) async fn run(context: &Context, command: CeCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        CeCommand::Create { name, disabled, unmanaged_vcpus, disconnect, tags } => {
            let request = CreateComputeEnvironment {
                compute_environment_name: name.to_string(),
                kind: "UNMANAGED".to_owned(),
                state: disabled.then_some(ResourceState::Disabled),
                unmanagedv_cpus: unmanaged_vcpus,
                tags: tags.map(),
                disconnect: disconnect.policy(),
                ..Default::default()
            };
            Ok(changed(&client.call_once(&request).await?, "created"))
        }
        CeCommand::List => Ok(answer(find(&client, vec![]).await?)),
        CeCommand::Get { names } => Ok(answer(find(&client, names).await?)),
        CeCommand::Update { name, enable, disable, unmanaged_vcpus, disconnect } => {
            let request = UpdateComputeEnvironment {
                compute_environment: name,
                state: super::state(enable, disable),
                unmanagedv_cpus: unmanaged_vcpus,
                disconnect: disconnect.policy(),
                ..Default::default()
            };
            Ok(changed(&client.call(&request).await?, "updated"))
        }
        CeCommand::Delete { name } => {
            client.call(&DeleteComputeEnvironment { compute_environment: name.clone() }).await?;
            let gone =
                ComputeEnvironmentResponse { compute_environment_name: name, ..Default::default() };
            Ok(changed(&gone, "deleted"))
        }
    }
}

fn changed(response: &ComputeEnvironmentResponse, what: &str) -> Answer {
    let name = response.compute_environment_name.clone();
    let text = format!("compute environment {name}: {what}\n");
    Answer::one(response, vec![name], text)
}

/// These compute environments, or all.
///
/// Errors: one of them does not exist.
async fn find(client: &Client, names: Vec<String>) -> Result<Vec<ComputeEnvironmentDetail>> {
    let request =
        DescribeComputeEnvironments { compute_environments: names.clone(), ..Default::default() };
    let found = pages::all(client, request).await?;
    super::all_found(("compute environment", "ce"), &names, &found, |ce| {
        [&ce.compute_environment_name, &ce.compute_environment_arn]
    })?;
    Ok(found)
}

/// What happens when an agent cannot be heard, where it is not as usual.
fn disconnect(policy: &DisconnectPolicy) -> String {
    let lost = policy.lost_after_seconds.map(|seconds| format!("lost after {seconds}s"));
    let stop = policy.stop_after_seconds.map(|seconds| format!("stops itself after {seconds}s"));
    let keeps = policy.reconcile.filter(|reconcile| *reconcile == Reconcile::KeepOriginal);
    let keeps = keeps.map(|_| "keeps originals".to_owned());
    let strict = policy.strict.filter(|strict| *strict).map(|_| "strict".to_owned());
    list_or_dash(&[lost, stop, keeps, strict].into_iter().flatten().collect::<Vec<_>>())
}

fn answer(found: Vec<ComputeEnvironmentDetail>) -> Answer {
    let row = |ce: &ComputeEnvironmentDetail| {
        vec![
            ce.compute_environment_name.clone(),
            ce.kind.clone(),
            format!("{:?}", ce.state).to_uppercase(),
            ce.status.clone(),
            ce.agents.to_string(),
            vcpus(ce.total_milli_cpu),
            or_dash(ce.unmanagedv_cpus),
            disconnect(&ce.disconnect),
        ]
    };
    let headers =
        &["NAME", "TYPE", "STATE", "STATUS", "AGENTS", "VCPUS", "UNMANAGED VCPUS", "DISCONNECT"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let names = found.iter().map(|ce| ce.compute_environment_name.clone()).collect();
    let response =
        DescribeComputeEnvironmentsResponse { compute_environments: found, next_token: None };
    Answer::list(&response, "computeEnvironments", names, View::Grid(grid, "no environments"))
}
