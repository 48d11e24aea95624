//! What users get wrong gives a clear refusal or a FAILED job with a reason; never a panic, never
//! a job that is stuck.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::{Value, json};
use windrow_common::api::OPERATIONS;
use windrow_common::streams::{HEADER_ERROR, HEADER_REASON, HEADER_REPLY_TO, REQUEST_BYTES_MAX};
use windrow_common::subjects::Subjects;
use windrow_tests::Cluster;

/// A client below the CLI, for what the CLI itself would not send.
struct Raw {
    client: async_nats::Client,
    subjects: Subjects,
}

impl Raw {
    async fn connect(cluster: &Cluster) -> Self {
        let client = async_nats::connect(cluster.nats_url()).await.unwrap();
        Self { client, subjects: Subjects::new("windrow".parse().unwrap()) }
    }

    /// The refusal that an API request gets.
    async fn refusal(&self, operation: &str, payload: &str) -> Value {
        let subject = self.subjects.api(operation);
        let answer = self.client.request(subject, payload.to_owned().into()).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.payload).unwrap();
        let headers = answer.headers.unwrap_or_default();
        assert!(headers.get(HEADER_ERROR).is_some(), "{operation} took {payload:.80}: {body:#}");
        assert!(body["message"].as_str().is_some_and(|m| m.len() > 10), "{body:#}");
        body
    }

    async fn submit_refusal(&self, request: Value) -> String {
        let body = self.refusal("SubmitJob", &request.to_string()).await;
        format!("{} {}", body["message"], body["hint"])
    }
}

fn assert_names(message: &str, words: &[&str]) {
    let lower = message.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "no `{word}` in: {message}");
    }
}

#[test]
fn commands_on_unknown_things_say_so() {
    let cluster = Cluster::start();
    let stranger = "01900000-0000-7000-8000-000000000000";
    let cases: &[(&[&str], i32, &str)] = &[
        (&["submit", "--queue", "nowhere", "--", "true"], 4, "nowhere"),
        (&["submit", "--job-definition", "nothing"], 4, "nothing"),
        (&["submit", "--job-definition", "adhoc:99", "--", "true"], 4, "adhoc:99"),
        (&["submit", "--depends-on", stranger, "--", "true"], 4, stranger),
        (&["job", "get", stranger], 4, stranger),
        (&["job", "logs", stranger], 4, stranger),
        (&["queue", "get", "nowhere"], 4, "nowhere"),
        (&["queue", "create", "q", "--ce", "nowhere"], 4, "nowhere"),
        (&["agent", "drain", "nobody"], 4, "nobody"),
        (&["submit", "--name", "a.>", "--", "true"], 2, "a.>"),
        (&["submit", "--depends-on", "x", "--", "true"], 2, "x"),
        (&["submit", "--array", "1", "--", "true"], 1, "array"),
        (&["submit", "--array", "1000001", "--", "true"], 1, "1000000"),
        (&["submit", "--attempts", "101", "--", "true"], 1, "attempts"),
        (&["submit", "--timeout-seconds", "0", "--", "true"], 1, "timeout"),
        (&["queue", "create", "default"], 6, "default"),
    ];
    for (arguments, code, word) in cases {
        let message = cluster.windrow(arguments).fails_with(*code);
        assert!(message.starts_with("error: "), "{arguments:?}: {message}");
        assert_names(&message, &[word]);
    }
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused() {
    let cluster = Cluster::start();
    let raw = Raw::connect(&cluster).await;
    let job = |change: Value| {
        let mut request = json!({"jobName": "j", "jobQueue": "default", "jobDefinition": "adhoc",
            "containerOverrides": {"command": ["true"]}});
        for (key, value) in change.as_object().unwrap() {
            match (request.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
                (Some(old), Some(new)) => old.extend(new.clone()),
                (_, _) => request[key] = value.clone(),
            }
        }
        request
    };
    let cases = [
        (job(json!({"jobName": "a.>"})), "1 to 128 letters"),
        (job(json!({"jobName": ""})), "name"),
        (job(json!({"jobName": "x".repeat(129)})), "128"),
        (job(json!({"jobQueue": "default.*"})), "default.*"),
        (job(json!({"jobQueue": ""})), "queue"),
        (job(json!({"jobDefinition": "adhoc:x"})), "adhoc:x"),
        (job(json!({"arrayProperties": {"size": 0}})), "0"),
        (job(json!({"arrayProperties": {"size": 1_000_001}})), "1000000"),
        (job(json!({"arrayProperties": {"size": -1}})), "-1"),
        (job(json!({"dependsOn": [{"jobId": "x"}]})), "x"),
        (job(json!({"dependsOn": [{"type": "SEQUENTIAL"}]})), "SEQUENTIAL"),
        (job(json!({"retryStrategy": {"attempts": 0}})), "attempts"),
        (job(json!({"containerOverrides": {"vcpus": 0}})), "vCPU"),
        (
            job(json!({"containerOverrides": {"resourceRequirements": [
            {"type": "VCPU", "value": "many"}]}})),
            "many",
        ),
        (
            job(json!({"containerOverrides": {"resourceRequirements": [
            {"type": "MEMORY", "value": "99999999999"}]}})),
            "99999999999",
        ),
        (
            job(json!({"containerOverrides": {"resourceRequirements": [
            {"type": "FPGA", "value": "1"}]}})),
            "FPGA",
        ),
        (job(json!({"idempotencyKey": "k".repeat(257)})), "256"),
        (job(json!({"surprise": 1})), "surprise"),
    ];
    for (request, word) in cases {
        assert_names(&raw.submit_refusal(request).await, &[word]);
    }
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
}

/// Faults 21 and 24.
#[tokio::test(flavor = "multi_thread")]
async fn undecodable_requests_are_refused_by_every_operation() {
    let cluster = Cluster::start();
    let raw = Raw::connect(&cluster).await;
    let nested = "[".repeat(100_000);
    for operation in OPERATIONS {
        for payload in ["{", "[1]", "\u{0}\u{1}", nested.as_str()] {
            let body = raw.refusal(operation, payload).await;
            assert_eq!(body["kind"], "Invalid", "{operation} {body:#}");
        }
    }
    assert_eq!(raw.refusal("NoSuchOperation", "{}").await["kind"], "NotFound");
    let large = format!("{{\"jobName\": \"{}\"}}", "x".repeat(REQUEST_BYTES_MAX));
    assert_eq!(raw.refusal("SubmitJob", &large).await["kind"], "TooLarge");
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
}

/// Fault 20.
#[tokio::test(flavor = "multi_thread")]
async fn published_submissions_that_cannot_be_taken_are_dead_letters() {
    let cluster = Cluster::start();
    let raw = Raw::connect(&cluster).await;
    let jetstream = async_nats::jetstream::new(raw.client.clone());
    let payloads: [&[u8]; 4] = [
        b"not json",
        b"{\"jobName\": \"j\", \"jobDefinition\": \"nothing\"}",
        b"{\"jobName\": \"a.>\", \"jobDefinition\": \"adhoc\"}",
        b"\xc1\xff\x00",
    ];
    let inbox = raw.client.new_inbox();
    let mut answers = raw.client.subscribe(inbox.clone()).await.unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("bad-{number}"));
        headers.insert(HEADER_REPLY_TO, inbox.as_str());
        let subject = raw.subjects.submit(&"default".parse().unwrap());
        let sent = jetstream.publish_with_headers(subject, headers, payload.to_vec().into());
        sent.await.unwrap().await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), next(&mut answers)).await;
        let answer = answer.expect("an answer to a bad submission");
        assert!(answer.headers.unwrap().get(HEADER_ERROR).is_some());
    }
    let subject = raw.subjects.submit(&"nowhere".parse().unwrap());
    let good = b"{\"jobName\": \"j\", \"jobDefinition\": \"adhoc\"}".to_vec();
    jetstream.publish(subject, good.into()).await.unwrap().await.unwrap();

    let letters = windrow_tests::wait_until("five dead letters", 20, || {
        let listed = cluster.windrow(&["deadletter", "list", "-o", "jsonl"]).ok();
        (listed.lines().count() == 5).then_some(listed)
    });
    assert_names(&letters, &["nothing", "a.>", "nowhere", "windrow.submit.nowhere"]);
    assert_eq!(HEADER_REASON, "Windrow-Reason");
    assert_eq!(cluster.windrow(&["run", "--", "echo", "still here"]).ok(), "still here");
}

