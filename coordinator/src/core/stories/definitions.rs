//! Definitions: registered, described, used by jobs.

use serde_json::{Value, json};
use windrow_common::api::definitions::{
    DeregisterJobDefinition, DescribeJobDefinitions, JobDefinitionDetail, RegisterJobDefinition,
};
use windrow_common::api::jobs::SubmitJob;
use windrow_common::ids::JobId;
use windrow_common::wire::agent::EndCause;

use crate::core::Command;
use crate::core::limits::Limits;
use crate::core::world::World;
use crate::view;

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// A definition that says something in every field that a single container has.
fn full() -> Value {
    json!({
        "jobDefinitionName": "full", "type": "container", "propagateTags": true,
        "parameters": {"p": "v"}, "tags": {"team": "a"}, "platformCapabilities": ["EC2"],
        "retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "1*", "action": "RETRY"}]},
        "timeout": {"attemptDurationSeconds": 60},
        "containerProperties": {
            "image": "busybox", "command": ["Ref::p"], "vcpus": 1, "memory": 64, "jobRoleArn": "r",
            "volumes": [{"name": "v", "host": {"sourcePath": "/srv"}}], "ulimits": [],
            "mountPoints": [{"containerPath": "/v", "sourceVolume": "v"}],
            "linuxParameters": {"devices": []}, "executionRoleArn": "e", "enableExecuteCommand": true,
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}}
        }
    })
}

impl World {
    fn registers(&mut self, definition: &Value) {
        self.does(Command::RegisterDefinition(Box::new(read(definition))));
    }

    fn definitions(&self, request: &Value) -> Vec<JobDefinitionDetail> {
        let request: DescribeJobDefinitions = read(request);
        view::describe_definitions(&self.state, &request).unwrap().job_definitions
    }

    fn refuses(&mut self, request: SubmitJob) -> String {
        let id = JobId::from_u128(99);
        self.refused(Command::Submit { id, request: Box::new(request) }).message
    }
}

#[test]
fn a_definition_comes_back_as_it_was_registered() {
    let mut w = World::new();
    w.registers(&full());
    let mut shown =
        serde_json::to_value(w.definitions(&json!({"jobDefinitions": ["full:1"]}))).unwrap();
    let shown = shown[0].as_object_mut().unwrap();
    assert_eq!(shown.remove("status").unwrap(), "ACTIVE");
    assert_eq!(shown.remove("revision").unwrap(), 1);
    assert_eq!(shown.remove("containerOrchestrationType").unwrap(), "ECS");
    assert!(shown.remove("jobDefinitionArn").unwrap().as_str().unwrap().ends_with("full:1"));
    assert_eq!(Value::Object(shown.clone()), full());
    w.check_replay();
}

#[test]
fn a_job_shows_what_it_runs_after_merging_with_empty_lists() {
    let mut w = World::new();
    w.registers(&full());
    let request = json!({"jobName": "j", "jobQueue": "q", "jobDefinition": "full",
        "parameters": {"p": "w"}, "containerOverrides": {"memory": 128}, "propagateTags": false});
    let job = w.submit(read(&request));
    let detail = w.detail(job);
    assert!(!detail.propagate_tags);
    assert_eq!(detail.platform_capabilities, ["EC2"]);
    assert_eq!(detail.retry_strategy.unwrap().attempts, Some(2));
    let shown = serde_json::to_value(detail.container).unwrap();
    for list in ["environment", "resourceRequirements", "secrets", "ulimits"] {
        assert_eq!(shown[list], json!([]), "{list}");
    }
    assert_eq!((&shown["command"], &shown["memory"]), (&json!(["w"]), &json!(128)));
    assert_eq!(shown["jobRoleArn"], "r");
    assert_eq!(shown["logConfiguration"]["options"]["awslogs-group"], "g");
    w.check_replay();
}

