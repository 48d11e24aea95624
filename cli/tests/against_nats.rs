//! The program against a real NATS server, with a small responder in the place of the coordinator:
//! only what the CLI itself decides is tested here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must say so")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_common::api::ApiError;
use windrow_common::api::events::TYPE_STATE_CHANGE;
use windrow_common::ids::JobRef;
use windrow_common::streams::{
    HEADER_DROPPED, HEADER_ERROR, HEADER_OFFSET, HEADER_REASON, HEADER_SUBJECT, Retention, Streams,
};
use windrow_common::subjects::Subjects;

const JOB: &str = "01900000-0000-7000-8000-000000000001";

/// Answers an operation's request.
type Responder = fn(&str, &Value) -> Result<Value, ApiError>;

/// A NATS server of its own, killed when dropped.
struct Server {
    child: Child,
    port: u16,
    url: String,
    store: TempDir,
}

impl Server {
    fn start() -> Self {
        let store = TempDir::new().unwrap();
        let port = free_port();
        let child = Self::spawn(port, &store);
        let server = Self { child, port, url: format!("nats://127.0.0.1:{port}"), store };
        server.listens();
        server
    }

    fn spawn(port: u16, store: &TempDir) -> Child {
        let program = std::env::var_os("WINDROW_NATS_SERVER").unwrap_or("nats-server".into());
        let port = port.to_string();
        Command::new(&program)
            .args(["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir"])
            .arg(store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start {program:?} (set WINDROW_NATS_SERVER): {e}"))
    }

    /// Ends it as `kill -9` does and starts it again with what it had stored.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.port, &self.store);
        self.listens();
    }

