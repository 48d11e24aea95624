//! The Docker executor with a real engine and an image made here from the static busybox.
//!
//! Without an engine these tests fail, unless `WINDROW_TEST_NO_DOCKER=1` says that none is meant to
//! be here.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use windrow_agent::executor::{
    AttemptKey, DockerConfig, DockerExecutor, Environment, Error, ExecutorEvent, StartRequest,
    StopSignal,
};
use windrow_common::ids::{JobId, LeaseId};
use windrow_common::units::Resources;
use windrow_common::wire::container::{ContainerSpec, Mount, Volume, VolumeSource};
use windrow_common::wire::lease::TaskSpec;

/// Long enough for a loaded engine; only a failing test waits for it.
const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "windrow-test-busybox:1";

struct World {
    directory: TempDir,
    executor: DockerExecutor,
    events: Receiver<Vec<ExecutorEvent>>,
    seen: Vec<ExecutorEvent>,
    next_child: u32,
    job: JobId,
}

fn skipped() -> bool {
    std::env::var_os("WINDROW_TEST_NO_DOCKER").is_some_and(|value| value == "1")
}

/// Makes the image once: busybox, a shell, and no command of its own.
fn make_image() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::create_dir_all(root.path().join("tmp")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nguest:x:77:78::/:/bin/sh\n",
        )
        .unwrap();
        fs::copy("/bin/busybox", bin.join("busybox"))
            .expect("Debian's busybox-static is installed");
        for tool in ["sh", "cat", "echo", "sleep", "true", "tail", "id", "pwd", "env", "dd"] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        let mut tar = Command::new("tar")
            .args(["-C", root.path().to_str().unwrap(), "-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let import = Command::new("docker")
            .args(["import", "-c", "ENV PATH=/bin", "-", IMAGE])
            .stdin(tar.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(tar.wait().unwrap().success());
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    });
}

fn config(directory: &Path) -> DockerConfig {
    DockerConfig {
        socket: "/var/run/docker.sock".into(),
        network: "none".into(),
        agent: "test-agent".parse().unwrap(),
        state_directory: directory.to_owned(),
        starts_max: 4,
    }
}

fn shell(script: &str) -> ContainerSpec {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    ContainerSpec { image: Some(IMAGE.to_owned()), command, ..ContainerSpec::default() }
}

fn volume(name: &str, source: VolumeSource) -> Volume {
    Volume { name: name.to_owned(), source }
}

fn host(name: &str, path: &Path) -> Volume {
    volume(name, VolumeSource::Host(path.to_str().unwrap().to_owned()))
}

