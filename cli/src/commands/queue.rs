//! `windrow queue ...`.

use windrow_common::api::explain::{ExplainQueue, QueueReason};
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateJobQueue, DeleteJobQueue, DescribeJobQueues,
    DescribeJobQueuesResponse, JobQueueDetail, JobQueueResponse, ResourceState, UpdateJobQueue,
};
use windrow_common::api::snapshot::{FrontOfQueueJob, GetJobQueueSnapshot};

use crate::args::QueueCommand;
use crate::client::Client;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View, list_or_dash, or_dash, short, time_or_dash};
use crate::pages;

pub(super) async fn run(context: &Context, command: QueueCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        QueueCommand::Create { name, priority, compute_environments, disabled, words, tags } => {
            let request = CreateJobQueue {
                job_queue_name: name.to_string(),
                priority,
                state: disabled.then_some(ResourceState::Disabled),
                compute_environment_order: order(compute_environments),
                tags: tags.map(),
                scheduling_policy_arn: words.policy,
                job_state_time_limit_actions: words.time_limit_action,
                ..Default::default()
            };
            Ok(changed(&client.call_once(&request).await?, "created"))
        }
        QueueCommand::List => Ok(answer(find(&client, vec![]).await?)),
        QueueCommand::Get { names } => Ok(answer(find(&client, names).await?)),
        QueueCommand::Front { name } => front(&client, name).await,
        QueueCommand::Why { name } => why(context, &client, name).await,
        QueueCommand::Update {
            name,
            priority,
            compute_environments,
            enable,
            disable,
            words,
            no_time_limit_actions,
        } => {
            let actions = words.time_limit_action;
            let request = UpdateJobQueue {
                job_queue: name,
                priority,
                state: super::state(enable, disable),
                compute_environment_order: order(compute_environments),
                scheduling_policy_arn: words.policy,
                job_state_time_limit_actions: (no_time_limit_actions || !actions.is_empty())
                    .then_some(actions),
                ..Default::default()
            };
            Ok(changed(&client.call(&request).await?, "updated"))
        }
        QueueCommand::Delete { name } => {
            client.call(&DeleteJobQueue { job_queue: name.clone() }).await?;
            let gone = JobQueueResponse { job_queue_name: name, ..Default::default() };
            Ok(changed(&gone, "delete requested"))
        }
    }
}

async fn front(client: &Client, name: String) -> Result<Answer> {
    let response = client.call(&GetJobQueueSnapshot { job_queue: name }).await?;
    let row = |(job, place): (&FrontOfQueueJob, u32)| {
        let since = time_or_dash(Some(job.earliest_time_at_position));
        vec![short(&job.job_arn).to_owned(), place.to_string(), since]
    };
    let rows = response.front_of_queue.jobs.iter().zip(1..).map(row).collect();
    let names = response.front_of_queue.jobs.iter();
    let names = names.map(|job| short(&job.job_arn).to_owned()).collect();
    let mut answer = Answer::one(&response, names, String::new());
    answer.view = View::Grid(Grid::new(&["ID", "POSITION", "SINCE"], rows), "no job waits");
    Ok(answer)
}

async fn why(context: &Context, client: &Client, name: Option<String>) -> Result<Answer> {
    let response = client.call(&ExplainQueue { job_queue: name }).await?;
    let row = |reason: &QueueReason| {
        vec![
            reason.job_queue.clone(),
            reason.code.to_string(),
            reason.children.to_string(),
            reason.jobs.to_string(),
            reason.example.clone(),
            reason.message.clone(),
        ]
    };
    if response.jobs_not_looked_at > 0 {
        context.printer.say(&format!(
            "{} more jobs were not looked at: ready ones count as one child each, others not at all",
            response.jobs_not_looked_at
        ));
    }
    let headers = &["QUEUE", "REASON", "CHILDREN", "JOBS", "SUCH AS", "WHICH MEANS"];
    let grid = Grid::new(headers, response.reasons.iter().map(row).collect());
    let names = response.reasons.iter().map(|reason| reason.code.to_string()).collect();
    Ok(Answer::list(&response, "reasons", names, View::Grid(grid, "no job waits")))
}

fn order(names: Vec<String>) -> Vec<ComputeEnvironmentOrder> {
    let entry =
        |(compute_environment, order)| ComputeEnvironmentOrder { order, compute_environment };
    names.into_iter().zip(1..).map(entry).collect()
}

fn changed(response: &JobQueueResponse, what: &str) -> Answer {
    let name = response.job_queue_name.clone();
    let text = format!("queue {name}: {what}\n");
    Answer::one(response, vec![name], text)
}

/// These queues, or all.
///
/// Errors: one of them does not exist.
async fn find(client: &Client, names: Vec<String>) -> Result<Vec<JobQueueDetail>> {
    let request = DescribeJobQueues { job_queues: names.clone(), ..Default::default() };
    let found = pages::all(client, request).await?;
    super::all_found(("queue", "queue"), &names, &found, |queue| {
        [&queue.job_queue_name, &queue.job_queue_arn]
    })?;
    Ok(found)
}

fn answer(queues: Vec<JobQueueDetail>) -> Answer {
    let row = |queue: &JobQueueDetail| {
        let order = queue.compute_environment_order.iter().map(|entry| &entry.compute_environment);
        let services = queue.service_environment_order.iter();
        let order = order.chain(services.map(|entry| &entry.service_environment));
        let order: Vec<_> = order.map(|arn| short(arn)).collect();
        vec![
            queue.job_queue_name.clone(),
            queue.priority.to_string(),
            format!("{:?}", queue.state).to_uppercase(),
            queue.status.clone(),
            list_or_dash(&order),
            or_dash(queue.scheduling_policy_arn.as_deref().map(short)),
            queue.active_jobs.to_string(),
        ]
    };
    let headers = &["NAME", "PRIORITY", "STATE", "STATUS", "ENVIRONMENTS", "POLICY", "ACTIVE JOBS"];
    let grid = Grid::new(headers, queues.iter().map(row).collect());
    let names = queues.iter().map(|queue| queue.job_queue_name.clone()).collect();
    let response = DescribeJobQueuesResponse { job_queues: queues, next_token: None };
    Answer::list(&response, "jobQueues", names, View::Grid(grid, "no queues"))
}
