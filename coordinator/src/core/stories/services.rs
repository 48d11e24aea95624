//! Service environments and service jobs: kept, validated, listed and ended; nothing runs them.

use windrow_common::api::jobs::{KeyValuesPair, SubmitJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::PreemptionConfiguration;
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateJobQueue, DeleteJobQueue, DescribeJobQueues, JobQueueType,
    JobStateTimeLimitAction, ResourceState, ServiceEnvironmentOrder, TimeLimitActionKind,
    TimeLimitState, UpdateJobQueue,
};
use windrow_common::api::services::{
    CapacityLimit, CreateServiceEnvironment, DeleteServiceEnvironment, DescribeServiceEnvironments,
    DescribeServiceJob, DescribeServiceJobResponse, ListServiceJobs, ServiceJobEvaluateOnExit,
    ServiceJobRetryAction, ServiceJobRetryStrategy, ServiceJobStatus, ServiceJobTimeout,
    ServiceType, SubmitServiceJob, TerminateServiceJob, TerminateServiceJobs,
    UpdateServiceEnvironment, UpdateServiceJob,
};
use windrow_common::api::snapshot::GetJobQueueSnapshot;
use windrow_common::api::tags::{ListTagsForResource, TagResource, UntagResource};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use crate::core::limits::{Limits, REASON_LENGTH_MAX};
use crate::core::world::{World, name, queue_request};
use crate::core::{Answer, Command, ServiceCommand};
use crate::view;

fn service(command: ServiceCommand) -> Command {
    Command::Service(Box::new(command))
}

fn limit(unit: Option<&str>, most: u32) -> CapacityLimit {
    CapacityLimit { capacity_unit: unit.map(str::to_owned), max_capacity: most }
}

fn environment(name: &str) -> CreateServiceEnvironment {
    CreateServiceEnvironment {
        service_environment_name: name.into(),
        service_environment_type: Some(ServiceType::SagemakerTraining),
        capacity_limits: vec![limit(None, 4)],
        ..Default::default()
    }
}

fn order(names: &[&str]) -> Vec<ServiceEnvironmentOrder> {
    let entry = |(order, name): (u32, &&str)| ServiceEnvironmentOrder {
        order,
        service_environment: (*name).to_owned(),
    };
    (1..).zip(names).map(entry).collect()
}

fn service_queue(queue: &str, environments: &[&str]) -> CreateJobQueue {
    CreateJobQueue {
        compute_environment_order: Vec::new(),
        service_environment_order: order(environments),
        job_queue_type: Some(JobQueueType::SagemakerTraining),
        ..queue_request(queue, 1)
    }
}

fn request() -> SubmitServiceJob {
    SubmitServiceJob {
        job_name: "train".into(),
        job_queue: "train".into(),
        service_request_payload: r#"{"TrainingJobName": "t"}"#.into(),
        service_job_type: Some(ServiceType::SagemakerTraining),
        ..Default::default()
    }
}

fn submit(id: u128, request: SubmitServiceJob) -> Command {
    service(ServiceCommand::Submit { id: JobId::from_u128(id), request })
}

fn terminate(id: &str, reason: &str) -> Command {
    let (job_id, reason) = (id.to_owned(), reason.to_owned());
    service(ServiceCommand::Terminate(TerminateServiceJob { job_id, reason }))
}

fn disable_environment(name: &str) -> Command {
    service(ServiceCommand::UpdateEnvironment(UpdateServiceEnvironment {
        service_environment: name.into(),
        state: Some(ResourceState::Disabled),
        ..Default::default()
    }))
}

fn delete_environment(name: &str) -> Command {
    let service_environment = name.to_owned();
    service(ServiceCommand::DeleteEnvironment(DeleteServiceEnvironment { service_environment }))
}

fn disable_queue(queue: &str) -> Command {
    Command::UpdateQueue(UpdateJobQueue {
        job_queue: queue.into(),
        state: Some(ResourceState::Disabled),
        ..Default::default()
    })
}

