//! Jobs for people.

use std::fmt::Write;

use windrow_common::api::jobs::{
    ArrayPropertiesDetail, AttemptDetail, DependencyCondition, JobDetail, JobSummary,
    TaskContainerDetail,
};

use crate::output::{Grid, age, or_dash, short, time_or_dash};

/// One row a job.
pub(super) fn list(jobs: &[JobSummary]) -> Grid {
    let row = |job: &JobSummary| {
        let exit = job.container.as_ref().and_then(|container| container.exit_code);
        vec![
            job.job_id.clone(),
            job.job_name.clone(),
            short(&job.job_queue).to_owned(),
            job.status.to_string(),
            or_dash(job.array_properties.as_ref().and_then(array_progress)),
            or_dash(exit),
            age(job.created_at),
            or_dash(waits_for(job)),
        ]
    };
    let headers = &["ID", "NAME", "QUEUE", "STATUS", "DONE", "EXIT", "AGE", "REASON"];
    Grid::new(headers, jobs.iter().map(row).collect())
}

/// The reason of its status, or in one word what it waits for.
fn waits_for(job: &JobSummary) -> Option<String> {
    let code = job.wait_code.map(|code| code.to_string());
    match (code, &job.status_reason) {
        (Some(code), Some(reason)) => Some(format!("{code}: {reason}")),
        (code, reason) => code.or_else(|| reason.clone()),
    }
}

/// `ended/size` of an array.
fn array_progress(array: &ArrayPropertiesDetail) -> Option<String> {
    let size = array.size?;
    let ended = array.status_summary.iter().filter(|(status, _)| status.is_terminal());
    Some(format!("{}/{size}", ended.map(|(_, number)| number).sum::<u32>()))
}

/// Everything about one job, a line each.
pub(super) fn details(job: &JobDetail) -> String {
    let mut lines = vec![
        ("Id", job.job_id.clone()),
        ("Name", job.job_name.clone()),
        ("Queue", short(&job.job_queue).to_owned()),
        ("Definition", short(&job.job_definition).to_owned()),
        ("Status", job.status.to_string()),
        ("Reason", or_dash(job.status_reason.as_ref())),
        ("Created", time_or_dash(Some(job.created_at))),
        ("Started", time_or_dash(job.started_at)),
        ("Stopped", time_or_dash(job.stopped_at)),
    ];
    if let Some(array) = &job.array_properties {
        lines.extend(array.index.map(|index| ("Index", index.to_string())));
        lines.extend(array.size.map(|size| ("Size", size.to_string())));
        lines.extend(array.size.map(|_| ("Children", children(array))));
        lines.extend(array.max_parallel.map(|limit| ("At a time", limit.to_string())));
    }
    if let Some(node) = &job.node_details {
        let main = if node.is_main_node { " (main node)" } else { "" };
        lines.push(("Node", format!("{}{main}", node.node_index)));
    }
    lines.extend(job.node_properties.as_ref().map(|nodes| ("Nodes", nodes.num_nodes.to_string())));
    if let Some(container) = &job.container {
        let properties = &container.properties;
        lines.extend(properties.image.clone().map(|image| ("Image", image)));
        lines.extend(properties.command.as_ref().map(|words| ("Command", shell_words(words))));
        let needs = properties.resource_requirements.iter().flatten();
        let needs: Vec<_> = needs.map(|need| format!("{} {}", need.kind, need.value)).collect();
        lines.push(("Needs", needs.join(", ")));
        lines.extend(properties.working_directory.clone().map(|d| ("Directory", d)));
        lines.extend(container.outcome.exit_code.map(|code| ("Exit code", code.to_string())));
    }
    let tasks = job.ecs_properties.iter().flat_map(|ecs| &ecs.task_properties);
    lines.extend(tasks.flat_map(|t| &t.containers).map(|one| ("Container", container(one))));
    for dependency in &job.depends_on {
        let kind = dependency.kind.map(|kind| format!("{kind:?} ")).unwrap_or_default();
        let how = match dependency.condition.unwrap_or_default() {
            DependencyCondition::Success => "",
            DependencyCondition::Any => ", however it ends",
            DependencyCondition::Failed => ", if it fails",
        };
        lines.push(("Depends on", format!("{kind}{}{how}", or_dash(dependency.job_id.as_ref()))));
    }
    if let Some(share) = &job.share_identifier {
        let priority = job.scheduling_priority.unwrap_or_default();
        lines.push(("Share", format!("{share}, priority {priority}")));
    }
    lines.extend(job.rerun_of.clone().map(|of| ("Rerun of", of)));
    let consumables = job.consumable_resource_properties.iter();
    lines.extend(consumables.flat_map(|p| &p.consumable_resource_list).map(|need| {
        ("Consumable", format!("{} of {}", need.quantity, short(&need.consumable_resource)))
    }));
    lines.extend(job.tags.iter().map(|(key, value)| ("Tag", format!("{key}={value}"))));
    lines.extend(
        job.attempts.iter().zip(1..).map(|(one, number)| ("Attempt", attempt(one, number))),
    );
    let mut text = String::new();
    for (key, value) in lines {
        writeln!(text, "{:<12}{value}", format!("{key}:")).expect("a string takes every write");
    }
    text
}

