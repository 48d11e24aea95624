//! A Docker engine that is restarted, or does not answer, with jobs running. Faults 32 and 33 of
//! ARCHITECTURE.md. The engine is one of the test's own; where none can be started (that needs root) the
//! tests are skipped with a word.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by it too")]

#[path = "support/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod cluster;
#[path = "support/docker.rs"]
mod docker;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::Cluster;
use docker::{World, make_image_in, shell, skipped};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use windrow_agent::executor::docker::ping;
use windrow_agent::executor::{DockerConfig, ExecutorEvent};
use windrow_common::wire::agent::{Executor, Register};

/// An engine of the test's own.
struct Engine {
    directory: TempDir,
    live_restore: bool,
    process: Child,
}

impl Engine {
    /// Nothing, with a word, where none can be started.
    fn start(live_restore: bool) -> Option<Self> {
        if skipped() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let process = spawn(directory.path(), live_restore);
        let mut engine = Self { directory, live_restore, process };
        if engine.wait_until_ready() {
            make_image_in(&engine.socket());
            return Some(engine);
        }
        let log = fs::read_to_string(engine.directory.path().join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        eprintln!("skipped: no Docker engine can be started here: {last:?}");
        None
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    fn is_ready(&self) -> bool {
        let config = DockerConfig { socket: self.socket(), ..docker::config(Path::new("/")) };
        ping(&config).is_ok()
    }

    fn wait_until_ready(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            if self.is_ready() {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    fn restart(&mut self) {
        self.signal(Signal::SIGTERM);
        self.process.wait().unwrap();
        self.process = spawn(self.directory.path(), self.live_restore);
        let log = self.directory.path().join("log");
        assert!(self.wait_until_ready(), "{}", fs::read_to_string(log).unwrap());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that stands still cannot end.
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGCONT);
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

fn spawn(directory: &Path, live_restore: bool) -> Child {
    let of = |name: &str| directory.join(name).display().to_string();
    let log = File::options().create(true).append(true).open(of("log")).unwrap();
    // In a network of its own: an engine without a bridge removes the bridge that it finds.
    let mut command = Command::new("unshare");
    command.args(["--net", "dockerd"]);
    command.args(["--host", &format!("unix://{}", of("docker.sock"))]);
    command.args(["--data-root", &of("data"), "--exec-root", &of("exec"), "--pidfile", &of("pid")]);
    // Nothing of the machine's own engine or network is touched.
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
    command.args(["--containerd-namespace", "windrow-test"]);
    command.args(["--containerd-plugins-namespace", "windrow-test-plugins"]);
    command.arg(format!("--live-restore={live_restore}"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// Fault 32, without live-restore.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_a_restarted_engine_is_lost_with_the_host_and_not_its_own_failure() {
    let Some(mut engine) = Engine::start(false) else { return };
    for _ in 0..2 {
        let mut world = World::on(&engine.socket());
        let key = world.start(shell("echo runs; sleep 1000")).await;
        world.logged(key, "runs\n").await;
        engine.restart();
        let end = world.end(key).await;
        let ExecutorEvent::Lost { reason, .. } = end else { panic!("{end:?}") };
        assert_eq!(reason, "the Docker engine was restarted");
        // And the engine is of use again.
        let key = world.start(shell("exit 3")).await;
        assert_eq!(world.exit(key).await.0, 3);
    }
}

/// Fault 32, with live-restore.
#[tokio::test(flavor = "multi_thread")]
async fn with_live_restore_jobs_do_not_notice_a_restarted_engine() {
    let Some(mut engine) = Engine::start(true) else { return };
    let mut world = World::on(&engine.socket());
    let release = world.directory.path().join("release");
    let mut spec = shell("echo runs; until [ -e /data/release ]; do sleep 0.1; done; exit 4");
    spec.mounts = vec![docker::mount("data", "/data", false)];
    let mut task = windrow_common::wire::lease::TaskSpec::single(spec);
    task.volumes = vec![docker::host("data", world.directory.path())];
    let key = world.start_task(task).await;
    world.logged(key, "runs\n").await;
    engine.restart();
    fs::write(release, "").unwrap();
    assert_eq!(world.exit(key).await.0, 4);
}

/// Fault 33: the agent lives on, says so, and takes the engine back when it answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stands_still_is_told_and_the_agent_goes_on() {
    let Some(engine) = Engine::start(false) else { return };
    let mut cluster = Cluster::start().await;
    let socket = format!("docker.socket={}", engine.socket().display());
    let _agent = cluster.start_agent(&[&socket, "docker.enabled=on"]);
    let has_docker = |register: &Register| register.executors.contains(&Executor::Docker);
    assert!(has_docker(&cluster.accept(Vec::new()).await));
    engine.signal(Signal::SIGSTOP);
    let register = registered(&mut cluster, |register| !has_docker(register)).await;
    assert!(register.problems[0].message.contains("does not answer"), "{register:?}");
    assert!(!register.problems[0].takes_no_work, "plain processes still run");
    cluster.lease("exit 6", 1).await;
    assert_eq!(cluster.ended(1).await.0[&0].exit_code, Some(6));
    engine.signal(Signal::SIGCONT);
    let register = registered(&mut cluster, has_docker).await;
    assert!(register.problems.is_empty());
}

/// Registrations until one is as wanted.
async fn registered(cluster: &mut Cluster, wanted: impl Fn(&Register) -> bool) -> Register {
    loop {
        let register = cluster.accept(Vec::new()).await;
        if wanted(&register) {
            return register;
        }
    }
}
