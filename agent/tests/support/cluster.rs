//! A real NATS server, the agent's program, and the test in the coordinator's place.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::streams::{HEADER_DROPPED, HEADER_OFFSET, Retention, Streams};
use windrow_common::subjects::Subjects;
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{
    Control, Ended, Held, Register, RegisterReply, Report, ReportMessage, SelfFence, Session,
};
use windrow_common::wire::container::ContainerSpec;
use windrow_common::wire::lease::{Lease, Order, OrderMessage, TaskSpec};

/// No wait in these tests is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed at the end of the test, whatever its outcome.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("start {command:?}: {error}; is WINDROW_NATS_SERVER set?"),
        }
    }

    /// The most memory it had so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        kill(pid, signal).expect("the process is there");
    }

    /// Waits for its end; its exit code.
    pub(crate) async fn wait(&mut self) -> Option<i32> {
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the process does not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nats_program() -> PathBuf {
    std::env::var_os("WINDROW_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from)
}

/// The cluster: NATS, and the coordinator's side of it.
pub(crate) struct Cluster {
    _nats: Process,
    url: String,
    directory: tempfile::TempDir,
    pub(crate) client: async_nats::Client,
    jetstream: jetstream::Context,
    subjects: Subjects,
    streams: Streams,
    registrations: async_nats::Subscriber,
    reports: pull::Stream,
    agent: Name,
    environment: Name,
    session: u64,
    last_lease: u64,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(nats_program());
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]);
        command.arg(directory.path().join("nats")).stderr(Stdio::null());
        let nats = Process::start(&mut command);
        let url = format!("nats://127.0.0.1:{port}");
        let client = connect(&url).await;
        let jetstream = jetstream::new(client.clone());
        let subjects = Subjects::new("test".parse().unwrap());
        let streams = Streams::new(subjects.clone());
        let retention = Retention { replicas: 1, log_bytes: 64 << 20, ..Retention::default() };
        let others = [streams.reports(&retention), streams.logs(&retention)];
        for config in streams.leases(&retention).into_iter().chain(others) {
            jetstream.create_stream(config).await.unwrap();
        }
        let stream = jetstream.get_stream(streams.reports(&retention).name).await.unwrap();
        let consumer = stream.create_consumer(streams.reports_consumer()).await.unwrap();
        let reports = consumer.messages().await.unwrap();
        let registrations = client.subscribe(subjects.agents_all().0).await.unwrap();
        Self {
            _nats: nats,
            url,
            directory,
            client,
            jetstream,
            subjects,
            streams,
            registrations,
            reports,
            agent: "agent-1".parse().unwrap(),
            environment: "here".parse().unwrap(),
            session: 0,
            last_lease: 0,
        }
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn start_agent(&self, settings: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-agent"));
        command.args(["--nats-url", &self.url, "--cluster", "test", "--name", "agent-1"]);
        command.args(["--compute-environment", "here", "--vcpus", "4", "--memory", "1024"]);
        command.arg("--state-directory").arg(self.directory.path().join("state"));
        for setting in settings {
            command.args(["--set", setting]);
        }
        Process::start(&mut command)
    }

    /// Takes the agent's next registration into a new session.
    pub(crate) async fn accept(&mut self, fenced: Vec<Held>) -> Register {
        self.agree(fenced, None).await
    }

    /// The same, with what the agent does when its heartbeats are not answered; these never are.
    pub(crate) async fn agree(
        &mut self,
        fenced: Vec<Held>,
        self_fence: Option<SelfFence>,
    ) -> Register {
        let next = tokio::time::timeout(PATIENCE, self.registrations.next()).await;
        let message = next.expect("a registration comes").unwrap();
        let register: Register = from_msgpack(&message.payload).unwrap();
        assert_eq!(register.agent, self.agent);
        self.session += 1;
        let leases = self.streams.lease_stream(&self.agent);
        let stream = self.jetstream.get_stream(&leases).await.unwrap();
        let config = self.streams.lease_consumer(&self.environment, &self.agent, self.session);
        let consumer = config.durable_name.clone().unwrap();
        if self.session > 1 {
            let old = format!("{}-{}", self.agent, self.session - 1);
            stream.delete_consumer(&old).await.unwrap();
        }
        stream.create_consumer(config).await.unwrap();
        let session = Session {
            session: self.session,
            term: 1,
            stream: leases,
            consumer,
            heartbeat_millis: 500,
            fenced,
            self_fence,
        };
        let reply = to_msgpack(&RegisterReply::Accepted(session));
        self.client.publish(message.reply.unwrap(), reply.into()).await.unwrap();
        register
    }

    /// Lets a registration go unanswered, as a coordinator that dies does. Whether one came in time.
    pub(crate) async fn leave_unanswered(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.registrations.next()).await.is_ok()
    }

    pub(crate) async fn ask_to_register(&self) {
        let subject = self.subjects.control(&self.agent);
        self.client.publish(subject, to_msgpack(&Control::Register).into()).await.unwrap();
    }

    pub(crate) async fn order(&self, specs: &[TaskSpec], orders: Vec<Order>) {
        let message = OrderMessage {
            version: wire::VERSION,
            term: 1,
            session: self.session,
            specs: specs.iter().map(|spec| (spec.digest(), spec.clone())).collect(),
            orders,
        };
        let subject = self.subjects.lease(&self.environment, &self.agent);
        self.jetstream.publish(subject, to_msgpack(&message).into()).await.unwrap().await.unwrap();
    }

    /// Leases an array of `count` children that run `script` in a shell.
    pub(crate) async fn lease(&mut self, script: &str, count: u32) -> Lease {
        self.lease_with(script, count, Resources::new(1000, 64)).await
    }

    /// The same, with these needs of each.
    pub(crate) async fn lease_with(
        &mut self,
        script: &str,
        count: u32,
        resources: Resources,
    ) -> Lease {
        self.last_lease += 1;
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let spec =
            TaskSpec::single(ContainerSpec { command, resources, ..ContainerSpec::default() });
        let lease = Lease {
            id: LeaseId(self.last_lease),
            job: JobId::generate(),
            array_size: Some(count),
            first: 0,
            count,
            attempt: 1,
            spec: spec.digest(),
            resources,
            timeout_seconds: None,
            queue: "queue".parse().unwrap(),
            compute_environment: self.environment.clone(),
            nodes: None,
        };
        self.order(&[spec], vec![Order::Run(lease.clone())]).await;
        lease
    }

    /// The agent's next report message of this session.
    pub(crate) async fn report(&mut self) -> ReportMessage {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.reports.next()).await;
            let message = next.expect("a report comes").unwrap().unwrap();
            let report: ReportMessage = from_msgpack(&message.payload).unwrap();
            if report.session == self.session {
                return report;
            }
        }
    }

    /// Reads reports until `count` children ended; them, and the number of the last report.
    pub(crate) async fn ended(&mut self, count: usize) -> (BTreeMap<u32, Ended>, u64) {
        let mut ended = BTreeMap::new();
        loop {
            let message = self.report().await;
            let last = message.first + message.reports.len() as u64 - 1;
            for report in message.reports {
                if let Report::Ended(one) = report {
                    assert!(ended.insert(one.child, one).is_none(), "a result comes once");
                }
            }
            if ended.len() >= count {
                return (ended, last);
            }
        }
    }

    /// The output of a child, waiting until its first `bytes` bytes are there or told as left out;
    /// and how many were left out.
    pub(crate) async fn output(&self, lease: &Lease, child: u32, bytes: u64) -> (String, u64) {
        let (output, dropped) = self.output_bytes(lease, child, bytes).await;
        (String::from_utf8(output).unwrap(), dropped)
    }

    /// The same, whatever the bytes are.
    pub(crate) async fn output_bytes(
        &self,
        lease: &Lease,
        child: u32,
        bytes: u64,
    ) -> (Vec<u8>, u64) {
        let job = windrow_common::ids::JobRef::child(lease.job, child);
        let stream = self.jetstream.get_stream(stream_name(&self.streams)).await.unwrap();
        let config = jetstream::consumer::pull::OrderedConfig {
            filter_subject: self.subjects.log(job, lease.attempt),
            ..Default::default()
        };
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let (mut output, mut dropped) = (Vec::new(), 0);
        while output.len() as u64 + dropped < bytes {
            let next = tokio::time::timeout(PATIENCE, messages.next()).await;
            let message = next.expect("output comes").unwrap().unwrap();
            let headers = message.headers.as_ref().unwrap();
            let number = |name: &str| headers.get(name).map(|v| v.as_str().parse::<u64>().unwrap());
            dropped += number(HEADER_DROPPED).unwrap_or(0);
            assert_eq!(number(HEADER_OFFSET), Some(output.len() as u64 + dropped));
            output.extend(&message.payload);
        }
        (output, dropped)
    }
}

fn stream_name(streams: &Streams) -> String {
    let retention = Retention { replicas: 1, log_bytes: 1, ..Retention::default() };
    streams.logs(&retention).name
}

async fn connect(url: &str) -> async_nats::Client {
    for _ in 0..PATIENCE.as_millis() / 50 {
        if let Ok(client) = async_nats::connect(url).await {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} serves {url}: set WINDROW_NATS_SERVER", nats_program().display());
}

/// Waits until the file exists.
pub(crate) async fn wait_for(path: &Path) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("`{}` does not appear", path.display());
}
