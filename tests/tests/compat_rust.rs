//! What users of AWS Batch do, with the AWS SDK for Rust, with jobs that truly run.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_batch::Client;
use aws_sdk_batch::config::{Credentials, Region, SharedHttpClient};
use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::operation::RequestId;
use aws_sdk_batch::operation::submit_job::builders::SubmitJobFluentBuilder;
use aws_sdk_batch::types::{
    ArrayJobDependency, ArrayProperties, CeStatus, CeType, ComputeEnvironmentOrder,
    ContainerOverrides, ContainerProperties, EvaluateOnExit, FairsharePolicy, JobDefinitionType,
    JobDependency, JobDetail, JobStatus, JobTimeout, KeyValuePair, KeyValuesPair, NodeProperties,
    NodeRangeProperty, ResourceRequirement, ResourceType, RetryAction, RetryStrategy,
    ShareAttributes,
};
use windrow_tests::Cluster;

/// A new key of the cluster.
fn key(cluster: &Cluster, arguments: &[&str]) -> (String, String) {
    let made = cluster.windrow(&[&["key", "create", "-o", "json"], arguments].concat()).json();
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    (text("accessKeyId"), text("secretAccessKey"))
}

fn client(cluster: &Cluster, id: &str, secret: &str) -> Client {
    let http: SharedHttpClient = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_batch::Config::builder()
        .behavior_version_latest()
        .region(Region::from_static("us-east-1"))
        .endpoint_url(cluster.state()["gatewayUrl"].as_str().unwrap())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .http_client(http);
    Client::from_conf(config.build())
}

fn job(client: &Client, name: &str, definition: &str) -> SubmitJobFluentBuilder {
    client.submit_job().job_name(name).job_queue("default").job_definition(definition)
}