impl World {
    /// Queue `train` on service environment `sage`.
    pub(in crate::core) fn service_queue(&mut self) {
        self.does(service(ServiceCommand::CreateEnvironment(environment("sage"))));
        self.does(Command::CreateQueue(service_queue("train", &["sage"])));
    }

    /// Of three service jobs the first is forgotten, the second has ended and the third waits.
    pub(in crate::core) fn service_jobs(&mut self) {
        let rule = ServiceJobEvaluateOnExit {
            action: Some(ServiceJobRetryAction::Exit),
            on_status_reason: Some("x*".into()),
        };
        let full = SubmitServiceJob {
            retry_strategy: Some(ServiceJobRetryStrategy {
                attempts: 2,
                evaluate_on_exit: vec![rule],
            }),
            scheduling_priority: Some(1),
            timeout_config: Some(ServiceJobTimeout { attempt_duration_seconds: Some(90) }),
            tags: [("a".into(), "b".into())].into(),
            client_token: Some("token".into()),
            ..request()
        };
        self.does(submit(1, request()));
        self.does(terminate(&JobId::from_u128(1).to_string(), "first"));
        self.does(Command::Forget(self.now));
        self.does(submit(2, request()));
        self.does(terminate(&JobId::from_u128(2).to_string(), "second"));
        self.does(submit(3, full));
        let job_id = JobId::from_u128(3).to_string();
        let update = UpdateServiceJob { job_id, scheduling_priority: Some(5) };
        self.does(service(ServiceCommand::Update(update)));
        self.does(service(ServiceCommand::CreateEnvironment(environment("gone"))));
        self.does(disable_environment("gone"));
        self.does(delete_environment("gone"));
    }

    fn service_job(&self, id: u128) -> Result<DescribeServiceJobResponse, ApiError> {
        let job_id = JobId::from_u128(id).to_string();
        view::describe_service_job(&self.state, &DescribeServiceJob { job_id })
    }

    fn listed(&self, request: &ListServiceJobs) -> Vec<u128> {
        let page = view::list_service_jobs(&self.state, request).unwrap();
        let ids = page.job_summary_list.iter().map(|row| row.job_id.parse::<JobId>().unwrap());
        ids.map(|id| (1..200).find(|n| JobId::from_u128(*n) == id).unwrap()).collect()
    }
}

#[test]
fn an_environment_is_created_changed_listed_and_deleted() {
    let mut w = World::new();
    let request = CreateServiceEnvironment {
        tags: [("team".into(), "a".into())].into(),
        ..environment("sage")
    };
    let create = service(ServiceCommand::CreateEnvironment(request));
    let Answer::ServiceEnvironment(made) = w.does(create.clone()) else { panic!("no answer") };
    assert!(made.service_environment_arn.ends_with(":service-environment/sage"));
    assert_eq!(w.refused(create).kind, ErrorKind::Conflict);
    w.does(service(ServiceCommand::CreateEnvironment(environment("other"))));
    w.does(service(ServiceCommand::UpdateEnvironment(UpdateServiceEnvironment {
        service_environment: made.service_environment_arn,
        capacity_limits: vec![limit(Some("ml.m5.large"), 2), limit(Some(""), 9)],
        ..Default::default()
    })));
    let named = DescribeServiceEnvironments {
        service_environments: vec!["sage".into(), "absent".into()],
        ..Default::default()
    };
    let shown = view::describe_service_environments(&w.state, &named).unwrap();
    let [one] = &shown.service_environments[..] else { panic!("{shown:?}") };
    assert_eq!((one.status.as_str(), one.state), ("VALID", ResourceState::Enabled));
    let expected = [limit(Some("ml.m5.large"), 2), limit(Some("NUM_INSTANCES"), 9)];
    assert_eq!(one.capacity_limits, expected);
    assert_eq!(one.tags["team"], "a");
    let first = DescribeServiceEnvironments { max_results: Some(1), ..Default::default() };
    let page = view::describe_service_environments(&w.state, &first).unwrap();
    let next = DescribeServiceEnvironments { next_token: page.next_token, ..first };
    let page = view::describe_service_environments(&w.state, &next).unwrap();
    assert_eq!(page.service_environments[0].service_environment_name, "sage");
    assert_eq!(page.next_token, None);
    assert!(w.refused(delete_environment("sage")).message.contains("ENABLED"));
    w.does(disable_environment("sage"));
    w.does(delete_environment("sage"));
    assert_eq!(w.refused(delete_environment("sage")).kind, ErrorKind::NotFound);
    w.check_replay();
}