#[test]
fn a_job_of_several_containers_shows_each() {
    let mut w = World::new();
    let needs = json!([{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]);
    let one = |name: &str| json!({"name": name, "image": "busybox", "resourceRequirements": needs});
    w.registers(&json!({"jobDefinitionName": "two", "type": "container",
        "ecsProperties": {"taskProperties": [{"containers": [one("a"), one("b")], "ipcMode": "task"}]}}));
    let job = w.submit(SubmitJob { job_definition: "two".into(), ..w.request() });
    let detail = w.detail(job);
    assert!(detail.container.is_none());
    let shown = serde_json::to_value(detail.ecs_properties).unwrap();
    let task = &shown["taskProperties"][0];
    assert_eq!(task["ipcMode"], "task");
    assert_eq!(
        (&task["containers"][1]["name"], &task["containers"][1]["ulimits"]),
        (&json!("b"), &json!([]))
    );
    assert_eq!(task["containers"].as_array().unwrap().len(), 2);
    w.check_replay();
}

#[test]
fn definitions_are_described_by_name_revision_status_and_page() {
    let mut w = World::new();
    for _ in 0..3 {
        w.registers(&full());
    }
    let job_definition = "full:2".to_owned();
    w.does(Command::DeregisterDefinition(DeregisterJobDefinition { job_definition }));
    let revisions = |w: &World, request: Value| -> Vec<u32> {
        w.definitions(&request).iter().map(|one| one.revision).collect()
    };
    assert_eq!(revisions(&w, json!({"jobDefinitionName": "full"})), [1, 2, 3]);
    assert_eq!(revisions(&w, json!({"jobDefinitionName": "full", "status": "ACTIVE"})), [1, 3]);
    assert_eq!(revisions(&w, json!({"jobDefinitions": ["full:2"]})), [2]);
    assert_eq!(revisions(&w, json!({"jobDefinitions": ["full"], "status": ""})), [1, 2, 3]);
    assert_eq!(revisions(&w, json!({"jobDefinitionName": "full", "maxResults": 2})), [1, 2]);
    for (request, part) in [
        (json!({"jobDefinitions": ["full"], "status": "ACTIVE"}), "cannot be combined"),
        (json!({"jobDefinitions": vec!["x"; 101]}), "at most 100"),
        (json!({"status": "OLD"}), "ACTIVE or INACTIVE"),
        (json!({"maxResults": 101}), "from 1 to 100"),
    ] {
        let error = view::describe_definitions(&w.state, &read(&request)).unwrap_err();
        assert!(error.message.contains(part), "{}", error.message);
    }
    w.does(Command::DeregisterDefinition(DeregisterJobDefinition {
        job_definition: "full:3".into(),
    }));
    w.registers(&full());
    assert_eq!(
        revisions(&w, json!({"status": "ACTIVE", "jobDefinitionName": "full"})),
        [1, 4],
        "a number is never used again"
    );
}

/// Fault 46.
#[test]
fn a_revision_that_goes_inactive_changes_nothing_for_its_jobs() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.job();
    w.does(Command::DeregisterDefinition(DeregisterJobDefinition { job_definition: "d:1".into() }));
    let lease = w.leases(&agent).remove(0);
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    assert!(w.detail(job).job_definition.ends_with("d:1"));
    let message = w.refuses(w.request());
    assert_eq!(message, "JobDefinition name d does not exist or is not in ACTIVE status");
}

#[test]
fn tags_that_are_propagated_must_not_be_too_many_together() {
    let mut w = World::new();
    let mut definition: RegisterJobDefinition = read(&full());
    definition.tags = (0..30).map(|n| (format!("d{n}"), String::new())).collect();
    w.does(Command::RegisterDefinition(Box::new(definition)));
    let tags = (0..30).map(|n| (format!("j{n}"), String::new())).collect();
    let request = SubmitJob { job_definition: "full".into(), tags, ..w.request() };
    assert!(w.refuses(request.clone()).contains("60 tags together, at most 50"));
    let job = w.submit(SubmitJob { propagate_tags: Some(false), ..request });
    assert_eq!(w.detail(job).tags.len(), 30, "the definition's tags are not the job's");
}

#[test]
fn limits_of_aws_are_refused_with_their_texts() {
    let mut w = World::new();
    w.limits = Limits::aws();
    let parameters = [("p".to_owned(), "x".repeat(48_000))].into();
    let large = SubmitJob { parameters, ..w.request() };
    assert_eq!(w.refuses(large), "Job size must be less than 30 KiB, got 47 KiB");
    let mut definition: RegisterJobDefinition = read(&full());
    definition.parameters.insert("x".into(), "x".repeat(25_000));
    let error = w.refused(Command::RegisterDefinition(Box::new(definition)));
    assert!(error.message.starts_with("Job definition size must be less than 24 KiB"));
    let depends_on = vec![Default::default(); 21];
    let message = w.refuses(SubmitJob { depends_on, ..w.request() });
    assert!(message.starts_with("Job cannot have more than 20 dependencies"), "{message}");
    let short = w.limited(59);
    assert!(w.refuses(short).contains("must be at least 60, got 59"));
    assert!(w.refuses(w.retrying(11)).contains("from 1 to 10, got 11"));
    let array: SubmitJob = read(&json!({"jobName": "j", "jobQueue": "q", "jobDefinition": "d",
        "arrayProperties": {"size": 10_001}}));
    assert!(w.refuses(array).contains("from 2 to 10000, got 10001"));
    for number in 1..50 {
        w.queue(&format!("q{number}"), 1);
    }
    let request = json!({"jobQueueName": "more", "priority": 1, "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "e"}]});
    let error = w.refused(Command::CreateQueue(read(&request)));
    assert_eq!(error.message, "there are 50 job queues, at most 50 are allowed");
}
