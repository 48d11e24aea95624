//! More than fits: full streams, crowds, storms and readers that do not read. What cannot be taken is
//! refused or comes again; nothing is lost, and nobody else waits.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::streams::{Retention, Streams};
use windrow_common::subjects::Subjects;
use windrow_common::time::wall_clock;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Executor, Register, RegisterReply};
use windrow_tests::part::signal;
use windrow_tests::{Cluster, wait_until};

/// A client below the CLI.
struct Raw {
    client: async_nats::Client,
    context: jetstream::Context,
    subjects: Subjects,
}

impl Raw {
    async fn connect(cluster: &Cluster) -> Self {
        let client = async_nats::connect(cluster.nats_url()).await.unwrap();
        let context = jetstream::new(client.clone());
        Self { client, context, subjects: Subjects::new("windrow".parse().unwrap()) }
    }

    fn streams(&self) -> Streams {
        Streams::new(self.subjects.clone())
    }

    /// Publishes a submission and waits for the stream's acknowledgement.
    async fn publish(&self, request: &Value) -> Result<(), jetstream::context::PublishError> {
        let subject = self.subjects.submit(&"default".parse().unwrap());
        self.context.publish(subject, request.to_string().into()).await?.await.map(drop)
    }
}

fn start(settings: &[&str]) -> Cluster {
    let mut options = vec!["--vcpus-per-agent", "8"];
    for setting in settings {
        options.extend(["--coordinator-set", setting]);
    }
    Cluster::start_with(&options)
}

fn job(name: &str) -> Value {
    json!({"jobName": name, "jobDefinition": "adhoc", "containerOverrides": {"command": ["true"],
        "resourceRequirements": [{"type": "VCPU", "value": "0.1"}, {"type": "MEMORY", "value": "4"}]}})
}

fn listed(cluster: &Cluster, arguments: &[&str]) -> usize {
    let mut all = vec!["job", "list", "--status", "all", "-q"];
    all.extend(arguments);
    cluster.windrow(&all).ok().lines().count()
}

/// Fault 19: the stream of submissions is full. The server refuses, and takes more once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn full_submissions_are_refused_and_what_was_taken_is_not_lost() {
    let cluster = start(&["submit_mib=1"]);
    let raw = Raw::connect(&cluster).await;
    let pid = cluster.pid("coordinator");
    signal(pid, Signal::SIGSTOP);
    let mut large = job("pressed");
    large["parameters"] = json!({"p": "x".repeat(100_000)});
    let mut taken = 0;
    let refused = loop {
        match raw.publish(&large).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 20, "a stream of 1 MiB takes no 2 MB");
    };
    assert!(refused.to_string().contains("maximum bytes"), "{refused}");
    signal(pid, Signal::SIGCONT);
    wait_until("all that were taken", 60, || {
        (listed(&cluster, &["--name", "pressed"]) == taken).then_some(())
    });
    raw.publish(&large).await.unwrap();
    wait_until("one more", 60, || {
        (listed(&cluster, &["--name", "pressed"]) == taken + 1).then_some(())
    });
}

/// Fault 19: the history takes nothing. Jobs go on, finished ones wait in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_takes_nothing_holds_nobody_up() {
    let cluster = start(&["finished_jobs=5", "heartbeat=300ms", "lease_ttl=10s"]);
    let raw = Raw::connect(&cluster).await;
    let good = raw.streams().history(&Retention { replicas: 1, ..Retention::default() });
    let stream = raw.context.get_stream(&good.name).await.unwrap();
    let before = stream.cached_info().config.clone();
    let full = jetstream::stream::Config { max_message_size: 1, ..before.clone() };
    raw.context.update_stream(full).await.unwrap();
    let jobs: Vec<String> = (0..20).map(|_| cluster.submit(&["--", "true"])).collect();
    for id in &jobs {
        assert_eq!(cluster.ended(id, 60)["status"], "SUCCEEDED");
    }
    let status = || cluster.windrow(&["cluster", "status", "-o", "json"]).json();
    assert_eq!((&status()["jobs"], &status()["shelvedJobs"]), (&json!(20), &json!(0)));
    raw.context.update_stream(before).await.unwrap();
    wait_until("finished jobs to leave the memory", 60, || {
        (status()["shelvedJobs"] == 15).then_some(())
    });
    assert_eq!(listed(&cluster, &[]), 20);
}

/// Fault 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_submissions_at_once_under_one_key_are_one_job() {
    let cluster = start(&[]);
    let raw = Raw::connect(&cluster).await;
    let mut request = job("once");
    request["jobQueue"] = json!("default");
    request["idempotencyKey"] = json!("one key");
    let answers = (0..100)
        .map(|_| raw.client.request(raw.subjects.api("SubmitJob"), request.to_string().into()));
    let answers = futures::future::join_all(answers).await;
    let id = |answer: Result<async_nats::Message, _>| {
        let body: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        body["jobId"].as_str().unwrap().to_owned()
    };
    let ids: BTreeSet<String> = answers.into_iter().map(id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(listed(&cluster, &["--name", "once"]), 1);
}