#[test]
fn wrong_environments_are_refused() {
    let mut w = World::new();
    w.limits = Limits { service_environments: 1, ..Limits::default() };
    let mut refuses = |change: fn(&mut CreateServiceEnvironment), expected: &str| {
        let mut request = environment("sage");
        change(&mut request);
        let error = w.refused(service(ServiceCommand::CreateEnvironment(request)));
        assert!(error.message.contains(expected), "{}", error.message);
    };
    refuses(|r| r.service_environment_name = "a b".into(), "serviceEnvironmentName");
    refuses(|r| r.service_environment_type = None, "serviceEnvironmentType must be given");
    refuses(|r| r.capacity_limits.clear(), "from 1 to 5 capacityLimits must be given, got 0");
    refuses(|r| r.capacity_limits = vec![limit(None, 1); 6], "got 6");
    refuses(|r| r.capacity_limits = vec![limit(None, 1); 2], "`NUM_INSTANCES` twice");
    refuses(|r| r.capacity_limits = vec![limit(None, 0)], "at least 1, got 0");
    refuses(|r| r.capacity_limits = vec![limit(Some("a b"), 1)], "got `a b`");
    refuses(|r| drop(r.tags.insert("aws:x".into(), String::new())), "tag `aws:x`");
    w.does(service(ServiceCommand::CreateEnvironment(environment("sage"))));
    let error = w.refused(service(ServiceCommand::CreateEnvironment(environment("more"))));
    assert!(error.message.contains("there are 1 service environments, at most 1"), "{error:?}");
}

