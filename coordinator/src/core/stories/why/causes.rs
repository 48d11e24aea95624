//! Causes that lie with the job itself, with its agent or with the agents there are.

use serde_json::json;
use windrow_common::api::definitions::{
    RegisterJobDefinition, ResourceRequirement, RetryBackoff, RetryStrategy, RuntimePlatform,
};
use windrow_common::api::explain::WaitCode;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::resources::DrainAgent;
use windrow_common::ids::{JobId, JobRef};
use windrow_common::wire::agent::{EndCause, Executor, Problem, Register};

use super::{Case, asks, case};
use crate::core::Command;
use crate::core::stories::nodes::{multinode, range};
use crate::core::world::{World, n_to_n, on, sequential};

/// Jobs that wait with an agent, or for something of their own.
pub(super) const OWN: &[Case] = &[
    case(WaitCode::Ended, "windrow logs", false, |w| {
        let job = w.job();
        w.cancel(&job.to_string());
        job.into()
    }),
    case(WaitCode::Running, "runs on agent `a`", false, |w| started(w, 1)),
    case(WaitCode::Stopping, "told to stop it: stop it", false, |w| {
        let job = started(w, 1);
        w.terminate(&job.to_string());
        job
    }),
    case(WaitCode::Starting, "agent `a` starts it", false, |w| {
        w.agent("a", 1);
        w.job().into()
    }),
    case(WaitCode::Starting, "is pulled first (`busybox`)", false, |w| {
        let register = w.registration("a", 8, vec![]);
        w.join(Register { executors: vec![Executor::Docker], ..register });
        let request = w.image_definition("with-image");
        defined(w, request).into()
    }),
    case(WaitCode::Starting, "starts when the main node runs", false, |w| {
        w.agent("a", 8);
        let request = multinode("pair", 2, vec![range("0:", "1")]);
        JobRef::node(defined(w, request), 1)
    }),
    case(WaitCode::Backlog, "as soon as it has room", false, |w| {
        let agent = w.agent("a", 1);
        let array = w.array(100, vec![]);
        let lease = w.leases(&agent).remove(0);
        let ended = w.ended_after(1, &lease, 0, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
        JobRef::child(array, 2)
    }),
    case(WaitCode::SchedulerBusy, "about to decide", false, |w| {
        w.agent("a", 1);
        let id = JobId::from_u128(77);
        let request = Box::new(w.request());
        w.only(&Command::Submit { id, request });
        id.into()
    }),
    case(WaitCode::DependencyPending, "is RUNNABLE", true, |w| {
        let first = w.job();
        w.submit(SubmitJob { depends_on: on(first), ..w.request() }).into()
    }),
    case(WaitCode::DependencyPending, ":1 is RUNNABLE", true, |w| {
        let first = w.array(3, vec![]);
        JobRef::child(w.array(3, n_to_n(first)), 1)
    }),
    case(WaitCode::DependencyPending, ":0 is RUNNABLE", true, |w| {
        JobRef::child(w.array(3, sequential()), 1)
    }),
    case(WaitCode::Backoff, "not tried again before", true, |w| {
        let backoff = RetryBackoff { initial_seconds: Some(60), ..Default::default() };
        let strategy =
            RetryStrategy { attempts: Some(2), backoff: Some(backoff), ..Default::default() };
        let agent = w.agent("a", 1);
        let job = w.submit(SubmitJob { retry_strategy: Some(strategy), ..w.request() });
        w.run_all(&agent, 1);
        job.into()
    }),
    case(WaitCode::CeDisabled, "windrow ce update e --enable", true, |w| {
        w.agent("a", 1);
        let request = json!({ "computeEnvironment": "e", "state": "DISABLED" });
        asks(w, "UpdateComputeEnvironment", &request);
        w.job().into()
    }),
];

/// Jobs that wait for agents.
pub(super) const HOSTS: &[Case] = &[
    case(WaitCode::NoAgent, "no agent of compute environment `e` is UP", true, |w| w.job().into()),
    case(WaitCode::AgentLost, "is LOST", true, |w| {
        let agent = w.agent("a", 1);
        w.lose(&agent);
        w.job().into()
    }),
    case(WaitCode::AgentNotReady, "takes no work (the disk is full)", true, |w| {
        let problem = Problem { message: "the disk is full".into(), takes_no_work: true };
        let register = w.registration("a", 1, vec![]);
        w.join(Register { problems: vec![problem], ..register });
        w.job().into()
    }),
    case(WaitCode::AgentDraining, "windrow agent undrain a", true, |w| {
        w.agent("a", 1);
        w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
        w.job().into()
    }),
    case(WaitCode::AgentDraining, "no other agent", true, |w| {
        w.agent("small", 1);
        w.agent("a", 8);
        w.does(Command::DrainAgent(DrainAgent { agent: "a".into(), drain: true }));
        needs(w, "4", "100").into()
    }),
    case(WaitCode::Constraint, "runs containers", true, |w| {
        w.agent("a", 8);
        let request = w.image_definition("with-image");
        defined(w, request).into()
    }),
    case(WaitCode::Constraint, "runs plain processes", true, |w| {
        let register = w.registration("a", 8, vec![]);
        w.join(Register { executors: vec![Executor::Docker], ..register });
        w.job().into()
    }),
    case(WaitCode::Constraint, "has architecture ARM64, they have X86_64", true, |w| {
        w.agent("a", 8);
        let mut request = w.image_definition("arm");
        let properties = request.container_properties.as_mut().unwrap();
        properties.runtime_platform =
            Some(RuntimePlatform { cpu_architecture: Some("ARM64".into()), ..Default::default() });
        let register = w.registration("docker", 8, vec![]);
        w.join(Register { executors: vec![Executor::Docker], ..register });
        defined(w, request).into()
    }),
    case(WaitCode::Constraint, "has GPUs: it needs 2", true, |w| {
        let register = w.registration("a", 8, vec![]);
        w.join(Register { executors: vec![Executor::Docker], ..register });
        let mut request = w.image_definition("gpu");
        let properties = request.container_properties.as_mut().unwrap();
        let gpus = ResourceRequirement { kind: "GPU".into(), value: "2".into() };
        properties.resource_requirements.get_or_insert_default().push(gpus);
        defined(w, request).into()
    }),
    case(
        WaitCode::NeverFits,
        "it needs 9 vCPU, 100 MiB, the largest agent offers 8 vCPU, 10000 MiB (`b`)",
        true,
        |w| {
            w.agent("a", 4);
            w.agent("b", 8);
            needs(w, "9", "100").into()
        },
    ),
    case(WaitCode::NeverFits, "it needs 1 vCPU, 32000 MiB", true, |w| {
        w.agent("a", 4);
        needs(w, "1", "32000").into()
    }),
    case(WaitCode::Reservation, "kept for job", true, |w| {
        w.agent("a", 4);
        needs(w, "3", "100");
        needs(w, "2", "100");
        w.job().into()
    }),
    case(WaitCode::Priority, "queue `high`, which has a higher priority", true, |w| {
        w.queue("high", 20);
        w.agent("a", 1);
        w.job();
        let waits = w.job();
        w.submit(SubmitJob { job_queue: "high".into(), ..w.request() });
        waits.into()
    }),
    case(WaitCode::NoCapacityNow, "the 1 agents that could run it are occupied", true, |w| {
        w.agent("a", 1);
        w.job();
        w.job();
        w.job().into()
    }),
    case(WaitCode::NoCapacityNow, "start an agent with 4 vCPU", true, |w| {
        w.agent("a", 2);
        JobRef::child(w.array(9, vec![]), 5)
    }),
];

/// A job that runs on agent `a`.
pub(super) fn started(w: &mut World, cpus: u32) -> JobRef {
    let agent = w.agent("a", cpus);
    let job = w.job();
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    job.into()
}

/// A job with these needs.
pub(super) fn needs(w: &mut World, vcpus: &str, memory: &str) -> JobId {
    let definition = format!("needs-{vcpus}-{memory}");
    w.definition(&definition, vcpus, memory);
    w.submit(SubmitJob { job_definition: definition, ..w.request() })
}

pub(super) fn defined(w: &mut World, request: RegisterJobDefinition) -> JobId {
    let job_definition = request.job_definition_name.clone();
    w.does(Command::RegisterDefinition(Box::new(request)));
    w.submit(SubmitJob { job_definition, ..w.request() })
}