fn mount(volume: &str, target: &str, read_only: bool) -> Mount {
    Mount { volume: volume.to_owned(), target: target.to_owned(), read_only }
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = channel(64);
        let executor = DockerExecutor::open(config(directory.path()), sender)
            .expect("a Docker engine answers; WINDROW_TEST_NO_DOCKER=1 skips these tests");
        make_image();
        let job = JobId::generate();
        Self { directory, executor, events, seen: Vec::new(), next_child: 0, job }
    }

    /// Drops the executor and opens another, as an agent that was killed and started again.
    fn reopen(&mut self) {
        let (sender, events) = channel(64);
        self.executor = DockerExecutor::open(config(self.directory.path()), sender).unwrap();
        self.events = events;
        self.seen.clear();
    }

    async fn start(&mut self, spec: ContainerSpec) -> AttemptKey {
        self.start_task(TaskSpec::single(spec)).await
    }

    async fn start_task(&mut self, spec: TaskSpec) -> AttemptKey {
        self.next_child += 1;
        let path = self.directory.path();
        let key = AttemptKey { lease: LeaseId(9), child: self.next_child };
        let request = StartRequest {
            key,
            job: self.job,
            spec: Arc::new(spec),
            environments: vec![Environment(vec![("GREETING".into(), "hello world".into())])],
            resources: Resources::new(500, 16),
            log_file: path.join(format!("{}.log", self.next_child)),
            scratch: path.join(format!("{}.scratch", self.next_child)),
        };
        self.executor.start(vec![request]).await;
        key
    }

    async fn event(&mut self, wanted: impl Fn(&ExecutorEvent) -> bool) -> ExecutorEvent {
        loop {
            if let Some(found) = self.seen.iter().position(&wanted) {
                return self.seen.remove(found);
            }
            let batch = tokio::time::timeout(LIMIT, self.events.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("no such event; left: {:?}", self.seen));
            self.seen.extend(batch.expect("the executor lives"));
        }
    }

    /// The end, in whatever way, of the attempt.
    async fn end(&mut self, key: AttemptKey) -> ExecutorEvent {
        self.event(|event| match event {
            ExecutorEvent::Started { .. } => false,
            ExecutorEvent::StartFailed { key: k, .. }
            | ExecutorEvent::Exited { key: k, .. }
            | ExecutorEvent::Lost { key: k, .. } => *k == key,
        })
        .await
    }

    async fn exit(&mut self, key: AttemptKey) -> (i32, bool) {
        let end = self.end(key).await;
        let ExecutorEvent::Exited { exit_code, out_of_memory, .. } = end else {
            panic!("expected an exit, got {end:?}");
        };
        (exit_code, out_of_memory)
    }

    async fn failure(&mut self, spec: ContainerSpec) -> String {
        let key = self.start(spec).await;
        self.start_failure(key).await
    }

    async fn start_failure(&mut self, key: AttemptKey) -> String {
        let end = self.end(key).await;
        let ExecutorEvent::StartFailed { reason, .. } = end else {
            panic!("expected a failed start, got {end:?}");
        };
        reason
    }

    fn log(&self, key: AttemptKey) -> String {
        fs::read_to_string(self.directory.path().join(format!("{}.log", key.child))).unwrap()
    }

    async fn logged(&self, key: AttemptKey, wanted: &str) {
        let path = self.directory.path().join(format!("{}.log", key.child));
        wait_for(wanted, || fs::read_to_string(&path).is_ok_and(|text| text.contains(wanted)))
            .await;
    }

    /// Names of this world's containers.
    fn containers(&self) -> Vec<String> {
        let filter = format!("label=windrow.state-directory={}", self.directory.path().display());
        let list = Command::new("docker")
            .args(["ps", "-a", "--format", "{{.Names}}", "--filter", &filter])
            .output()
            .unwrap();
        String::from_utf8(list.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for container in self.containers() {
            let removed = Command::new("docker").args(["rm", "-f", "-v", &container]).output();
            assert!(removed.unwrap().status.success());
        }
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn runs_a_container_as_asked() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let shown = world.directory.path().join("not-there-yet");
    let spec = ContainerSpec {
        user: Some("guest".into()),
        working_directory: Some("/tmp".into()),
        readonly_root: true,
        mounts: vec![mount("shown", "/shown", true), mount("volume", "/volume", false)],
        ..shell(
            "echo $GREETING; echo err >&2; id -u; id -g; pwd; (echo x > /file) 2>/dev/null || echo read-only; \
                 (echo x > /shown/file) 2>/dev/null || echo closed; exit 3",
        )
    };
    let volumes = vec![host("shown", &shown), volume("volume", VolumeSource::Shared)];
    let key = world.start_task(TaskSpec { volumes, ..TaskSpec::single(spec) }).await;
    world.event(|e| matches!(e, ExecutorEvent::Started { .. })).await;
    assert_eq!(world.exit(key).await, (3, false));
    // The engine reads both outputs each by itself, so their order between them is its own.
    let log = world.log(key);
    assert!(log.contains("err\n"), "{log}");
    let output = log.replacen("err\n", "", 1);
    assert_eq!(output, "hello world\n77\n78\n/tmp\nread-only\nclosed\n");
    assert!(shown.is_dir(), "a missing host directory is made");
    assert_eq!(world.containers().len(), 1);
    world.executor.forget(vec![key]).await;
    wait_for("the container to be removed", || world.containers().is_empty()).await;
}

#[tokio::test]
async fn tells_out_of_memory_from_other_deaths() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let greedy = world.start(shell("exec tail /dev/zero")).await;
    assert_eq!(world.exit(greedy).await, (137, true));
    let killed = world.start(shell("echo up; exec sleep 1000")).await;
    world.logged(killed, "up").await;
    world.executor.stop(killed, StopSignal::Kill).await;
    assert_eq!(world.exit(killed).await, (137, false));
}

