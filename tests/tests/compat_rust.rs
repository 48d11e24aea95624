//! What users of AWS Batch do, with the AWS SDK for Rust, with jobs that truly run.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use aws_sdk_batch::Client;
use aws_sdk_batch::config::{Credentials, Region, SharedHttpClient};
use aws_sdk_batch::error::ProvideErrorMetadata;
use aws_sdk_batch::operation::RequestId;
use aws_sdk_batch::types::{
    ArrayJobDependency, ArrayProperties, ComputeEnvironmentOrder, ContainerOverrides,
    ContainerProperties, JobDefinitionType, JobDependency, JobDetail, JobStatus, KeyValuePair,
    KeyValuesPair, ResourceRequirement, ResourceType, RetryStrategy,
};
use windrow_tests::Cluster;

/// A client with a key of the cluster.
fn client(cluster: &Cluster, secret: Option<&str>) -> Client {
    let made = cluster.windrow(&["key", "create", "--name", "rust", "-o", "json"]).json();
    let secret = secret.or(made["secretAccessKey"].as_str()).unwrap();
    let credentials =
        Credentials::new(made["accessKeyId"].as_str().unwrap(), secret, None, None, "test");
    let http: SharedHttpClient = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_batch::Config::builder()
        .behavior_version_latest()
        .region(Region::from_static("us-east-1"))
        .endpoint_url(cluster.state()["gatewayUrl"].as_str().unwrap())
        .credentials_provider(credentials)
        .http_client(http);
    Client::from_conf(config.build())
}

async fn submit(client: &Client, command: &[&str], array: Option<i32>) -> String {
    let overrides = ContainerOverrides::builder()
        .set_command(Some(command.iter().map(|word| (*word).to_owned()).collect()));
    let array = array.map(|size| ArrayProperties::builder().size(size).build());
    let submitted = client
        .submit_job()
        .job_name("job")
        .job_queue("default")
        .job_definition("adhoc")
        .container_overrides(overrides.build())
        .set_array_properties(array)
        .send();
    submitted.await.unwrap().job_id.unwrap()
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
async fn queues_definitions_arrays_ends_tags_and_errors() {
    let cluster = Cluster::start_with(&["--gateway-set", "authentication=keys"]);
    let client = client(&cluster, None);
    queues(&client).await;
    definitions(&client).await;
    arrays(&client).await;
    ends_and_tags(&client).await;
    errors(&client).await;
    let wrong = self::client(&cluster, Some("0123456789012345678901234567890123456789"));
    let refused = wrong.describe_job_queues().send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidSignatureException"), "{refused:?}");
}

async fn queues(client: &Client) {
    let order = ComputeEnvironmentOrder::builder().order(1).compute_environment("default").build();
    for name in ["one", "two", "three"] {
        let made = client.create_job_queue().job_queue_name(name).priority(5);
        made.compute_environment_order(order.clone()).tags("team", "a").send().await.unwrap();
    }
    let pages = client.describe_job_queues().into_paginator().page_size(2).items().send();
    let queues = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let mut names: Vec<&str> = queues.iter().filter_map(|queue| queue.job_queue_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "one", "three", "two"]);
}

async fn definitions(client: &Client) {
    let need = |kind, value| ResourceRequirement::builder().r#type(kind).value(value).build();
    let script = r#"test "$1 $COLOUR" = "hello red""#;
    let command = ["sh", "-c", script, "name", "Ref::word"].map(str::to_owned).to_vec();
    let properties = ContainerProperties::builder()
        .set_command(Some(command))
        .resource_requirements(need(ResourceType::Vcpu, "0.1"))
        .resource_requirements(need(ResourceType::Memory, "16"))
        .build();
    for revision in [1, 2] {
        let register = client.register_job_definition().job_definition_name("greets");
        let register = register.r#type(JobDefinitionType::Container);
        let made = register.container_properties(properties.clone()).send().await.unwrap();
        assert_eq!(made.revision(), Some(revision));
    }
    let described = client.describe_job_definitions().job_definitions("greets:1").send().await;
    assert_eq!(described.unwrap().job_definitions()[0].container_properties(), Some(&properties));
    let red = KeyValuePair::builder().name("COLOUR").value("red").build();
    let submitted = client
        .submit_job()
        .job_name("greets")
        .job_queue("one")
        .job_definition("greets")
        .parameters("word", "hello")
        .container_overrides(ContainerOverrides::builder().environment(red).build())
        .send();
    let detail = ended(client, submitted.await.unwrap().job_id().unwrap()).await;
    assert_eq!(detail.container().and_then(|container| container.exit_code()), Some(0));
}

async fn arrays(client: &Client) {
    let first = submit(client, &["true"], Some(5)).await;
    let on = JobDependency::builder().job_id(&first).r#type(ArrayJobDependency::NToN).build();
    let submitted = client
        .submit_job()
        .job_name("second")
        .job_queue("default")
        .job_definition("adhoc")
        .container_overrides(ContainerOverrides::builder().command("false").build())
        .array_properties(ArrayProperties::builder().size(5).build())
        .retry_strategy(RetryStrategy::builder().attempts(2).build())
        .depends_on(on)
        .send();
    let second = submitted.await.unwrap().job_id.unwrap();
    let parent = ended(client, &second).await;
    let summary = parent.array_properties().and_then(|array| array.status_summary()).unwrap();
    assert_eq!(summary.get("FAILED"), Some(&5));
    assert_eq!(detail(client, &format!("{second}:4")).await.attempts().len(), 2);
    let children = client.list_jobs().array_job_id(&second).job_status(JobStatus::Failed);
    let pages = children.into_paginator().page_size(2).items().send();
    assert_eq!(pages.collect::<Result<Vec<_>, _>>().await.unwrap().len(), 5);
    let named = KeyValuesPair::builder().name("JOB_NAME").values("SEC*").build();
    let listed = client.list_jobs().job_queue("default").filters(named).send().await.unwrap();
    assert_eq!(listed.job_summary_list()[0].job_id(), Some(second.as_str()));
}

async fn ends_and_tags(client: &Client) {
    let runs = submit(client, &["sleep", "600"], None).await;
    let arn = reaches(client, &runs, &[JobStatus::Running]).await.job_arn.unwrap();
    client.tag_resource().resource_arn(&arn).tags("b/c", "ü").tags("d", "").send().await.unwrap();
    client.untag_resource().resource_arn(&arn).tag_keys("d").send().await.unwrap();
    let tags = client.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags;
    assert_eq!(tags.unwrap().into_iter().collect::<Vec<_>>(), [("b/c".into(), "ü".into())]);
    client.cancel_job().job_id(&runs).reason("too late").send().await.unwrap();
    client.terminate_job().job_id(&runs).reason("enough").send().await.unwrap();
    assert_eq!(ended(client, &runs).await.status_reason(), Some("enough"));
}

async fn errors(client: &Client) {
    let submitted = client.submit_job().job_name("a").job_queue("nowhere").job_definition("adhoc");
    let refused = submitted.send().await.unwrap_err();
    assert!(refused.request_id().is_some_and(|id| id.len() == 36), "{refused:?}");
    let refused = refused.into_service_error();
    assert!(refused.is_client_exception(), "{refused:?}");
    assert!(refused.message().is_some_and(|message| message.contains("nowhere")), "{refused:?}");
}