/// A job of this command.
fn run(client: &Client, name: &str, command: &[&str]) -> SubmitJobFluentBuilder {
    let overrides = ContainerOverrides::builder().set_command(Some(words(command)));
    job(client, name, "adhoc").container_overrides(overrides.build())
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

async fn submit(job: SubmitJobFluentBuilder) -> String {
    job.send().await.unwrap().job_id.unwrap()
}

async fn detail(client: &Client, job: &str) -> JobDetail {
    let described = client.describe_jobs().jobs(job).send().await.unwrap();
    let [detail] = described.jobs() else { panic!("{described:?}") };
    detail.clone()
}

async fn reaches(client: &Client, job: &str, statuses: &[JobStatus]) -> JobDetail {
    for _ in 0..1200 {
        let detail = detail(client, job).await;
        if detail.status().is_some_and(|status| statuses.contains(status)) {
            return detail;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("`{job}` does not get to {statuses:?}");
}

async fn ended(client: &Client, job: &str) -> JobDetail {
    reaches(client, job, &[JobStatus::Succeeded, JobStatus::Failed]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_definitions_arrays_nodes_ends_tags_and_errors() {
    let cluster = Cluster::start_with(&["--gateway-set", "authentication=keys"]);
    let (id, secret) = key(&cluster, &[]);
    let client = client(&cluster, &id, &secret);
    environments_and_queues(&client).await;
    shares(&client).await;
    definitions(&client).await;
    arrays(&client).await;
    lists_retries_and_time_limits(&client).await;
    nodes(&client).await;
    twins(&client).await;
    ends(&client).await;
    tags(&client).await;
    errors(&client).await;
    keys(&cluster, &id).await;
}

async fn environments_and_queues(client: &Client) {
    let made = client.create_compute_environment().compute_environment_name("own");
    made.r#type(CeType::Unmanaged).tags("team", "a").send().await.unwrap();
    let described = client.describe_compute_environments().compute_environments("own");
    let pages = described.into_paginator().page_size(2).items().send();
    let environments = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let [own] = environments.as_slice() else { panic!("{environments:?}") };
    assert_eq!((own.r#type(), own.status()), (Some(&CeType::Unmanaged), Some(&CeStatus::Valid)));
    assert_eq!(own.tags().unwrap()["team"], "a");
    for name in ["one", "two", "three"] {
        let made = client.create_job_queue().job_queue_name(name).priority(5);
        made.compute_environment_order(order()).send().await.unwrap();
    }
    let pages = client.describe_job_queues().into_paginator().page_size(2).items().send();
    let queues = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let mut names: Vec<&str> = queues.iter().filter_map(|queue| queue.job_queue_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "one", "three", "two"]);
}

fn order() -> ComputeEnvironmentOrder {
    ComputeEnvironmentOrder::builder().order(1).compute_environment("default").build()
}

async fn shares(client: &Client) {
    let red = ShareAttributes::builder().share_identifier("red").weight_factor(0.5).build();
    let fair = FairsharePolicy::builder().share_distribution(red.clone()).build();
    let made = client.create_scheduling_policy().name("fair").fairshare_policy(fair);
    let policy = made.send().await.unwrap().arn.unwrap();
    let shown = client.describe_scheduling_policies().arns(&policy).send().await.unwrap();
    let fair = shown.scheduling_policies()[0].fairshare_policy().unwrap();
    assert_eq!(fair.share_distribution(), [red]);
    let queue = client.create_job_queue().job_queue_name("fair").scheduling_policy_arn(policy);
    queue.priority(5).compute_environment_order(order()).send().await.unwrap();
    let shared = run(client, "shared", &["true"]).job_queue("fair").share_identifier("red");
    let detail = ended(client, &submit(shared).await).await;
    assert_eq!(detail.status(), Some(&JobStatus::Succeeded), "{detail:?}");
    assert_eq!(detail.share_identifier(), Some("red"));
}

/// What a definition needs at least.
fn container(command: &[&str]) -> ContainerProperties {
    let need = |kind, value| ResourceRequirement::builder().r#type(kind).value(value).build();
    ContainerProperties::builder()
        .set_command(Some(words(command)))
        .resource_requirements(need(ResourceType::Vcpu, "0.1"))
        .resource_requirements(need(ResourceType::Memory, "16"))
        .build()
}

async fn definitions(client: &Client) {
    let script = r#"test "$1 $COLOUR" = "hello red""#;
    let properties = container(&["sh", "-c", script, "name", "Ref::word"]);
    for revision in [1, 2] {
        let register = client.register_job_definition().job_definition_name("greets");
        let register = register.r#type(JobDefinitionType::Container);
        let made = register.container_properties(properties.clone()).send().await.unwrap();
        assert_eq!(made.revision(), Some(revision));
    }
    let described = client.describe_job_definitions().job_definitions("greets:1").send().await;
    assert_eq!(described.unwrap().job_definitions()[0].container_properties(), Some(&properties));
    let red = KeyValuePair::builder().name("COLOUR").value("red").build();
    let greets = job(client, "greets", "greets").job_queue("one");
    let greets = greets
        .parameters("word", "hello")
        .container_overrides(ContainerOverrides::builder().environment(red).build());
    let detail = ended(client, &submit(greets).await).await;
    assert_eq!(detail.container().and_then(|container| container.exit_code()), Some(0));
}

async fn arrays(client: &Client) {
    let size = ArrayProperties::builder().size(5).build();
    let first = run(client, "first", &["true"]).array_properties(size.clone());
    let first = submit(first).await;
    let on = JobDependency::builder().job_id(first).r#type(ArrayJobDependency::NToN).build();
    let second = run(client, "second", &["true"]).array_properties(size).depends_on(on);
    let second = submit(second).await;
    let parent = ended(client, &second).await;
    let summary = parent.array_properties().and_then(|array| array.status_summary()).unwrap();
    assert_eq!(summary.get("SUCCEEDED"), Some(&5));
    let children = client.list_jobs().array_job_id(&second).job_status(JobStatus::Succeeded);
    let pages = children.into_paginator().page_size(2).items().send();
    let children = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let indices: BTreeSet<_> =
        children.iter().filter_map(|child| child.array_properties()?.index()).collect();
    assert_eq!((children.len(), indices), (5, (0..5).collect()));
    let sequential = JobDependency::builder().r#type(ArrayJobDependency::Sequential).build();
    let size = ArrayProperties::builder().size(3).build();
    let third = run(client, "third", &["true"]).array_properties(size).depends_on(sequential);
    let third = submit(third).await;
    assert_eq!(ended(client, &third).await.status(), Some(&JobStatus::Succeeded));
    let mut before = 0;
    for index in 0..3 {
        let child = detail(client, &format!("{third}:{index}")).await;
        assert!(before <= child.started_at().unwrap(), "{child:?}");
        before = child.stopped_at().unwrap();
    }
}

async fn lists_retries_and_time_limits(client: &Client) {
    let rule = |action| EvaluateOnExit::builder().action(action);
    let rules = RetryStrategy::builder()
        .attempts(5)
        .evaluate_on_exit(rule(RetryAction::Exit).on_exit_code("9").build())
        .evaluate_on_exit(rule(RetryAction::Retry).on_reason("*").build());
    let script = "exit $(( AWS_BATCH_JOB_ATTEMPT == 2 ? 9 : 1 ))";
    let again = run(client, "again", &["sh", "-c", script]).retry_strategy(rules.build());
    let again = submit(again).await;
    let limit = JobTimeout::builder().attempt_duration_seconds(1).build();
    let slow = submit(run(client, "slow", &["sleep", "600"]).timeout(limit.clone())).await;
    let on = JobDependency::builder().job_id(&again).build();
    let waits = submit(run(client, "waits", &["true"]).depends_on(on)).await;
    let detail = ended(client, &again).await;
    let codes = detail.attempts().iter().map(|attempt| attempt.container()?.exit_code());
    assert_eq!(codes.collect::<Vec<_>>(), [Some(1), Some(9)]);
    let late = ended(client, &slow).await;
    assert_eq!(late.status_reason(), Some("Job attempt duration exceeded timeout"));
    assert_eq!(late.timeout(), Some(&limit));
    let never = ended(client, &waits).await;
    assert_eq!((never.status(), never.attempts()), (Some(&JobStatus::Failed), [].as_slice()));
    let named = KeyValuesPair::builder().name("JOB_NAME").values("AGA*").build();
    let listed = client.list_jobs().job_queue("default").filters(named).send().await.unwrap();
    let [row] = listed.job_summary_list() else { panic!("{listed:?}") };
    assert_eq!(row.job_id(), Some(again.as_str()));
}

async fn nodes(client: &Client) {
    let script = r#"test "$AWS_BATCH_JOB_NUM_NODES" = 2"#;
    let all = NodeRangeProperty::builder()
        .target_nodes("0:")
        .container(container(&["sh", "-c", script]))
        .build();
    let nodes = NodeProperties::builder().num_nodes(2).main_node(0).node_range_properties(all);
    let register = client.register_job_definition().job_definition_name("gang");
    let register = register.r#type(JobDefinitionType::Multinode).node_properties(nodes.build());
    register.send().await.unwrap();
    let gang = submit(job(client, "gang", "gang")).await;
    let whole = ended(client, &gang).await;
    assert_eq!(whole.status(), Some(&JobStatus::Succeeded), "{whole:?}");
    assert_eq!(whole.node_properties().and_then(|nodes| nodes.num_nodes()), Some(2));
    let main = detail(client, &format!("{gang}#0")).await;
    assert_eq!(main.node_details().and_then(|node| node.is_main_node()), Some(true));
}

/// Equal calls at one time are as many jobs.
async fn twins(client: &Client) {
    let twins = (0..10).map(|_| submit(run(client, "twin", &["true"])));
    let twins: BTreeSet<String> = futures::future::join_all(twins).await.into_iter().collect();
    assert_eq!(twins.len(), 10);
    for twin in &twins {
        assert_eq!(ended(client, twin).await.status(), Some(&JobStatus::Succeeded));
    }
}

async fn ends(client: &Client) {
    let runs = submit(run(client, "runs", &["sleep", "600"])).await;
    let on = JobDependency::builder().job_id(&runs).build();
    let waits = submit(run(client, "waits", &["true"]).depends_on(on)).await;
    client.cancel_job().job_id(&waits).reason("not needed").send().await.unwrap();
    assert_eq!(ended(client, &waits).await.status_reason(), Some("not needed"));
    reaches(client, &runs, &[JobStatus::Running]).await;
    client.cancel_job().job_id(&runs).reason("too late").send().await.unwrap();
    client.terminate_job().job_id(&runs).reason("enough").send().await.unwrap();
    assert_eq!(ended(client, &runs).await.status_reason(), Some("enough"));
}

async fn tags(client: &Client) {
    let tagged = submit(run(client, "tagged", &["true"]).tags("a", "1")).await;
    let arn = detail(client, &tagged).await.job_arn.unwrap();
    client.tag_resource().resource_arn(&arn).tags("b/c", "ü").tags("d", "").send().await.unwrap();
    client.untag_resource().resource_arn(&arn).tag_keys("a").send().await.unwrap();
    let tags = client.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags;
    let expected = [("b/c".into(), "ü".into()), ("d".into(), String::new())];
    assert_eq!(tags, Some(expected.into()));
}

async fn errors(client: &Client) {
    let refused = run(client, "a", &["true"]).job_queue("nowhere").send().await.unwrap_err();
    assert!(refused.request_id().is_some_and(|id| id.len() == 36), "{refused:?}");
    let refused = refused.into_service_error();
    assert!(refused.is_client_exception(), "{refused:?}");
    assert!(refused.message().is_some_and(|message| message.contains("nowhere")), "{refused:?}");
}

async fn keys(cluster: &Cluster, id: &str) {
    let policy = cluster.scratch().join("policy.json");
    let text =
        r#"{"Statement": {"Effect": "Allow", "Action": "batch:Describe*", "Resource": "*"}}"#;
    std::fs::write(&policy, text).unwrap();
    let reader = key(cluster, &["--name", "reader", "--policy", policy.to_str().unwrap()]);
    let wrong = "x".repeat(40);
    for (id, secret, code, message) in [
        ("AKIDUNKNOWN", &wrong, "UnrecognizedClientException", "token"),
        (id, &wrong, "InvalidSignatureException", "signature"),
        (&reader.0, &reader.1, "AccessDeniedException", "perform: batch:SubmitJob"),
    ] {
        let refused = run(&client(cluster, id, secret), "a", &["true"]).send().await.unwrap_err();
        assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(403));
        assert_eq!(refused.code(), Some(code), "{refused:?}");
        assert!(refused.message().is_some_and(|text| text.contains(message)), "{refused:?}");
    }
}