    fn listens(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Answers every API request by `answer(operation, request)` on a thread of its own.
    fn respond(&self, answer: Responder) {
        let url = self.url.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = async_nats::connect(url).await.unwrap();
                let mut requests = client.subscribe("windrow.api.*").await.unwrap();
                client.flush().await.unwrap();
                ready.send(()).unwrap();
                while let Some(message) = requests.next().await {
                    let operation = message.subject.rsplit('.').next().unwrap();
                    let request = serde_json::from_slice(&message.payload).unwrap();
                    let mut headers = async_nats::HeaderMap::new();
                    let payload = match answer(operation, &request) {
                        Ok(response) => serde_json::to_vec(&response),
                        Err(error) => {
                            headers.insert(HEADER_ERROR, error.code.as_str());
                            serde_json::to_vec(&error)
                        }
                    };
                    let to = message.reply.clone().unwrap();
                    let payload = payload.unwrap().into();
                    client.publish_with_headers(to, headers, payload).await.unwrap();
                    client.flush().await.unwrap();
                }
            });
        });
        is_ready.recv().unwrap();
    }

    fn windrow(&self, arguments: &[&str]) -> Output {
        windrow(&self.url, arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn windrow(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(arguments)
        .env("WINDROW_NATS_URL", url)
        .env_remove("WINDROW_OUTPUT")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn job(status: &str) -> Value {
    json!({"jobArn": "arn", "jobId": JOB, "jobName": "x", "jobQueue": "default",
        "jobDefinition": "adhoc:1", "createdAt": 1, "status": status})
}

/// The streams that the coordinator makes, and a client to fill them.
async fn streams(server: &Server) -> (async_nats::jetstream::Context, Subjects) {
    let subjects = Subjects::new("windrow".parse().unwrap());
    let streams = Streams::new(subjects.clone());
    let retention = Retention { replicas: 1, log_bytes: 1 << 20, ..Retention::default() };
    let jetstream = async_nats::jetstream::new(async_nats::connect(&server.url).await.unwrap());
    jetstream.create_stream(streams.logs(&retention)).await.unwrap();
    jetstream.create_stream(streams.dead_letters(&retention)).await.unwrap();
    (jetstream, subjects)
}

async fn publish(
    jetstream: &async_nats::jetstream::Context,
    subject: String,
    headers: &[(&str, &str)],
    payload: &'static str,
) {
    let mut map = async_nats::HeaderMap::new();
    headers.iter().for_each(|(key, value)| map.insert(*key, *value));
    let ack = jetstream.publish_with_headers(subject, map, payload.into()).await.unwrap();
    ack.await.unwrap();
}

#[test]
fn without_a_server_the_exit_code_is_7_and_the_hint_is_up() {
    let output = windrow(&format!("nats://127.0.0.1:{}", free_port()), &["job", "list"]);
    assert_eq!(code(&output), 7);
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: connect to NATS") && stderr.contains("windrow up"),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn without_a_coordinator_the_exit_code_is_7_too() {
    let server = Server::start();
    let output = server.windrow(&["cluster", "status", "--timeout", "200ms", "-o", "json"]);
    assert_eq!(code(&output), 7);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["kind"], &error["retryable"]), (&json!("Unavailable"), &json!(true)));
    assert!(error["message"].as_str().unwrap().contains("no coordinator"), "{error}");
}

#[test]
fn a_refusal_is_shown_with_its_hint_and_exit_code() {
    let server = Server::start();
    server.respond(|_, _| Err(ApiError::not_found("queue `x` does not exist").hint("list them")));
    let output = server.windrow(&["submit", "--queue", "x", "--job-definition", "d"]);
    assert_eq!(code(&output), 4);
    assert_eq!(text(&output.stderr), "error: queue `x` does not exist\nhint: list them\n");
    let output = server.windrow(&["queue", "list", "-o", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let expected = json!({"code": "ClientException", "kind": "NotFound",
        "message": "queue `x` does not exist", "hint": "list them", "retryable": false});
    assert_eq!(error, expected);
}

#[test]
fn usage_errors_exit_with_2() {
    for wrong in [
        &["job", "get"][..],
        &["submit", "--depends-on", "x"],
        &["nonsense"],
        &["job", "get", "no-uuid"],
    ] {
        assert_eq!(code(&windrow("nats://127.0.0.1:1", wrong)), 2, "{wrong:?}");
    }
}

#[test]
fn a_submission_carries_a_key_and_quiet_prints_only_the_id() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(operation, "SubmitJob");
        assert_eq!(request["idempotencyKey"].as_str().unwrap().len(), 36);
        assert_eq!(request["containerOverrides"]["command"], json!(["echo", "-n", "hi"]));
        assert_eq!(request["dependsOn"], json!([{"jobId": JOB, "type": "N_TO_N"}]));
        Ok(json!({"jobArn": "arn", "jobId": JOB, "jobName": request["jobName"]}))
    });
    let dependency = format!("N_TO_N:{JOB}");
    let output =
        server.windrow(&["submit", "-q", "--depends-on", &dependency, "--", "echo", "-n", "hi"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (format!("{JOB}\n").as_str(), ""));
    assert_eq!(code(&output), 0);
}

#[test]
fn lists_are_paged_and_printed_in_each_format() {
    let server = Server::start();
    server.respond(|_, request| {
        assert_eq!(request["jobStatus"], "ALL");
        let next = request["nextToken"].is_null().then_some("more");
        Ok(json!({"jobSummaryList": [job("RUNNING")], "nextToken": next}))
    });
    let output = server.windrow(&["job", "list", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schemaVersion"], 1);
    assert_eq!(document["jobSummaryList"].as_array().unwrap().len(), 2);
    let output = server.windrow(&["job", "list", "-o", "jsonl", "--limit", "1"]);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let output = server.windrow(&["job", "list", "-q"]);
    assert_eq!(text(&output.stdout), format!("{JOB}\n{JOB}\n"));
    let output = server.windrow(&["job", "list"]);
    let table = text(&output.stdout);
    assert!(
        table.starts_with("ID ") && table.lines().count() == 3 && !table.contains('\x1b'),
        "{table}"
    );
}

#[test]
fn waits_end_with_the_jobs_outcome_or_the_time_limit() {
    let cases: [(Responder, i32); 5] = [
        (|_, _| Ok(json!({"jobs": [job("SUCCEEDED")]})), 0),
        (|_, _| Ok(json!({"jobs": [job("FAILED")]})), 10),
        (
            |_, _| {
                let mut job = job("FAILED");
                job["isTerminated"] = json!(true);
                Ok(json!({"jobs": [job]}))
            },
            11,
        ),
        (|_, _| Ok(json!({"jobs": [job("RUNNABLE")]})), 124),
        (|_, _| Ok(json!({"jobs": []})), 4),
    ];
    for (answer, expected) in cases {
        let server = Server::start();
        server.respond(answer);
        let output = server.windrow(&["job", "wait", JOB, "--timeout", "500ms"]);
        assert_eq!(code(&output), expected, "{}", text(&output.stderr));
    }
}

/// A job whose one attempt ended with exit code 3 and wrote 6 bytes.
fn ended_with_3() -> Value {
    let mut job = job("FAILED");
    let outcome = json!({"exitCode": 3, "logBytes": 6});
    job["container"] = outcome.clone();
    job["attempts"] = json!([{ "container": outcome }]);
    job
}

#[tokio::test]
async fn output_is_printed_without_repeat_and_drops_are_told() {
    let server = Server::start();
    server.respond(|_, _| Ok(json!({"jobs": [ended_with_3()]})));
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    let dropped = [(HEADER_OFFSET, "4"), (HEADER_DROPPED, "2")];
    publish(&jetstream, subject, &dropped, "b\n").await;
    for arguments in [&["job", "logs", JOB][..], &["logs", "-f", JOB]] {
        let output = server.windrow(arguments);
        assert_eq!((code(&output), text(&output.stdout)), (0, "a\nb\n"), "{arguments:?}");
        assert!(text(&output.stderr).contains("2 bytes of output were left out"));
    }
    let output = server.windrow(&["logs", "--prefix", JOB]);
    assert_eq!(text(&output.stdout), "[0] a\n[0] b\n");
    let output = server.windrow(&["logs", "--attempt", "2", JOB]);
    assert_eq!(text(&output.stdout), "");
}

#[tokio::test]
async fn the_output_of_one_of_several_containers_is_picked_out() {
    let server = Server::start();
    server.respond(|_, _| {
        let mut job = ended_with_3();
        let of = |name: &str| json!({"name": name, "image": "busybox"});
        job["ecsProperties"] = json!({"taskProperties": [{"containers": [of("app"), of("side")]}]});
        Ok(json!({"jobs": [job]}))
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    let all = "app | one\nside | two\napp | three\n";
    publish(&jetstream, subject, &[(HEADER_OFFSET, "0")], all).await;
    assert_eq!(text(&server.windrow(&["logs", JOB]).stdout), all);
    let app = server.windrow(&["logs", JOB, "--container", "app"]);
    assert_eq!(text(&app.stdout), "one\nthree\n");
    let unknown = server.windrow(&["logs", JOB, "--container", "ap"]);
    assert_eq!(code(&unknown), 4);
    assert!(text(&unknown.stderr).contains("its containers are app, side"));
}

#[tokio::test]
async fn run_shows_the_output_and_exits_with_the_jobs_code() {
    let server = Server::start();
    server.respond(|operation, request| match operation {
        "SubmitJob" => Ok(json!({"jobArn": "arn", "jobId": JOB, "jobName": request["jobName"]})),
        _ => Ok(json!({"jobs": [ended_with_3()]})),
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject, &[(HEADER_OFFSET, "0")], "hello\n").await;
    let output = server.windrow(&["run", "--", "echo", "hello"]);
    assert_eq!((code(&output), text(&output.stdout)), (3, "hello\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_when_the_server_comes_back() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    let mut server = Server::start();
    server.respond(|_, _| {
        let ended = ENDED.load(Ordering::SeqCst);
        Ok(json!({"jobs": [if ended { ended_with_3() } else { job("RUNNING") }]}))
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    let mut follow = Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(["logs", "-f", JOB])
        .env("WINDROW_NATS_URL", &server.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    server.restart();
    let (jetstream, _) = streams(&server).await;
    for (offset, line) in [("2", "b\n"), ("4", "c\n")] {
        publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, offset)], line).await;
    }
    ENDED.store(true, Ordering::SeqCst);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["b", "c"]);
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn dead_letters_are_listed_newest_last() {
    let server = Server::start();
    let (jetstream, subjects) = streams(&server).await;
    let output = server.windrow(&["deadletter", "list"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, "no dead letters\n"));
    for (reason, payload) in [("first", "{"), ("not JSON", "nonsense")] {
        let headers = [(HEADER_REASON, reason), (HEADER_SUBJECT, "windrow.submit.q")];
        publish(&jetstream, subjects.dead(&"submit".parse().unwrap()), &headers, payload).await;
    }
    let output = server.windrow(&["deadletter", "list", "--limit", "1", "-o", "json"]);
    let letters: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [letter] = letters["deadLetters"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!((&letter["reason"], &letter["size"]), (&json!("not JSON"), &json!(8)));
    assert_eq!(
        (&letter["payload"], &letter["subject"]),
        (&json!("nonsense"), &json!("windrow.submit.q"))
    );
}

#[tokio::test]
async fn an_event_ends_a_wait_before_it_would_look_again() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let server = Server::start();
    server.respond(|_, _| {
        let status = if ASKED.swap(true, Ordering::SeqCst) { "SUCCEEDED" } else { "RUNNABLE" };
        Ok(json!({"jobs": [job(status)]}))
    });
    let client = async_nats::connect(&server.url).await.unwrap();
    let subject = Subjects::new("windrow".parse().unwrap())
        .event(&"default".parse().unwrap(), JOB.parse().unwrap());
    let event = json!([{"specversion": "1.0", "id": "1", "source": "windrow", "type": TYPE_STATE_CHANGE,
        "subject": JOB, "time": "2023-11-14T22:13:20Z", "data": job("SUCCEEDED")}]);
    let publish = async {
        loop {
            client.publish(subject.clone(), event.to_string().into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Less than the time after which a wait looks without an event.
    let wait = tokio::task::spawn_blocking(move || {
        server.windrow(&["job", "wait", JOB, "--timeout", "4s"])
    });
    tokio::select! {
        output = wait => assert_eq!(code(&output.unwrap()), 0),
        () = publish => {}
    }
}

#[test]
fn up_refuses_a_server_that_is_too_old() {
    let directory = TempDir::new().unwrap();
    let server: PathBuf = directory.path().join("nats-server");
    std::fs::write(&server, "#!/bin/sh\necho 'nats-server: v2.10.20'\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&server, executable).unwrap();
    for detach in [&["up"][..], &["up", "--detach"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_windrow"))
            .args(detach)
            .env_remove("WINDROW_NATS_URL")
            .env("WINDROW_NATS_SERVER", &server)
            .env("WINDROW_DATA_DIRECTORY", directory.path().join("data"))
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(code(&output), 1, "{stderr}");
        assert!(stderr.contains("2.10.20") && stderr.contains("hint: "), "{stderr}");
        assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}

#[test]
fn a_long_list_is_printed_page_by_page() {
    let server = Server::start();
    server.respond(|_, request| {
        let first = request["nextToken"].as_str().is_none();
        let filters = json!([{"name": "JOB_NAME", "values": ["al*"]}, {"name": "AFTER_CREATED_AT", "values": ["1000"]},
            {"name": "JOB_STATUS", "values": ["FAILED"]}]);
        assert_eq!(request["filters"], filters);
        assert!(request["maxResults"].as_u64().unwrap() <= 100, "what is allowed with filters");
        // A page may be empty and still have a token.
        Ok(match (first, request["nextToken"].as_str()) {
            (true, _) => json!({"jobSummaryList": [], "nextToken": "1"}),
            (_, Some("1")) => json!({"jobSummaryList": [job("FAILED")], "nextToken": "2"}),
            (_, _) => json!({"jobSummaryList": [job("FAILED")]}),
        })
    });
    let flags =
        ["job", "list", "--name", "al*", "--since", "1970-01-01T00:00:01Z", "--status", "failed"];
    let with = |more: &[&str]| server.windrow(&[&flags[..], more].concat());
    let table = with(&[]);
    let lines: Vec<&str> = text(&table.stdout).lines().collect();
    assert_eq!((code(&table), lines.len()), (0, 3), "{lines:?} {}", text(&table.stderr));
    assert!(lines[0].starts_with("ID") && lines[1].starts_with(JOB) && lines[2].starts_with(JOB));
    let document: Value = serde_json::from_slice(&with(&["-o", "json"]).stdout).unwrap();
    assert_eq!(document["jobSummaryList"].as_array().unwrap().len(), 2);
    assert_eq!(text(&with(&["-o", "jsonl"]).stdout).lines().count(), 2);
    assert_eq!(text(&with(&["-q", "--limit", "2"]).stdout), format!("{JOB}\n{JOB}\n"));
}

#[test]
fn tags_are_asked_for_by_the_names_people_use() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(request["resourceArn"], "job-queue/default");
        Ok(match operation {
            "ListTagsForResource" => json!({"tags": {"team": "a"}}),
            "TagResource" => {
                assert_eq!(request["tags"], json!({"team": "a", "empty": ""}));
                json!({})
            }
            other => {
                assert_eq!((other, &request["tagKeys"]), ("UntagResource", &json!(["team"])));
                json!({})
            }
        })
    });
    let set = server.windrow(&["tag", "set", "queue/default", "team=a", "empty="]);
    assert_eq!((code(&set), text(&set.stdout)), (0, "queue/default: tagged\n"));
    let list = server.windrow(&["tag", "list", "queue/default", "-o", "json"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&list.stdout).unwrap()["tags"],
        json!({"team": "a"})
    );
    let list = server.windrow(&["tag", "list", "job-queue/default"]);
    assert_eq!(text(&list.stdout), "KEY   VALUE\nteam  a\n");
    assert_eq!(code(&server.windrow(&["tag", "remove", "queue/default", "team"])), 0);
}

#[test]
fn a_plan_that_has_to_wait_says_why_and_exits_with_3() {
    fn explanation(code: &str) -> Value {
        json!({"jobId": JOB, "jobName": "x", "jobQueue": "default", "status": "RUNNABLE",
            "code": code, "class": "HOST", "message": "no agent of compute environment `e` is UP",
            "hint": "start an agent", "nodesConsidered": 2, "excluded": {"LOST": 2},
            "noEstimate": "nothing will change by itself"})
    }
    let server = Server::start();
    server.respond(|operation, request| {
        let wanted = |name: &str| request["job"]["jobName"] == name;
        Ok(match operation {
            "PlanJob" if wanted("now") => json!({"startsNow": true, "agents": ["a"], "job": job("RUNNABLE")}),
            "PlanJob" if wanted("later") => json!({"startsNow": false, "job": job("PENDING"),
                "explanation": explanation("DEPENDENCY_PENDING")}),
            "PlanJob" => {
                // An image's ad-hoc definition comes along and is not registered.
                assert_eq!(request["definition"]["containerProperties"]["image"], "busybox");
                json!({"startsNow": false, "job": job("RUNNABLE"), "explanation": explanation("NO_AGENT")})
            }
            "ExplainJob" => explanation("NO_AGENT"),
            "ExplainQueue" => json!({"reasons": [{"jobQueue": "default", "code": "NO_AGENT",
                "children": 7, "jobs": 2, "example": JOB, "message": "none"}], "children": {"RUNNABLE": 7}}),
            other => panic!("{other}"),
        })
    });
    let output = server.windrow(&["submit", "--dry-run", "--name", "now", "--", "true"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, "it would start at once on agent `a`\n"));
    assert_eq!(code(&server.windrow(&["plan", "--name", "later", "--", "true"])), 0);
    let output = server.windrow(&["plan", "--image", "busybox", "--", "true"]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 3, "{shown}");
    assert!(shown.starts_with("it would wait: NO_AGENT\n") && shown.contains("2 LOST"), "{shown}");
    let output = server.windrow(&["job", "why", JOB]);
    let expected = format!(
        "{JOB}  RUNNABLE  NO_AGENT\nno agent of compute environment `e` is UP\n\
         Hint:       start an agent\nAgents:     2 looked at: 2 LOST\n"
    );
    assert_eq!((code(&output), text(&output.stdout)), (0, expected.as_str()));
    let why = server.windrow(&["queue", "why", "default", "-o", "json"]);
    let why: Value = serde_json::from_slice(&why.stdout).unwrap();
    assert_eq!(why["reasons"][0]["children"], 7);
}

#[test]
fn a_policy_is_listed_with_its_shares_and_updated_as_a_whole() {
    let server = Server::start();
    server.respond(|operation, request| {
        let fair = json!({"shareDecaySeconds": 60, "shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.5}]});
        Ok(match operation {
            "ListSchedulingPolicies" => {
                let next = request["nextToken"].is_null().then_some("1");
                json!({"schedulingPolicies": [{"arn": next.unwrap_or("2")}], "nextToken": next})
            }
            "DescribeSchedulingPolicies" => {
                let name = &request["arns"][0];
                json!({"schedulingPolicies": [{"name": name, "arn": name, "fairsharePolicy": fair}]})
            }
            other => {
                assert_eq!((other, &request["arn"]), ("UpdateSchedulingPolicy", &json!("p")));
                let shares = json!([{"shareIdentifier": "a", "weightFactor": 0.5}, {"shareIdentifier": "b", "weightFactor": 2.0}]);
                let fair = json!({"shareDecaySeconds": 60, "shareDistribution": shares});
                assert_eq!(request["fairsharePolicy"], fair);
                json!({})
            }
        })
    });
    assert_eq!(text(&server.windrow(&["policy", "list", "-q"]).stdout), "1\n2\n");
    let shown = server.windrow(&["policy", "get", "p"]);
    assert!(text(&shown.stdout).contains("a=0.5"), "{shown:?}");
    assert_eq!(code(&server.windrow(&["policy", "update", "p", "--share", "b=2"])), 0);
    assert_eq!(code(&server.windrow(&["policy", "update", "p"])), 2);
}