#[test]
fn a_queue_has_one_kind_of_environment_for_good() {
    let mut w = World::new();
    w.service_queue();
    w.does(service(ServiceCommand::CreateEnvironment(environment("other"))));
    let shown = view::describe_queues(
        &w.state,
        &DescribeJobQueues { job_queues: vec!["train".into()], ..Default::default() },
    );
    let shown = shown.unwrap().job_queues.remove(0);
    assert_eq!(shown.job_queue_type, Some(JobQueueType::SagemakerTraining));
    assert!(shown.compute_environment_order.is_empty());
    assert!(
        shown.service_environment_order[0]
            .service_environment
            .ends_with("service-environment/sage")
    );
    let mut refuses = |change: fn(&mut CreateJobQueue), expected: &str| {
        let mut request = service_queue("x", &["sage"]);
        change(&mut request);
        let error = w.refused(Command::CreateQueue(request));
        assert!(error.message.contains(expected), "{}", error.message);
    };
    refuses(
        |q| q.compute_environment_order = queue_request("x", 1).compute_environment_order,
        "not both",
    );
    refuses(|q| q.service_environment_order.clear(), "from 1 to 3");
    refuses(|q| q.service_environment_order = order(&["sage"; 4]), "from 1 to 3");
    refuses(|q| q.service_environment_order = order(&["sage"; 2]), "`sage` is listed twice");
    refuses(|q| q.service_environment_order = order(&["absent"]), "`absent` does not exist");
    refuses(|q| q.job_queue_type = Some(JobQueueType::Ecs), "got `ECS`");
    refuses(|q| q.job_queue_type = Some(JobQueueType::Eks), "jobQueueType `EKS`");
    let action = JobStateTimeLimitAction {
        reason: "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY".into(),
        state: TimeLimitState::Runnable,
        max_time_seconds: 600,
        action: TimeLimitActionKind::Terminate,
    };
    let limited = CreateJobQueue {
        job_state_time_limit_actions: vec![action.clone()],
        ..service_queue("x", &["sage"])
    };
    let error = w.refused(Command::CreateQueue(limited));
    assert!(error.message.contains("jobStateTimeLimitActions are for"), "{error:?}");
    // The type may be left out, and that of an ordinary queue may be given.
    w.does(Command::CreateQueue(CreateJobQueue {
        job_queue_type: None,
        ..service_queue("two", &["other", "sage"])
    }));
    let ecs = Some(JobQueueType::Ecs);
    w.does(Command::CreateQueue(CreateJobQueue { job_queue_type: ecs, ..queue_request("c", 1) }));
    let update = |queue: &str| UpdateJobQueue { job_queue: queue.into(), ..Default::default() };
    w.does(Command::UpdateQueue(UpdateJobQueue {
        service_environment_order: order(&["other"]),
        ..update("train")
    }));
    let environments = &w.state.queues[&name("train")].service_environments;
    assert_eq!(environments[..], [(1, name("other"))]);
    let compute = vec![ComputeEnvironmentOrder { order: 1, compute_environment: "e".into() }];
    let compute = UpdateJobQueue { compute_environment_order: compute, ..update("train") };
    assert!(w.refused(Command::UpdateQueue(compute)).message.contains("no compute environments"));
    let service = UpdateJobQueue { service_environment_order: order(&["sage"]), ..update("q") };
    assert!(w.refused(Command::UpdateQueue(service)).message.contains("no service environments"));
    let actions = Some(vec![action]);
    let limited = UpdateJobQueue { job_state_time_limit_actions: actions, ..update("train") };
    assert!(w.refused(Command::UpdateQueue(limited)).message.contains("are for queues"));
    // What a queue uses stays.
    w.does(disable_environment("sage"));
    assert!(w.refused(delete_environment("sage")).message.contains("queue `two` uses it"));
    w.check_replay();
}

#[test]
fn a_service_job_stays_runnable_and_says_why_until_it_is_terminated() {
    let mut w = World::new();
    w.agent("a", 8);
    w.service_queue();
    let request = SubmitServiceJob {
        retry_strategy: Some(ServiceJobRetryStrategy {
            attempts: 3,
            evaluate_on_exit: vec![ServiceJobEvaluateOnExit {
                action: Some(ServiceJobRetryAction::Retry),
                on_status_reason: Some("Received status from SageMaker: *".into()),
            }],
        }),
        scheduling_priority: Some(7),
        timeout_config: Some(ServiceJobTimeout { attempt_duration_seconds: Some(90) }),
        tags: [("a".into(), "b".into())].into(),
        ..request()
    };
    let Answer::ServiceJob(made) = w.does(submit(1, request.clone())) else { panic!("no answer") };
    assert!(made.job_arn.ends_with(&format!(":service-job/{}", made.job_id)));
    let shown = w.service_job(1).unwrap();
    assert_eq!((shown.status, shown.is_terminated), (ServiceJobStatus::Runnable, false));
    let reason = "No backend of this cluster runs SAGEMAKER_TRAINING jobs";
    assert!(shown.status_reason.starts_with(reason), "{}", shown.status_reason);
    assert_eq!(shown.retry_strategy, request.retry_strategy);
    assert_eq!(shown.timeout_config, request.timeout_config);
    assert_eq!(shown.scheduling_priority, Some(7));
    assert_eq!(shown.service_request_payload, request.service_request_payload);
    assert_eq!(shown.tags["a"], "b");
    assert!(shown.job_queue.ends_with(":job-queue/train"));
    assert_eq!(w.state.queues[&name("train")].active_jobs, 1);
    assert_eq!(w.refused(terminate(&made.job_id, "")).kind, ErrorKind::Invalid);
    w.refused(terminate(&made.job_id, &"x".repeat(REASON_LENGTH_MAX + 1)));
    w.now = Timestamp(w.now.0 + 5);
    w.does(terminate(&made.job_arn, "not needed"));
    let shown = w.service_job(1).unwrap();
    assert_eq!((shown.status, shown.is_terminated), (ServiceJobStatus::Failed, true));
    assert_eq!((shown.status_reason.as_str(), shown.stopped_at), ("not needed", Some(w.now.0)));
    assert_eq!(w.state.queues[&name("train")].active_jobs, 0);
    // Ending it again, or one that is unknown, changes nothing.
    w.does(terminate(&made.job_id, "again"));
    w.does(terminate("nonsense", "x"));
    assert_eq!(w.service_job(1).unwrap().status_reason, "not needed");
    w.check_replay();
}

