//! A cluster of its own for one test: `windrow up` on a fresh directory and a free port, stopped
//! when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::part::{is_alive, processes_with, signal};
use crate::program::{self, Finished};
use crate::wait_until;

/// A running cluster.
pub struct Cluster {
    directory: TempDir,
    options: Vec<String>,
}

impl Cluster {
    /// One agent with 8 vCPUs, whatever the machine has: jobs of tests are small.
    pub fn start() -> Self {
        Self::start_with(&["--vcpus-per-agent", "8"])
    }

    /// With these options of `windrow up`.
    pub fn start_with(options: &[&str]) -> Self {
        // Not the usual ports, which another cluster of this machine may be about to take.
        let port = || free_port().to_string();
        let mut all = vec!["--port".to_owned(), port(), "--gateway-port".to_owned(), port()];
        all.extend(options.iter().map(|&o| o.to_owned()));
        let directory = TempDir::with_prefix("windrow-e2e-").expect("a temporary directory");
        let cluster = Self { directory, options: all };
        cluster.up();
        cluster
    }

    /// Starts it again after [`Self::down`].
    pub fn up(&self) {
        let mut arguments = vec!["up", "--detach"];
        arguments.extend(self.options.iter().map(String::as_str));
        self.windrow(&arguments).ok();
    }

    /// Stops it; jobs are kept.
    pub fn down(&self) {
        self.windrow(&["down"]).ok();
    }

    /// A directory of this cluster for a test's own files.
    pub fn scratch(&self) -> PathBuf {
        let scratch = self.directory.path().join("scratch");
        std::fs::create_dir_all(&scratch).expect("scratch directory");
        scratch
    }

    /// The cluster's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A program of ours, to be run against this cluster.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(program::directory().join(name));
        command
            .env("WINDROW_DATA_DIRECTORY", self.data())
            .env_remove("WINDROW_NATS_URL")
            .env_remove("WINDROW_OUTPUT")
            .current_dir(self.scratch());
        command
    }

    /// Runs `windrow` to its end.
    pub fn windrow(&self, arguments: &[&str]) -> Finished {
        Finished::run(self.program("windrow").args(arguments))
    }

    /// Submits with these arguments and gives the job's id.
    pub fn submit(&self, arguments: &[&str]) -> String {
        let mut all = vec!["submit", "-q"];
        all.extend(arguments);
        self.windrow(&all).ok()
    }

    /// The job as DescribeJobs gives it.
    pub fn job(&self, id: &str) -> Value {
        let mut answer = self.windrow(&["job", "get", id, "-o", "json"]).json();
        answer["jobs"][0].take()
    }

    /// Waits until the job has ended and gives it.
    pub fn ended(&self, id: &str, seconds: u64) -> Value {
        let limit = format!("{seconds}s");
        let waited = self.windrow(&["job", "wait", id, "--timeout", &limit]);
        assert!(
            matches!(waited.code, 0 | 10 | 11),
            "job {id} did not end in {seconds} s: {waited:?}\n{:#}",
            self.job(id)
        );
        self.job(id)
    }

    /// What `windrow up` wrote about itself.
    pub fn state(&self) -> Value {
        let file = self.data().join("cluster.json");
        let text = std::fs::read(&file).expect("cluster.json of a running cluster");
        serde_json::from_slice(&text).expect("cluster.json is JSON")
    }

    /// Address of its NATS server.
    pub fn nats_url(&self) -> String {
        self.state()["natsUrl"].as_str().expect("natsUrl").to_owned()
    }

    /// Process id of the coordinator that leads; absent while nobody answers.
    pub fn leader(&self) -> Option<i32> {
        let asked = self.windrow(&["--timeout", "2s", "cluster", "status", "-o", "json"]);
        let status: Value = serde_json::from_str(&asked.stdout).ok()?;
        status["leader"].as_str()?.rsplit_once('-')?.1.parse().ok()
    }

    /// Process id of a part, such as `coordinator`, `nats-server` or `agent-1`.
    pub fn pid(&self, part: &str) -> i32 {
        self.running(part).unwrap_or_else(|| panic!("no {part}: {:#}", self.state()))
    }

    fn running(&self, part: &str) -> Option<i32> {
        let state = self.state();
        let found = state["parts"].as_array()?.iter().find(|p| p["name"] == part)?;
        i32::try_from(found["pid"].as_i64()?).ok()
    }

    /// Ends a part as `kill -9` does and waits until its successor runs and the cluster answers.
    pub fn kill(&self, part: &str) {
        let pid = self.pid(part);
        signal(pid, Signal::SIGKILL);
        self.wait_for_successor(part, pid);
    }

    /// Waits until a part that was killed has a successor and the cluster answers.
    pub fn wait_for_successor(&self, part: &str, pid: i32) {
        wait_until(&format!("a new {part}"), 30, || {
            let next = self.running(part)?;
            (next != pid && is_alive(next)).then_some(())
        });
        wait_until("the cluster to answer", 30, || {
            (self.windrow(&["cluster", "status"]).code == 0).then_some(())
        });
    }

    fn print_logs(&self) {
        let logs = std::fs::read_dir(self.data().join("logs")).into_iter().flatten().flatten();
        for log in logs {
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("---- {}\n{tail}", log.path().display());
        }
    }

    fn end_what_is_left(&self, data: &Path) {
        let data = data.to_string_lossy();
        for pid in processes_with(&[&data]) {
            // Between the look and the signal it may have ended by itself.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        let stopped = self.windrow(&["down"]);
        self.end_what_is_left(self.directory.path());
        if !std::thread::panicking() {
            stopped.ok();
        }
    }
}

/// A port of this host that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