#[tokio::test]
async fn terminate_reaches_the_program_and_a_stopped_start_does_not_begin() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let polite = world
        .start(shell("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done"))
        .await;
    world.logged(polite, "up").await;
    world.executor.stop(polite, StopSignal::Terminate).await;
    assert_eq!(world.exit(polite).await, (9, false));
    assert_eq!(world.log(polite), "up\nbye\n");

    let early = world.start(shell("sleep 1000")).await;
    world.executor.stop(early, StopSignal::Kill).await;
    let end = world.end(early).await;
    assert!(
        matches!(
            end,
            ExecutorEvent::StartFailed { .. } | ExecutorEvent::Exited { exit_code: 137, .. }
        ),
        "{end:?}"
    );
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let missing =
        ContainerSpec { image: Some("127.0.0.1:9/no/such:image".into()), ..shell("true") };
    let reason = world.failure(missing).await;
    assert!(reason.starts_with("CannotPullContainerError: "), "{reason}");
    let reason =
        world.failure(ContainerSpec { user: Some("nobody-here".into()), ..shell("true") }).await;
    assert!(reason.starts_with("CannotStartContainerError: "), "{reason}");
    assert!(reason.contains("nobody-here"), "{reason}");
    let reason = world.failure(ContainerSpec { command: Vec::new(), ..shell("") }).await;
    assert!(
        reason.starts_with("CannotCreateContainerError: ")
            && reason.to_lowercase().contains("no command"),
        "{reason}"
    );
    let reason = world.failure(ContainerSpec { image: None, ..shell("true") }).await;
    assert!(reason.contains("no image"), "{reason}");
    let colon = ContainerSpec { mounts: vec![mount("v", "/c", false)], ..shell("true") };
    let volumes = vec![volume("v", VolumeSource::Host("/a:b".into()))];
    let key = world.start_task(TaskSpec { volumes, ..TaskSpec::single(colon) }).await;
    let reason = world.start_failure(key).await;
    assert!(reason.contains("colon"), "{reason}");
    assert_eq!(world.containers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_program_is_named_in_the_log() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    // The container's init process runs before the program is looked up, so the engine has started
    // it by then.
    let key =
        world.start(ContainerSpec { command: vec!["no-such-program".into()], ..shell("") }).await;
    assert_eq!(world.exit(key).await, (127, false));
    assert!(world.log(key).contains("exec no-such-program failed"), "{}", world.log(key));
}

#[tokio::test]
async fn a_restarted_agent_adopts_its_containers_with_complete_logs() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let shared = world.directory.path().join("shared");
    let mounted = |spec| TaskSpec {
        volumes: vec![host("shared", &shared)],
        ..TaskSpec::single(ContainerSpec {
            mounts: vec![mount("shared", "/shared", false)],
            ..spec
        })
    };
    let waiting = |file: &str, code: u8| {
        format!(
            "echo before; while ! [ -e /shared/{file} ]; do sleep 0.1; done; echo after; exit {code}"
        )
    };
    let ends = world.start_task(mounted(shell(&waiting("go", 11)))).await;
    let runs = world.start_task(mounted(shell(&waiting("stay", 12)))).await;
    world.logged(ends, "before").await;
    world.logged(runs, "before").await;
    // Somebody else's agent on the same engine sees none of it.
    let (other, mut stranger) = (tempfile::tempdir().unwrap(), World::new());
    let (sender, _events) = channel(64);
    stranger.executor = DockerExecutor::open(config(other.path()), sender).unwrap();
    assert_eq!(stranger.executor.adopt().await.unwrap(), []);
    // The agent goes; one container ends while nobody looks.
    let (sender, _events) = channel(64);
    world.executor = DockerExecutor::open(config(other.path()), sender).unwrap();
    fs::write(shared.join("go"), "").unwrap();
    let name = format!("windrow-{}-{}-{}", world.job, ends.child, ends.lease);
    wait_for("the container to end", || {
        let state =
            Command::new("docker").args(["inspect", "-f", "{{.State.Running}}", &name]).output();
        state.unwrap().stdout == b"false\n"
    })
    .await;
    world.reopen();
    let mut adopted = world.executor.adopt().await.unwrap();
    adopted.sort_by_key(|a| a.key);
    let adopted: Vec<_> = adopted.iter().map(|a| (a.key, a.running)).collect();
    assert_eq!(adopted, [(ends, false), (runs, true)]);
    assert_eq!(world.exit(ends).await, (11, false));
    assert_eq!(world.log(ends), "before\nafter\n");
    fs::write(shared.join("stay"), "").unwrap();
    assert_eq!(world.exit(runs).await, (12, false));
    assert_eq!(world.log(runs), "before\nafter\n");
}

#[tokio::test]
async fn a_container_that_somebody_removed_is_lost() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let key = world.start(shell("echo up; exec sleep 1000")).await;
    world.logged(key, "up").await;
    let name = format!("windrow-{}-{}-{}", world.job, key.child, key.lease);
    assert!(Command::new("docker").args(["rm", "-f", &name]).output().unwrap().status.success());
    let end = world.end(key).await;
    // Between its kill and its removal the end can still be seen.
    assert!(
        matches!(end, ExecutorEvent::Lost { .. } | ExecutorEvent::Exited { exit_code: 137, .. }),
        "{end:?}"
    );
}

#[tokio::test]
async fn no_engine_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.socket = directory.path().join("docker.sock");
    let (sender, _events) = channel(1);
    let error = DockerExecutor::open(config, sender).unwrap_err();
    assert!(matches!(error, Error::NoDocker { .. }), "{error:?}");
}