#[test]
fn wrong_service_jobs_are_refused() {
    let mut w = World::new();
    w.limits = Limits { timeout_seconds_min: 60, ..Limits::default() };
    w.service_queue();
    let mut refuses = |change: fn(&mut SubmitServiceJob), expected: &str| {
        let mut request = request();
        change(&mut request);
        let error = w.refused(submit(1, request));
        assert!(error.message.contains(expected), "{}", error.message);
    };
    refuses(|r| r.job_name = "-x".into(), "Job name");
    refuses(|r| r.job_queue = "absent".into(), "JobQueue absent not found");
    refuses(|r| r.job_queue = "q".into(), "takes ordinary jobs");
    refuses(|r| r.service_job_type = None, "serviceJobType must be given");
    refuses(|r| r.service_request_payload.clear(), "serviceRequestPayload");
    refuses(|r| r.service_request_payload = "[1]".into(), "must be a JSON object");
    refuses(|r| r.service_request_payload = "{".into(), "must be a JSON object");
    refuses(
        |r| r.service_request_payload = format!("{{\"a\": \"{}\"}}", "x".repeat(10 * 1024)),
        "at most 10240 are allowed",
    );
    refuses(|r| r.scheduling_priority = Some(10_000), "from 0 to 9999, got 10000");
    refuses(|r| r.share_identifier = Some("s".into()), "no fair-share");
    refuses(|r| r.quota_share_name = Some("s".into()), "has no quota shares");
    refuses(
        |r| r.preemption_configuration = Some(PreemptionConfiguration::default()),
        "preemptionConfiguration is for",
    );
    refuses(|r| r.client_token = Some("x".repeat(65)), "clientToken is 65");
    refuses(|r| drop(r.tags.insert(String::new(), String::new())), "tag ``");
    refuses(
        |r| r.timeout_config = Some(ServiceJobTimeout { attempt_duration_seconds: Some(59) }),
        "at least 60, got 59",
    );
    refuses(
        |r| r.retry_strategy = Some(ServiceJobRetryStrategy::default()),
        "from 1 to 100, got 0",
    );
    refuses(
        |r| {
            let rule = ServiceJobEvaluateOnExit {
                on_status_reason: Some("x".repeat(513)),
                ..Default::default()
            };
            let evaluate_on_exit = vec![rule];
            r.retry_strategy = Some(ServiceJobRetryStrategy { attempts: 1, evaluate_on_exit });
        },
        "at most 512",
    );
    refuses(
        |r| {
            let evaluate_on_exit = vec![ServiceJobEvaluateOnExit::default(); 101];
            r.retry_strategy = Some(ServiceJobRetryStrategy { attempts: 1, evaluate_on_exit });
        },
        "101 entries",
    );
    w.does(disable_queue("train"));
    assert!(w.refused(submit(1, request())).message.contains("DISABLED"));
    assert!(w.state.services.jobs.is_empty());
}

