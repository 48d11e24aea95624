//! Queues and compute environments: what changes do to the jobs in them.

mod lowered;
mod shared;

use windrow_common::api::ErrorKind;
use windrow_common::api::jobs::{JobStatus, RerunJob, SubmitJob};
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue, DeleteComputeEnvironment,
    DeleteJobQueue, DescribeComputeEnvironments, DescribeJobQueues, ResourceState,
    UpdateComputeEnvironment, UpdateJobQueue,
};
use windrow_common::ids::JobId;
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::Order;

use crate::core::Command;
use crate::core::world::{World, name, on};
use crate::view;

fn disable(w: &mut World, queue: &str) {
    w.does(Command::UpdateQueue(UpdateJobQueue {
        job_queue: queue.into(),
        state: Some(ResourceState::Disabled),
        ..Default::default()
    }));
}

fn delete(queue: &str) -> Command {
    Command::DeleteQueue(DeleteJobQueue { job_queue: queue.into() })
}

fn environment(w: &mut World, environment: &str, state: Option<ResourceState>) {
    w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
        compute_environment: environment.into(),
        state,
        ..Default::default()
    }));
}

fn order(environments: &[&str]) -> Vec<ComputeEnvironmentOrder> {
    let entry = |(order, name): (u32, &&str)| ComputeEnvironmentOrder {
        order,
        compute_environment: (*name).into(),
    };
    (1..).zip(environments).map(entry).collect()
}

/// Fault 43.
#[test]
fn a_disabled_queue_takes_no_jobs_and_goes_on_with_those_it_has() {
    let mut w = World::new();
    let first = w.job();
    let second = w.submit(SubmitJob { depends_on: on(first), ..w.retrying(2) });
    disable(&mut w, "q");
    let request = Box::new(w.request());
    let error = w.refused(Command::Submit { id: JobId::from_u128(9), request });
    assert!(error.message.contains("DISABLED"), "{error}");
    let agent = w.agent("a", 1);
    w.run_all(&agent, 0);
    assert_eq!([first, second].map(|job| w.status(job)), [JobStatus::Succeeded; 2]);
    let rerun = RerunJob { job_id: first.to_string(), ..Default::default() };
    w.refused(Command::Rerun { id: JobId::from_u128(9), request: Box::new(rerun) });
}

/// Faults 43 and 46.
#[test]
fn a_deleted_queue_is_gone_when_its_last_job_has_ended() {
    let mut w = World::new();
    w.queue("other", 1);
    let elsewhere = w.submit(SubmitJob { job_queue: "other".into(), ..w.request() });
    w.cancel(&elsewhere.to_string());
    let agent = w.agent("a", 1);
    let runs = w.job();
    let lease = w.leases(&agent).remove(0);
    let (waits, array) = (w.job(), w.array(100, on(runs)));
    let elsewhere = w.submit(SubmitJob { job_queue: "other".into(), ..w.request() });
    let error = w.refused(delete("q"));
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.hint.unwrap().contains("--disable"));
    disable(&mut w, "q");
    w.does(delete("q"));
    let describe = |w: &World| {
        view::describe_queues(&w.state, &DescribeJobQueues::default()).unwrap().job_queues
    };
    let shown = describe(&w).into_iter().find(|queue| queue.job_queue_name == "q").unwrap();
    assert_eq!((shown.status.as_str(), shown.active_jobs), ("DELETING", 1));
    assert_eq!([waits, array].map(|job| w.status(job)), [JobStatus::Failed; 2]);
    let reason = w.detail(waits).status_reason;
    assert_eq!(reason.as_deref(), Some("Job queue q was deleted"));
    assert!(w.orders[&agent].iter().any(|order| matches!(order, Order::Stop(_))));
    // It can neither come back nor be made anew meanwhile; a second delete is no error.
    w.does(delete("q"));
    let enable = UpdateJobQueue {
        job_queue: "q".into(),
        state: Some(ResourceState::Enabled),
        ..Default::default()
    };
    assert!(w.refused(Command::UpdateQueue(enable)).message.contains("DELETING"));
    w.check_replay();
    let end = w.ended(&lease, 0, EndCause::Stopped, 143);
    w.report(&agent, vec![end]);
    assert_eq!(describe(&w).len(), 1);
    w.run_all(&agent, 0);
    assert_eq!(w.status(elsewhere), JobStatus::Succeeded);
    assert_eq!(w.refused(delete("q")).kind, ErrorKind::NotFound);
    w.queue("q", 5);
    w.check_replay();
}

