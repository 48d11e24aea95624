//! A world around the Docker executor: a real engine and an image made here from the static busybox.
//!
//! Without an engine these tests fail, unless `WINDROW_TEST_NO_DOCKER=1` says that none is meant to
//! be here.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use windrow_agent::executor::{
    AttemptKey, DockerConfig, DockerExecutor, Environment, ExecutorEvent, StartRequest,
};
use windrow_common::ids::{JobId, LeaseId};
use windrow_common::units::Resources;
use windrow_common::wire::container::{ContainerSpec, Mount, Volume, VolumeSource};
use windrow_common::wire::lease::TaskSpec;

/// Long enough for a loaded engine; only a failing test waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const IMAGE: &str = "windrow-test-busybox:1";
/// The same with an entry point and a command of its own.
pub(crate) const IMAGE_WITH_COMMAND: &str = "windrow-test-busybox-command:1";
/// The same with a health check: good once `/tmp/good` exists.
pub(crate) const IMAGE_WITH_CHECK: &str = "windrow-test-busybox-check:1";

/// The machine's engine.
const HOST: &str = "unix:///var/run/docker.sock";

pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) executor: DockerExecutor,
    events: Receiver<Vec<ExecutorEvent>>,
    seen: Vec<ExecutorEvent>,
    next_child: u32,
    pub(crate) job: JobId,
}

pub(crate) fn skipped() -> bool {
    std::env::var_os("WINDROW_TEST_NO_DOCKER").is_some_and(|value| value == "1")
}

fn import(host: &str, root: &TempDir, image: &str, changes: &[&str]) {
    let mut tar = Command::new("tar")
        .args(["-C", root.path().to_str().unwrap(), "-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let import = Command::new("docker")
        .args(["-H", host, "import", "-c", "ENV PATH=/bin"])
        .args(changes.iter().flat_map(|change| ["-c", *change]))
        .args(["-", image])
        .stdin(tar.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(tar.wait().unwrap().success());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

/// Makes the images once: busybox, a shell, and no command of its own.
fn make_image() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = root_of_images();
        import(HOST, &root, IMAGE, &[]);
        let own = ["ENTRYPOINT [\"echo\", \"entry\"]", "CMD [\"own\", \"command\"]"];
        import(HOST, &root, IMAGE_WITH_COMMAND, &own);
        let check = ["HEALTHCHECK --interval=1s CMD test -e /tmp/good"];
        import(HOST, &root, IMAGE_WITH_CHECK, &check);
    });
}

/// The image without a command, in the engine of this socket.
pub(crate) fn make_image_in(socket: &Path) {
    import(&format!("unix://{}", socket.display()), &root_of_images(), IMAGE, &[]);
}

/// Busybox and what goes with it.
fn root_of_images() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::create_dir_all(root.path().join("tmp")).unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nguest:x:77:78::/:/bin/sh\n")
        .unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static is installed");
    for tool in [
        "sh", "cat", "echo", "sleep", "true", "tail", "id", "pwd", "env", "dd", "df", "ps",
        "mount", "grep", "nc", "touch", "ls", "kill", "mkdir", "rm", "wc", "hostname",
    ] {
        symlink("busybox", bin.join(tool)).unwrap();
    }
    root
}

pub(crate) fn config(directory: &Path) -> DockerConfig {
    DockerConfig {
        socket: "/var/run/docker.sock".into(),
        network: "none".into(),
        agent: "test-agent".parse().unwrap(),
        state_directory: directory.to_owned(),
        starts_max: 4,
        stop_timeout: Duration::from_secs(30),
    }
}

pub(crate) fn shell(script: &str) -> ContainerSpec {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    ContainerSpec {
        image: Some(IMAGE.to_owned()),
        command,
        resources: Resources::new(500, 16),
        ..ContainerSpec::default()
    }
}

pub(crate) fn volume(name: &str, source: VolumeSource) -> Volume {
    Volume { name: name.to_owned(), source }
}

pub(crate) fn host(name: &str, path: &Path) -> Volume {
    volume(name, VolumeSource::Host(path.to_str().unwrap().to_owned()))
}