/// One of several containers: its name, image, and how it ended.
fn container(one: &TaskContainerDetail) -> String {
    let name = or_dash(one.properties.name.as_ref());
    let code = one.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let reason = one.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("{name} {}{code}{reason}", one.properties.image)
}

/// The nodes of a multi-node job, a line each.
pub(super) fn nodes(nodes: &[JobDetail]) -> String {
    let line = |node: &JobDetail| {
        let details = node.node_details.unwrap_or_default();
        let outcome = node.container.as_ref().map(|container| &container.outcome);
        let agent = outcome.and_then(|outcome| outcome.container_instance_arn.as_deref());
        let main = if details.is_main_node { " (main)" } else { "" };
        format!(
            "{:<12}{}{main}: {}, exit code {}, on {}\n",
            "Node:",
            details.node_index,
            node.status,
            or_dash(outcome.and_then(|outcome| outcome.exit_code)),
            or_dash(agent.map(short)),
        )
    };
    nodes.iter().map(line).collect()
}

fn children(array: &ArrayPropertiesDetail) -> String {
    let some = array.status_summary.iter().filter(|(_, number)| **number > 0);
    some.map(|(status, number)| format!("{number} {status}")).collect::<Vec<_>>().join(", ")
}

fn attempt(attempt: &AttemptDetail, number: u32) -> String {
    let container = &attempt.container;
    let mut text = format!(
        "{number}: exit code {}, {} to {}, on {}",
        or_dash(container.exit_code),
        time_or_dash(attempt.started_at),
        time_or_dash(attempt.stopped_at),
        or_dash(container.container_instance_arn.as_deref().map(short)),
    );
    for reason in [&attempt.status_reason, &container.reason].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// The words as one would type them.
fn shell_words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_show_what_a_person_asks_for() {
        let job: JobDetail = serde_json::from_value(json!({
            "jobArn": "a", "jobId": "id", "jobName": "align", "jobQueue": "arn:aws:batch:x:1:job-queue/default",
            "jobDefinition": "arn:aws:batch:x:1:job-definition/adhoc:1", "createdAt": 0, "status": "FAILED",
            "statusReason": "Essential container in task exited", "stoppedAt": 1000,
            "container": {"command": ["sh", "-c", "it's"], "exitCode": 3,
                "resourceRequirements": [{"type": "VCPU", "value": "1"}]},
            "attempts": [{"container": {"exitCode": 3, "containerInstanceArn": "agent-1"}}],
        }))
        .unwrap();
        let expected = "\
Id:         id
Name:       align
Queue:      default
Definition: adhoc:1
Status:     FAILED
Reason:     Essential container in task exited
Created:    1970-01-01T00:00:00.000Z
Started:    -
Stopped:    1970-01-01T00:00:01.000Z
Command:    sh -c 'it'\\''s'
Needs:      VCPU 1
Exit code:  3
Attempt:    1: exit code 3, - to -, on agent-1
";
        assert_eq!(details(&job), expected);
    }

    #[test]
    fn arrays_show_how_many_children_ended() {
        let array: ArrayPropertiesDetail = serde_json::from_value(json!({
            "size": 10, "statusSummary": {"SUCCEEDED": 4, "FAILED": 1, "RUNNING": 5, "PENDING": 0}}))
        .unwrap();
        assert_eq!(array_progress(&array).as_deref(), Some("5/10"));
        assert_eq!(children(&array), "5 RUNNING, 4 SUCCEEDED, 1 FAILED");
    }
}
