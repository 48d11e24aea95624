//! `windrow consumable ...`: consumable resources.

use windrow_common::api::consumables::{
    ConsumableResourceSummary, ConsumableResourceType, CreateConsumableResource,
    DeleteConsumableResource, DescribeConsumableResource, DescribeConsumableResourceResponse,
    JobByConsumableResource, ListConsumableResources, ListConsumableResourcesResponse,
    ListJobsByConsumableResource, ListJobsByConsumableResourceResponse, QuantityOperation,
    UpdateConsumableResource,
};
use windrow_common::api::jobs::KeyValuesPair;
use windrow_common::ids::JobId;

use crate::args::{ConsumableCommand, QuantityChange};
use crate::client::Client;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View, age, or_dash, short, time_or_dash};
use crate::pages;

pub(super) async fn run(context: &Context, command: ConsumableCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        ConsumableCommand::Create { name, total, non_replenishable, tags } => {
            let request = CreateConsumableResource {
                consumable_resource_name: name.to_string(),
                total_quantity: Some(total),
                resource_type: non_replenishable
                    .then_some(ConsumableResourceType::NonReplenishable),
                tags: tags.map(),
            };
            let response = client.call_once(&request).await?;
            let text = format!("consumable resource {name}: created\n");
            Ok(Answer::one(&response, vec![name.to_string()], text))
        }
        ConsumableCommand::Update { name, change } => {
            let response = client.call(&update(&name, &change)).await?;
            let total = response.total_quantity;
            let text = format!("consumable resource {name}: the total is {total}\n");
            Ok(Answer::one(&response, vec![response.consumable_resource_name.clone()], text))
        }
        ConsumableCommand::List { name } => list(&client, name).await,
        ConsumableCommand::Describe { names } => describe(&client, names).await,
        ConsumableCommand::Delete { name } => {
            let request = DeleteConsumableResource { consumable_resource: name.clone() };
            client.call(&request).await?;
            let text = format!("consumable resource {name}: deleted\n");
            Ok(Answer::one(&request, vec![name], text))
        }
        ConsumableCommand::Jobs { resource, status, name } => {
            jobs(&client, resource, status, name).await
        }
    }
}

/// With a token of its own, so that it may be sent again when no answer comes.
fn update(name: &str, change: &QuantityChange) -> UpdateConsumableResource {
    let (operation, quantity) = match (change.set, change.add) {
        (Some(quantity), _) => (QuantityOperation::Set, Some(quantity)),
        (None, Some(quantity)) => (QuantityOperation::Add, Some(quantity)),
        (None, None) => (QuantityOperation::Remove, change.remove),
    };
    UpdateConsumableResource {
        consumable_resource: name.to_owned(),
        operation: Some(operation),
        quantity,
        client_token: Some(JobId::generate().to_string()),
    }
}

fn filter(name: &str, value: Option<String>) -> Option<KeyValuesPair> {
    value.map(|value| KeyValuesPair { name: name.to_owned(), values: vec![value] })
}

async fn list(client: &Client, name: Option<String>) -> Result<Answer> {
    let filters = filter("CONSUMABLE_RESOURCE_NAME", name).into_iter().collect();
    let request = ListConsumableResources { filters, ..Default::default() };
    let found = pages::all(client, request).await?;
    let row = |one: &ConsumableResourceSummary| {
        vec![
            one.consumable_resource_name.clone(),
            one.total_quantity.to_string(),
            one.in_use_quantity.to_string(),
            one.total_quantity.saturating_sub(one.in_use_quantity).to_string(),
            kind(one.resource_type).to_owned(),
        ]
    };
    let headers = &["NAME", "TOTAL", "IN USE", "AVAILABLE", "TYPE"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let names = found.iter().map(|one| one.consumable_resource_name.clone()).collect();
    let response =
        ListConsumableResourcesResponse { consumable_resources: found, next_token: None };
    let view = View::Grid(grid, "no consumable resources");
    Ok(Answer::list(&response, "consumableResources", names, view))
}

fn kind(kind: ConsumableResourceType) -> &'static str {
    match kind {
        ConsumableResourceType::Replenishable => "REPLENISHABLE",
        ConsumableResourceType::NonReplenishable => "NON_REPLENISHABLE",
    }
}

async fn describe(client: &Client, names: Vec<String>) -> Result<Answer> {
    let mut found = Vec::new();
    for name in names {
        let request = DescribeConsumableResource { consumable_resource: name };
        found.push(client.call(&request).await?);
    }
    let text = found.iter().map(details).collect::<Vec<_>>().join("\n");
    let names = found.iter().map(|one| one.consumable_resource_name.clone()).collect();
    let response = serde_json::json!({ "consumableResources": found });
    Ok(Answer::list(&response, "consumableResources", names, View::Text(text)))
}

fn details(one: &DescribeConsumableResourceResponse) -> String {
    let tags: String =
        one.tags.iter().map(|(key, value)| format!("Tag:        {key}={value}\n")).collect();
    format!(
        "Name:       {}\nType:       {}\nTotal:      {}\nIn use:     {}\nAvailable:  {}\nCreated:    {}\n{tags}",
        one.consumable_resource_name,
        kind(one.resource_type),
        one.total_quantity,
        one.in_use_quantity,
        one.available_quantity,
        time_or_dash(Some(one.created_at)),
    )
}

async fn jobs(
    client: &Client,
    resource: String,
    status: Option<String>,
    name: Option<String>,
) -> Result<Answer> {
    let status = status.map(|status| status.to_uppercase());
    let filters = filter("JOB_STATUS", status).into_iter().chain(filter("JOB_NAME", name));
    let request = ListJobsByConsumableResource {
        consumable_resource: resource,
        filters: filters.collect(),
        ..Default::default()
    };
    let found = pages::all(client, request).await?;
    let row = |job: &JobByConsumableResource| {
        vec![
            short(&job.job_arn).to_owned(),
            job.job_name.clone(),
            short(&job.job_queue_arn).to_owned(),
            job.job_status.to_string(),
            job.quantity.to_string(),
            job.in_use_quantity.to_string(),
            age(job.created_at),
            or_dash(job.status_reason.as_ref()),
        ]
    };
    let headers = &["ID", "NAME", "QUEUE", "STATUS", "QUANTITY", "IN USE", "AGE", "REASON"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let names = found.iter().map(|job| short(&job.job_arn).to_owned()).collect();
    let response = ListJobsByConsumableResourceResponse { jobs: found, next_token: None };
    Ok(Answer::list(&response, "jobs", names, View::Grid(grid, "no jobs")))
}