#[test]
fn an_empty_queue_is_deleted_at_once_and_many_jobs_end_in_steps() {
    let mut w = World::new();
    w.queue("empty", 1);
    disable(&mut w, "empty");
    w.does(delete("empty"));
    assert!(!w.state.queues.contains_key(&name("empty")));
    let jobs: Vec<JobId> = (0..1100).map(|_| w.job()).collect();
    disable(&mut w, "q");
    w.does(delete("q"));
    assert!(w.state.queues.is_empty());
    assert!(jobs.iter().all(|job| w.status(*job) == JobStatus::Failed));
    w.check_replay();
}

/// Fault 43.
#[test]
fn a_disabled_environment_gets_nothing_new_and_finishes_what_it_runs() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let (runs, waits) = (w.job(), w.job());
    let lease = w.leases(&agent).remove(0);
    environment(&mut w, "e", Some(ResourceState::Disabled));
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    let end = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&agent, vec![end]);
    assert_eq!((w.status(runs), w.status(waits)), (JobStatus::Succeeded, JobStatus::Runnable));
    environment(&mut w, "e", Some(ResourceState::Enabled));
    assert_eq!(w.status(waits), JobStatus::Starting);
}

/// Fault 43.
#[test]
fn an_environment_goes_only_when_nothing_names_it() {
    let mut w = World::new();
    let delete = |environment: &str| {
        Command::DeleteEnvironment(DeleteComputeEnvironment {
            compute_environment: environment.into(),
        })
    };
    assert!(w.refused(delete("e")).message.contains("ENABLED"));
    environment(&mut w, "e", Some(ResourceState::Disabled));
    let error = w.refused(delete("e"));
    assert_eq!(error.message, "Cannot delete, found existing JobQueue relationship");
    w.does(Command::CreateEnvironment(CreateComputeEnvironment {
        compute_environment_name: "f".into(),
        kind: "UNMANAGED".into(),
        unmanagedv_cpus: Some(4),
        service_role: Some("role".into()),
        ..Default::default()
    }));
    w.does(Command::UpdateQueue(UpdateJobQueue {
        job_queue: "q".into(),
        compute_environment_order: order(&["f"]),
        ..Default::default()
    }));
    w.does(delete("e"));
    let shown = view::describe_environments(&w.state, &DescribeComputeEnvironments::default());
    let shown = shown.unwrap().compute_environments.remove(0);
    assert_eq!((shown.compute_environment_name.as_str(), shown.status.as_str()), ("f", "VALID"));
    assert_eq!((shown.unmanagedv_cpus, shown.service_role.as_deref()), (Some(4), Some("role")));
    w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
        compute_environment: "f".into(),
        unmanagedv_cpus: Some(8),
        ..Default::default()
    }));
    assert_eq!(w.state.environments[&name("f")].unmanaged_vcpus, Some(8));
    assert_eq!(w.state.environments[&name("f")].service_role.as_deref(), Some("role"));
}

#[test]
fn wrong_queues_and_environments_are_refused() {
    let mut w = World::new();
    let queue = |name: &str, priority, environments: &[&str]| {
        Command::CreateQueue(CreateJobQueue {
            job_queue_name: name.into(),
            priority,
            compute_environment_order: order(environments),
            ..Default::default()
        })
    };
    let ce = |name: &str, kind: &str, resources: bool| {
        Command::CreateEnvironment(CreateComputeEnvironment {
            compute_environment_name: name.into(),
            kind: kind.into(),
            compute_resources: resources.then(|| serde_json::json!({"maxvCpus": 4})),
            ..Default::default()
        })
    };
    let long = "x".repeat(129);
    for (command, text) in [
        (queue("q", 1, &["e"]), "Object already exists"),
        (queue("a b", 1, &["e"]), "jobQueueName"),
        (queue(&long, 1, &["e"]), "jobQueueName"),
        (queue("p", 1001, &["e"]), "from 0 to 1000, got 1001"),
        (queue("p", 1, &[]), "At least 1 compute environment must be provided"),
        (queue("p", 1, &["nowhere"]), "`nowhere` does not exist"),
        (queue("p", 1, &["e", "e"]), "listed twice"),
        (ce("e", "UNMANAGED", false), "Object already exists"),
        (ce("g", "MANAGED", true), "must be `UNMANAGED`, got `MANAGED`"),
        (ce("g", "UNMANAGED", true), "computeResources is for managed"),
    ] {
        let error = w.refused(command);
        assert!(error.message.contains(text), "{error}");
    }
    w.limits.environments_per_queue = 1;
    w.does(ce("f", "UNMANAGED", false));
    let error = w.refused(queue("p", 1, &["e", "f"]));
    assert!(error.message.contains('1'), "{error}");
}
