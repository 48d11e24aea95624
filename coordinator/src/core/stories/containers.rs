//! Several containers in one job, and GPUs, as the coordinator sees them.

use serde_json::json;
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::ids::JobId;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{ContainerEnd, EndCause, Executor, Gpu, Register, Report};

use crate::core::Command;
use crate::core::world::World;
use crate::view;

impl World {
    fn job_of(&mut self, definition: serde_json::Value) -> JobId {
        let job_definition = definition["jobDefinitionName"].as_str().unwrap().to_owned();
        let request = serde_json::from_value(definition).unwrap();
        self.does(Command::RegisterDefinition(Box::new(request)));
        self.submit(SubmitJob { job_definition, ..self.request() })
    }
}

fn gpu_job(name: &str, gpus: &str) -> serde_json::Value {
    json!({"jobDefinitionName": name, "type": "container", "containerProperties": {
        "command": ["train"], "resourceRequirements": [
            {"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"},
            {"type": "GPU", "value": gpus}]}})
}

fn with_gpus(request: Register, count: u32) -> Register {
    let gpu = |i| Gpu { id: format!("GPU-{i}"), model: "Model T".into(), memory_mib: 1024 };
    Register {
        resources: request.resources.with_gpu(count),
        gpus: (0..count).map(gpu).collect(),
        ..request
    }
}

#[test]
fn gpus_are_counted_like_cores() {
    let mut w = World::new();
    let jobs = [w.job_of(gpu_job("one", "1")), w.job_of(gpu_job("two", "1"))];
    let third = w.job_of(gpu_job("three", "1"));
    let plain = w.agent("plain", 8);
    assert!(w.leases(&plain).is_empty(), "it has none");
    let request = with_gpus(w.registration("gpu", 8, Vec::new()), 2);
    w.join(request);
    let agent = "gpu".parse().unwrap();
    assert!(jobs.iter().all(|job| w.status(*job) == JobStatus::Starting));
    assert_eq!(w.status(third), JobStatus::Runnable, "both are taken");
    let listed = view::list_agents(&w.state, |_| view::Heard::default()).agents;
    let listed = listed.iter().find(|one| one.agent == "gpu").unwrap();
    assert_eq!((listed.leased_gpus, listed.total_gpus, listed.gpus.len()), (2, 2, 2));
    let leases = w.leases(&agent);
    assert_eq!(leases[0].resources.gpu, 1);
    let ended = w.ended(&leases[0], 0, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    assert_eq!(w.status(third), JobStatus::Starting);
    w.check_replay();
}

#[test]
fn each_container_shows_how_it_ended() {
    let mut w = World::new();
    let need = json!([{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]);
    let container = |name: &str, essential: bool| {
        json!({"name": name, "image": "busybox", "essential": essential,
            "resourceRequirements": need})
    };
    let job = w.job_of(json!({"jobDefinitionName": "two", "type": "container",
        "ecsProperties": {"taskProperties": [
            {"containers": [container("app", true), container("side", false)]}]}}));
    let mut request = w.registration("a", 4, Vec::new());
    request.executors = vec![Executor::Docker];
    w.join(request);
    let agent = "a".parse().unwrap();
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.resources, Resources::new(2000, 128), "the sum over the containers");
    let Report::Ended(mut ended) = w.ended(&lease, 0, EndCause::Exited, 3) else {
        panic!("an end is reported")
    };
    let end = |name: &str, exit_code| ContainerEnd { name: name.into(), exit_code, reason: None };
    ended.reason = Some("container `app` exited with 3".into());
    ended.containers = vec![end("app", Some(3)), end("side", None)];
    w.report(&agent, vec![Report::Ended(ended)]);
    assert_eq!(w.status(job), JobStatus::Failed);
    let attempt = w.detail(job).attempts.remove(0);
    let task = &attempt.task_properties[0];
    let codes: Vec<_> = task.containers.iter().map(|c| (&*c.name, c.exit_code)).collect();
    assert_eq!(codes, [("app", Some(3)), ("side", None)]);
    assert!(task.containers[0].log_stream_name.is_some());
    assert_eq!(task.containers[1].log_stream_name, None, "it never ran");
    w.check_replay();
}