async fn next(answers: &mut async_nats::Subscriber) -> async_nats::Message {
    futures::StreamExt::next(answers).await.expect("the connection stays")
}

#[test]
fn jobs_that_cannot_start_fail_with_a_reason() {
    let cluster = Cluster::start();
    let cases: &[(&[&str], &str)] = &[
        (&["--", "no-such-command-here"], "no-such-command-here"),
        (&["--workdir", "/no/such/directory", "--", "true"], "/no/such/directory"),
        (&["--", "/etc/passwd"], "/etc/passwd"),
        (&["--image", "127.0.0.1:1/no/such:image", "--", "true"], "CannotPullContainerError"),
        (&["--timeout-seconds", "1", "--", "sleep", "60"], "timeout"),
    ];
    for (arguments, word) in cases {
        let id = cluster.submit(arguments);
        let job = cluster.ended(&id, 60);
        assert_eq!(job["status"], "FAILED", "{job:#}");
        assert_names(&format!("{} {}", job["statusReason"], job["attempts"]), &[word]);
    }
}

#[test]
fn a_job_that_fits_nowhere_says_so_while_it_waits() {
    let cluster = Cluster::start();
    let id = cluster.submit(&["--vcpus", "1000", "--", "true"]);
    let message = cluster.windrow(&["job", "wait", &id, "--timeout", "7s"]).fails_with(124);
    assert_names(&message, &["needs 1000 vCPU", "the largest agent offers"]);
    assert_eq!(cluster.job(&id)["status"], "RUNNABLE");
}

#[test]
fn a_failed_dependency_fails_what_waits_for_it() {
    let cluster = Cluster::start();
    let first = cluster.submit(&["--", "sh", "-c", "exit 3"]);
    let second = cluster.submit(&["--depends-on", &first, "--array", "3", "--", "true"]);
    let third = cluster.submit(&["--depends-on", &second, "--", "true"]);
    let job = cluster.ended(&third, 60);
    assert_eq!(job["status"], "FAILED", "{job:#}");
    assert!(job["statusReason"].as_str().unwrap().to_lowercase().contains("depend"), "{job:#}");
    assert_eq!(cluster.job(&second)["status"], "FAILED");
}
