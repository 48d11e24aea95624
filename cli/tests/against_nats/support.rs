//! A NATS server, an answer for each request, and the program.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_common::api::ApiError;
use windrow_common::streams::{HEADER_ERROR, Retention, Streams};
use windrow_common::subjects::Subjects;

pub(super) const JOB: &str = "01900000-0000-7000-8000-000000000001";

/// Answers an operation's request.
pub(super) type Responder = fn(&str, &Value) -> Result<Value, ApiError>;

/// A NATS server of its own, killed when dropped.
pub(super) struct Server {
    child: Child,
    port: u16,
    pub(super) url: String,
    store: TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
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
    pub(super) fn restart(&mut self) {
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
    pub(super) fn respond(&self, answer: Responder) {
        self.respond_after(0, answer);
    }

    /// The same, but takes so many requests before without a word, as a coordinator does that starts over.
    pub(super) fn respond_after(&self, dropped: usize, answer: Responder) {
        let url = self.url.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = async_nats::connect(url).await.unwrap();
                let requests = client.subscribe("windrow.api.*").await.unwrap();
                let mut requests = requests.skip(dropped);
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

    pub(super) fn windrow(&self, arguments: &[&str]) -> Output {
        windrow(&self.url, arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) fn windrow(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(arguments)
        .env("WINDROW_NATS_URL", url)
        .env_remove("WINDROW_OUTPUT")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(super) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(super) fn job(status: &str) -> Value {
    json!({"jobArn": "arn", "jobId": JOB, "jobName": "x", "jobQueue": "default",
        "jobDefinition": "adhoc:1", "createdAt": 1, "status": status})
}

/// A job whose one attempt ended with exit code 3 and wrote 6 bytes.
pub(super) fn ended_with_3() -> Value {
    let mut job = job("FAILED");
    let outcome = json!({"exitCode": 3, "logBytes": 6});
    job["container"] = outcome.clone();
    job["attempts"] = json!([{ "container": outcome }]);
    job
}

/// The streams that the coordinator makes, and a client to fill them.
pub(super) async fn streams(server: &Server) -> (async_nats::jetstream::Context, Subjects) {
    let subjects = Subjects::new("windrow".parse().unwrap());
    let streams = Streams::new(subjects.clone());
    let retention = Retention { replicas: 1, log_bytes: 1 << 20, ..Retention::default() };
    let jetstream = async_nats::jetstream::new(async_nats::connect(&server.url).await.unwrap());
    jetstream.create_stream(streams.logs(&retention)).await.unwrap();
    jetstream.create_stream(streams.dead_letters(&retention)).await.unwrap();
    (jetstream, subjects)
}

pub(super) async fn publish(
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