#[test]
fn ordinary_jobs_do_not_go_to_a_queue_of_service_jobs() {
    let mut w = World::new();
    w.service_queue();
    let request = SubmitJob { job_queue: "train".into(), ..w.request() };
    let id = JobId::from_u128(99);
    let error = w.refused(Command::Submit { id, request: Box::new(request) });
    assert!(error.message.contains("takes service jobs only"), "{}", error.message);
}

#[test]
fn a_client_token_stands_for_one_job() {
    let mut w = World::new();
    w.service_queue();
    let with = SubmitServiceJob { client_token: Some("t".into()), ..request() };
    let first = w.does(submit(1, with.clone()));
    assert_eq!(w.does(submit(2, with.clone())), first);
    let other = SubmitServiceJob { scheduling_priority: Some(1), ..with.clone() };
    let error = w.refused(submit(2, other));
    assert!(error.message.contains("was used for service job"), "{}", error.message);
    // Without a token each is a new one.
    let without = SubmitServiceJob { client_token: Some(String::new()), ..request() };
    w.does(submit(3, without.clone()));
    w.does(submit(4, without));
    assert_eq!(w.state.services.jobs.len(), 3);
    w.does(terminate(&JobId::from_u128(1).to_string(), "x"));
    assert_eq!(w.does(submit(2, with)), first, "also when it has ended");
    w.check_replay();
}

#[test]
fn the_priority_of_a_job_that_has_not_ended_can_change() {
    let mut w = World::new();
    w.service_queue();
    w.does(submit(1, request()));
    let update = |id: u128, scheduling_priority| {
        let job_id = JobId::from_u128(id).to_string();
        service(ServiceCommand::Update(UpdateServiceJob { job_id, scheduling_priority }))
    };
    let Answer::ServiceJob(changed) = w.does(update(1, Some(5))) else { panic!("no answer") };
    assert_eq!(changed.job_name, "train");
    assert_eq!(w.service_job(1).unwrap().scheduling_priority, Some(5));
    assert!(w.refused(update(1, None)).message.contains("must be given"));
    assert!(w.refused(update(1, Some(10_000))).message.contains("got 10000"));
    assert_eq!(w.refused(update(2, Some(1))).kind, ErrorKind::NotFound);
    w.does(terminate(&JobId::from_u128(1).to_string(), "x"));
    assert_eq!(w.refused(update(1, Some(1))).kind, ErrorKind::Conflict);
}

#[test]
fn many_are_terminated_at_once() {
    let mut w = World::new();
    w.limits = Limits { bulk_jobs: 4, ..Limits::default() };
    w.service_queue();
    (1..=3).for_each(|id| drop(w.does(submit(id, request()))));
    let id = |id: u128| JobId::from_u128(id).to_string();
    let many = |jobs: Vec<String>| {
        let reason = "all".to_owned();
        service(ServiceCommand::TerminateMany(TerminateServiceJobs { jobs, reason }))
    };
    let answer = w.does(many(vec![id(1), id(1), id(9), String::new()]));
    let Answer::Bulk(answer) = answer else { panic!("no answer") };
    assert_eq!(answer.successful, [id(1), id(1), id(9)]);
    assert_eq!(answer.errors.len(), 1);
    assert_eq!(w.service_job(1).unwrap().status, ServiceJobStatus::Failed);
    assert_eq!(w.service_job(2).unwrap().status, ServiceJobStatus::Runnable);
    w.refused(many(Vec::new()));
    assert!(w.refused(many(vec![id(1); 5])).message.contains("at most 4 jobs"));
    w.check_replay();
}