/// Fault 40: submissions come again long before they can be acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_redeliveries_makes_no_job_twice() {
    let cluster = start(&[]);
    let raw = Raw::connect(&cluster).await;
    let names = raw.streams();
    let name = names.submissions(&Retention::default()).name;
    let stream = raw.context.get_stream(&name).await.unwrap();
    let hasty = jetstream::consumer::pull::Config {
        ack_wait: Duration::from_millis(1),
        ..names.submissions_consumer()
    };
    stream.update_consumer(hasty).await.unwrap();
    let request = job("stormy");
    let sent = (0..300).map(|_| raw.publish(&request));
    for result in futures::future::join_all(sent).await {
        result.unwrap();
    }
    wait_until("every submission to be taken", 60, || {
        (listed(&cluster, &["--name", "stormy"]) >= 300).then_some(())
    });
    // Behind all that may still come again.
    cluster.windrow(&["run", "--", "true"]).ok();
    assert_eq!(listed(&cluster, &["--name", "stormy"]), 300);
    let consumer = stream.consumer_info("coordinator").await.unwrap();
    let delivered = consumer.delivered.consumer_sequence;
    assert!(delivered > 400, "it was a storm: {delivered} deliveries of 300 submissions");
}

/// Fault 41: more agents than a stream has consumers by default register at once. All are answered, and so is everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_herd_of_agents_registers_and_others_are_answered_meanwhile() {
    let cluster = start(&[]);
    let raw = Raw::connect(&cluster).await;
    let register = |number: usize| {
        let agent: windrow_common::ids::Name = format!("herd-{number}").parse().unwrap();
        let request = Register {
            version: windrow_common::wire::VERSION,
            agent: agent.clone(),
            boot: 1,
            host: "h".into(),
            compute_environment: "default".parse().unwrap(),
            resources: Resources::new(1, 1),
            executors: vec![Executor::Process],
            architecture: "X86_64".into(),
            agent_version: "0".into(),
            clock: wall_clock(),
            held: Vec::new(),
            address: None,
            gpus: Vec::new(),
            term_seen: 0,
            lease_seen: windrow_common::ids::LeaseId::default(),
            problems: Vec::new(),
            number: 0,
        };
        let asked = async_nats::Request::new()
            .timeout(Some(Duration::from_secs(120)))
            .payload(to_msgpack(&request).into());
        raw.client.send_request(raw.subjects.register(&agent), asked)
    };
    let herd = futures::future::join_all((0..1_100).map(register));
    let meanwhile = async {
        for _ in 0..5 {
            let subject = raw.subjects.api("DescribeCluster");
            let asked = async_nats::Request::new()
                .timeout(Some(Duration::from_secs(60)))
                .payload("{}".into());
            raw.client.send_request(subject, asked).await.unwrap();
        }
    };
    let (answers, ()) = futures::future::join(herd, meanwhile).await;
    for answer in answers {
        let reply: RegisterReply = from_msgpack(&answer.unwrap().payload).unwrap();
        assert!(matches!(reply, RegisterReply::Accepted(_)), "{reply:?}");
    }
    // The agent that was there has not been lost over it.
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
}

/// Fault 39: somebody follows events and does not read them.
#[test]
fn a_reader_that_stands_still_holds_nobody_up_and_catches_up() {
    let cluster = start(&[]);
    let follow = |arguments: &[&str]| {
        cluster.program("windrow").args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut events = follow(&["events", "-f", "-o", "jsonl"]);
    let pid = i32::try_from(events.id()).unwrap();
    let first = cluster.submit(&["--", "true"]);
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // It follows.
    assert!(lines.any(|line| line.unwrap().contains(&first)));
    signal(pid, Signal::SIGSTOP);
    let array = ["--array", "500", "--vcpus", "0.1", "--memory", "4", "--", "true"];
    let id = cluster.submit(&array);
    assert_eq!(cluster.ended(&id, 120)["status"], "SUCCEEDED");
    signal(pid, Signal::SIGCONT);
    let is_end = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["subject"] == *id && event["data"]["status"] == "SUCCEEDED"
    };
    assert!(lines.any(|line| is_end(&line.unwrap())), "it goes on where it was");
    events.kill().unwrap();
    events.wait().unwrap();
}

/// Fault 20: a flood of what cannot be read fills nothing but its own, bounded stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_poison_is_bounded() {
    let cluster = start(&[]);
    let raw = Raw::connect(&cluster).await;
    let name = raw.streams().dead_letters(&Retention::default()).name;
    let stream = raw.context.get_stream(&name).await.unwrap();
    let small =
        jetstream::stream::Config { max_bytes: 64 * 1024, ..stream.cached_info().config.clone() };
    raw.context.update_stream(small).await.unwrap();
    let subject = raw.subjects.submit(&"default".parse().unwrap());
    for _ in 0..100 {
        let poison = vec![0xc1_u8; 4096];
        raw.context.publish(subject.clone(), poison.into()).await.unwrap().await.unwrap();
    }
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
    let mut stream = stream;
    let state = stream.info().await.unwrap().state.clone();
    assert!(state.bytes <= 64 * 1024 && state.last_sequence >= 90, "{state:?}");
    let mut letters = raw.client.subscribe("windrow.dead.>").await.unwrap();
    raw.context.publish(subject, "no".into()).await.unwrap().await.unwrap();
    assert_eq!(letters.next().await.unwrap().payload, "no");
}