pub(crate) fn mount(volume: &str, target: &str, read_only: bool) -> Mount {
    Mount { volume: volume.to_owned(), target: target.to_owned(), read_only }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = channel(64);
        let executor = DockerExecutor::open(config(directory.path()), sender)
            .expect("a Docker engine answers; WINDROW_TEST_NO_DOCKER=1 skips these tests");
        make_image();
        let job = JobId::generate();
        Self { directory, executor, events, seen: Vec::new(), next_child: 0, job }
    }

    /// On an engine of its own, without the usual images.
    pub(crate) fn on(socket: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = channel(64);
        let config = DockerConfig { socket: socket.to_owned(), ..config(directory.path()) };
        let executor = DockerExecutor::open(config, sender).unwrap();
        let job = JobId::generate();
        Self { directory, executor, events, seen: Vec::new(), next_child: 0, job }
    }

    /// Drops the executor and opens another, as an agent that was killed and started again.
    pub(crate) fn reopen(&mut self) {
        let (sender, events) = channel(64);
        self.executor = DockerExecutor::open(config(self.directory.path()), sender).unwrap();
        self.events = events;
        self.seen.clear();
    }

    /// Drops the executor, as an agent that was killed.
    pub(crate) fn leave(&mut self) {
        let (sender, events) = channel(64);
        let elsewhere = tempfile::tempdir().unwrap();
        self.executor = DockerExecutor::open(config(elsewhere.path()), sender).unwrap();
        self.events = events;
    }

    pub(crate) async fn start(&mut self, spec: ContainerSpec) -> AttemptKey {
        self.start_task(TaskSpec::single(spec)).await
    }

    pub(crate) async fn start_task(&mut self, spec: TaskSpec) -> AttemptKey {
        self.start_with(spec, Vec::new()).await
    }

    pub(crate) async fn start_with(
        &mut self,
        spec: TaskSpec,
        gpus: Vec<Vec<String>>,
    ) -> AttemptKey {
        self.next_child += 1;
        let greeting = Environment(vec![("GREETING".into(), "hello world".into())]);
        let environments = vec![greeting; spec.containers.len()];
        let path = self.directory.path();
        let key = AttemptKey { lease: LeaseId(9), child: self.next_child };
        let request = StartRequest {
            key,
            job: self.job,
            spec: Arc::new(spec),
            environments,
            resources: Resources::new(500, 16),
            gpus,
            log_file: path.join(format!("{}.log", self.next_child)),
            scratch: path.join(format!("{}.scratch", self.next_child)),
        };
        self.executor.start(vec![request]).await;
        key
    }

    pub(crate) async fn event(&mut self, wanted: impl Fn(&ExecutorEvent) -> bool) -> ExecutorEvent {
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
    pub(crate) async fn end(&mut self, key: AttemptKey) -> ExecutorEvent {
        self.event(|event| match event {
            ExecutorEvent::Started { .. } => false,
            ExecutorEvent::StartFailed { key: k, .. }
            | ExecutorEvent::Exited { key: k, .. }
            | ExecutorEvent::Lost { key: k, .. } => *k == key,
        })
        .await
    }

    pub(crate) async fn exit(&mut self, key: AttemptKey) -> (i32, bool) {
        let end = self.end(key).await;
        let ExecutorEvent::Exited { exit_code, out_of_memory, .. } = end else {
            panic!("expected an exit, got {end:?}");
        };
        (exit_code, out_of_memory)
    }

    pub(crate) async fn failure(&mut self, spec: ContainerSpec) -> String {
        let key = self.start(spec).await;
        self.start_failure(key).await
    }

    pub(crate) async fn start_failure(&mut self, key: AttemptKey) -> String {
        let end = self.end(key).await;
        let ExecutorEvent::StartFailed { reason, .. } = end else {
            panic!("expected a failed start, got {end:?}");
        };
        reason
    }

    pub(crate) fn log(&self, key: AttemptKey) -> String {
        fs::read_to_string(self.log_path(key)).unwrap()
    }

    pub(crate) async fn logged(&self, key: AttemptKey, wanted: &str) {
        let path = self.log_path(key);
        wait_for(wanted, || fs::read_to_string(&path).is_ok_and(|text| text.contains(wanted)))
            .await;
    }

    pub(crate) fn log_path(&self, key: AttemptKey) -> PathBuf {
        self.directory.path().join(format!("{}.log", key.child))
    }

    /// Names of this world's volumes.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let filter = format!("label=windrow.state-directory={}", self.directory.path().display());
        let list =
            Command::new("docker").args(["volume", "ls", "-q", "--filter", &filter]).output();
        String::from_utf8(list.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// A setting of a container, as the engine has it.
    pub(crate) fn setting(&self, key: AttemptKey, format: &str) -> String {
        let name = format!("windrow-{}-{}-{}", self.job, key.child, key.lease);
        let shown = Command::new("docker").args(["inspect", "-f", format, &name]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    }

    /// Names of this world's containers.
    pub(crate) fn containers(&self) -> Vec<String> {
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
        for volume in self.volumes() {
            // One that is gone by now is what we want.
            let _ = Command::new("docker").args(["volume", "rm", &volume]).output();
        }
    }
}

pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