#[test]
fn lists_are_of_a_queue_by_status_or_filters_newest_first() {
    let mut w = World::new();
    w.service_queue();
    w.does(Command::CreateQueue(service_queue("two", &["sage"])));
    w.policy("fair", FairsharePolicy::default());
    let fair = Some("fair".to_owned());
    w.does(Command::CreateQueue(CreateJobQueue {
        scheduling_policy_arn: fair,
        ..service_queue("fair", &["sage"])
    }));
    for id in 1..=3 {
        w.now = Timestamp(w.now.0 + 10);
        w.does(submit(id, SubmitServiceJob { job_name: format!("Job{id}"), ..request() }));
    }
    let middle = w.now.0 - 10;
    w.does(submit(4, SubmitServiceJob { job_queue: "two".into(), ..request() }));
    w.does(terminate(&JobId::from_u128(2).to_string(), "x"));
    let list = ListServiceJobs { job_queue: "train".into(), ..Default::default() };
    assert!(w.listed(&list).is_empty(), "RUNNING if nothing is said, and none is");
    let of = |status| ListServiceJobs { job_status: Some(status), ..list.clone() };
    assert_eq!(w.listed(&of(ServiceJobStatus::Runnable)), [3, 1]);
    assert_eq!(w.listed(&of(ServiceJobStatus::Failed)), [2]);
    let by = |name: &str, value: &str| ListServiceJobs {
        filters: vec![KeyValuesPair { name: name.into(), values: vec![value.into()] }],
        ..list.clone()
    };
    assert_eq!(w.listed(&by("JOB_NAME", "job*")), [3, 2, 1], "whatever the status");
    assert_eq!(w.listed(&by("JOB_NAME", "job2")), [2]);
    assert_eq!(w.listed(&by("BEFORE_CREATED_AT", &middle.to_string())), [1]);
    assert_eq!(w.listed(&by("AFTER_CREATED_AT", &middle.to_string())), [3]);
    assert!(w.listed(&by("QUOTA_SHARE_NAME", "s")).is_empty());
    let first = ListServiceJobs { max_results: Some(2), ..by("JOB_NAME", "*") };
    let page = view::list_service_jobs(&w.state, &first).unwrap();
    let next = ListServiceJobs { next_token: page.next_token, ..first };
    assert_eq!(w.listed(&next), [1]);
    for wrong in [by("JOB_STATUS", "RUNNING"), by("BEFORE_CREATED_AT", "x")] {
        view::list_service_jobs(&w.state, &wrong).unwrap_err();
    }
    for queue in ["", "absent"] {
        let wrong = ListServiceJobs { job_queue: queue.into(), ..list.clone() };
        view::list_service_jobs(&w.state, &wrong).unwrap_err();
    }
    // In a queue with a fair-share policy a share is given.
    let fair = SubmitServiceJob { job_queue: "fair".into(), ..request() };
    assert!(w.refused(submit(5, fair.clone())).message.contains("shareIdentifier must be given"));
    w.does(submit(5, SubmitServiceJob { share_identifier: Some("s".into()), ..fair }));
    let share = |status| ListServiceJobs {
        job_queue: "fair".into(),
        job_status: status,
        ..by("SHARE_IDENTIFIER", "s")
    };
    assert_eq!(w.listed(&share(Some(ServiceJobStatus::Runnable))), [5]);
    assert!(w.listed(&share(None)).is_empty(), "by share the status counts");
    w.check_replay();
}

#[test]
fn the_front_of_a_queue_is_by_submission_and_with_shares_by_priority() {
    let mut w = World::new();
    w.service_queue();
    w.policy("fair", FairsharePolicy::default());
    let policy = Some("fair".to_owned());
    let fair = service_queue("fair", &["sage"]);
    w.does(Command::CreateQueue(CreateJobQueue { scheduling_policy_arn: policy, ..fair }));
    let job = |queue: &str, priority| SubmitServiceJob {
        job_queue: queue.into(),
        scheduling_priority: Some(priority),
        share_identifier: (queue == "fair").then(|| "s".into()),
        ..request()
    };
    for (id, priority) in [(1, 5), (2, 9), (3, 5)] {
        w.now = Timestamp(w.now.0 + 10);
        w.does(submit(id, job("train", priority)));
        w.does(submit(id + 10, job("fair", priority)));
    }
    w.does(terminate(&JobId::from_u128(1).to_string(), "x"));
    let front = |queue: &str| {
        let request = GetJobQueueSnapshot { job_queue: queue.into() };
        view::queue_snapshot(&w.state, &request, w.now).unwrap().front_of_queue.jobs
    };
    let expected = |ids: &[(u128, u64)]| {
        let arn = |id: u128| format!("service-job/{}", JobId::from_u128(id));
        ids.iter().map(|(id, before)| (arn(*id), w.now.0 - before)).collect::<Vec<_>>()
    };
    let shown = |queue: &str| {
        let jobs = front(queue).into_iter();
        let end = |arn: &str| arn.rsplit_once(':').unwrap().1.to_owned();
        jobs.map(|job| (end(&job.job_arn), job.earliest_time_at_position)).collect::<Vec<_>>()
    };
    assert_eq!(shown("train"), expected(&[(2, 10), (3, 0)]));
    assert_eq!(shown("fair"), expected(&[(12, 10), (11, 10), (13, 0)]));
}

#[test]
fn a_queue_that_is_deleted_takes_its_service_jobs_with_it() {
    let mut w = World::new();
    w.service_queue();
    w.does(Command::CreateQueue(service_queue("two", &["sage"])));
    w.does(submit(1, request()));
    w.does(submit(2, SubmitServiceJob { job_queue: "two".into(), ..request() }));
    w.does(disable_queue("train"));
    assert_eq!(w.service_job(1).unwrap().status, ServiceJobStatus::Runnable);
    w.does(Command::DeleteQueue(DeleteJobQueue { job_queue: "train".into() }));
    assert!(!w.state.queues.contains_key(&name("train")));
    let shown = w.service_job(1).unwrap();
    assert_eq!(shown.status, ServiceJobStatus::Failed);
    assert_eq!(shown.status_reason, "Job queue train was deleted");
    assert_eq!(w.service_job(2).unwrap().status, ServiceJobStatus::Runnable);
    w.check_replay();
}

#[test]
fn ended_jobs_are_forgotten_after_a_time_or_for_new_ones() {
    let mut w = World::new();
    w.limits = Limits { service_jobs: 2, ..Limits::default() };
    w.service_queue();
    let id = |id: u128| JobId::from_u128(id).to_string();
    let token = SubmitServiceJob { client_token: Some("t".into()), ..request() };
    w.does(submit(1, token.clone()));
    w.does(submit(2, request()));
    let error = w.refused(submit(3, request()));
    assert!(error.message.contains("there are 2 service jobs that have not ended"), "{error:?}");
    w.does(terminate(&id(1), "x"));
    w.does(submit(3, request()));
    assert_eq!(w.service_job(1).unwrap_err().kind, ErrorKind::NotFound);
    w.does(terminate(&id(2), "x"));
    w.does(submit(4, token)); // the token went with its job, and so does this make room
    let ended = w.now;
    w.does(terminate(&id(3), "x"));
    w.does(Command::Forget(Timestamp(ended.0 - 1)));
    w.service_job(3).unwrap();
    w.does(Command::Forget(ended));
    w.service_job(3).unwrap_err();
    w.service_job(4).unwrap();
    w.check_replay();
}

#[test]
fn environments_and_jobs_have_tags() {
    let mut w = World::new();
    w.service_queue();
    w.does(submit(1, request()));
    let job = w.service_job(1).unwrap().job_arn;
    for resource_arn in ["arn:aws:batch:x:1:service-environment/sage".to_owned(), job] {
        w.does(Command::Tag(TagResource {
            resource_arn: resource_arn.clone(),
            tags: [("a".into(), "1".into()), ("b".into(), "2".into())].into(),
        }));
        let untag =
            UntagResource { resource_arn: resource_arn.clone(), tag_keys: vec!["a".into()] };
        w.does(Command::Untag(untag));
        let shown = view::list_tags(&w.state, &ListTagsForResource { resource_arn }).unwrap();
        assert_eq!(shown.tags.into_iter().collect::<Vec<_>>(), [("b".into(), "2".into())]);
    }
    w.check_replay();
}
