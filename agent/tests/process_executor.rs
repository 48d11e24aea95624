//! The process executor with real processes and a real keeper.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use windrow_agent::executor::process::CgroupMode;
use windrow_agent::executor::{
    AttemptKey, Environment, ExecutorEvent, Fence, ProcessConfig, ProcessExecutor, StartRequest,
    StopSignal,
};
use windrow_agent::shell::clock::since_boot;
use windrow_common::ids::{JobId, LeaseId};
use windrow_common::units::Resources;
use windrow_common::wire::container::{ContainerSpec, Secret, Ulimit};
use windrow_common::wire::lease::TaskSpec;

/// Long enough for a loaded machine; only a failing test waits for it.
const LIMIT: Duration = Duration::from_secs(60);

struct World {
    directory: TempDir,
    executor: ProcessExecutor,
    events: Receiver<Vec<ExecutorEvent>>,
    seen: Vec<ExecutorEvent>,
    next_child: u32,
}

fn config(directory: &Path, cgroup: CgroupMode) -> ProcessConfig {
    fs::create_dir_all(directory.join("logs")).unwrap();
    ProcessConfig {
        directory: directory.join("keeper"),
        logs: directory.join("logs"),
        scratch: directory.join("scratch"),
        keeper_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_windrow-agent"))),
        cgroup,
    }
}

fn spec(command: &[&str]) -> ContainerSpec {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    ContainerSpec { command, ..ContainerSpec::default() }
}

fn shell(script: &str) -> ContainerSpec {
    spec(&["/bin/sh", "-c", script])
}

impl World {
    fn new() -> Self {
        Self::with(CgroupMode::Off)
    }

    fn with(cgroup: CgroupMode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = channel(64);
        let executor = ProcessExecutor::open(config(directory.path(), cgroup), sender).unwrap();
        Self { directory, executor, events, seen: Vec::new(), next_child: 0 }
    }

    /// Drops the client and connects a new one, as an agent that was killed and started again.
    fn reopen(&mut self) {
        let (sender, events) = channel(64);
        self.executor =
            ProcessExecutor::open(config(self.directory.path(), CgroupMode::Off), sender).unwrap();
        self.events = events;
        self.seen.clear();
    }

    /// Drops the client, as an agent that was killed.
    fn leave(&mut self) {
        let (sender, events) = channel(1);
        let elsewhere = tempfile::tempdir().unwrap();
        let config = config(elsewhere.path(), CgroupMode::Off);
        self.executor = ProcessExecutor::open(config, sender).unwrap();
        self.events = events;
    }

    fn request(&mut self, spec: ContainerSpec) -> StartRequest {
        self.next_child += 1;
        let path = self.directory.path();
        StartRequest {
            key: AttemptKey { lease: LeaseId(7), child: self.next_child },
            job: JobId::from_u128(1),
            spec: Arc::new(TaskSpec::single(spec)),
            environments: vec![Environment(vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("GREETING".into(), "hello world".into()),
                ("AWS_BATCH_JOB_ID".into(), "a-job".into()),
            ])],
            resources: Resources::new(1000, 64),
            gpus: Vec::new(),
            log_file: path.join(format!("logs/{}", self.next_child)),
            scratch: path.join(format!("scratch/{}", self.next_child)),
        }
    }

    async fn start(&mut self, spec: ContainerSpec) -> AttemptKey {
        let request = self.request(spec);
        let key = request.key;
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

    async fn started(&mut self, key: AttemptKey) {
        self.event(|e| matches!(e, ExecutorEvent::Started { key: k, .. } if *k == key)).await;
    }

    /// Exit code of an attempt, and whether it ran out of memory.
    async fn exit(&mut self, key: AttemptKey) -> (i32, bool) {
        let event = self.event(|e| !matches!(e, ExecutorEvent::Started { .. })).await;
        let ExecutorEvent::Exited { key: k, exit_code, out_of_memory, .. } = event else {
            panic!("expected the exit of {key:?}, got {event:?}");
        };
        assert_eq!(k, key);
        (exit_code, out_of_memory)
    }

    async fn failure(&mut self) -> String {
        let event = self.event(|e| !matches!(e, ExecutorEvent::Started { .. })).await;
        let ExecutorEvent::StartFailed { reason, .. } = event else {
            panic!("expected a failed start, got {event:?}");
        };
        reason
    }

    async fn run(&mut self, spec: ContainerSpec) -> (i32, String) {
        let key = self.start(spec).await;
        let (code, _) = self.exit(key).await;
        (code, self.log(key))
    }

    fn log(&self, key: AttemptKey) -> String {
        fs::read_to_string(self.directory.path().join(format!("logs/{}", key.child))).unwrap()
    }

    /// Waits until the attempt has written `wanted` to its log.
    async fn logged(&self, key: AttemptKey, wanted: &str) -> String {
        wait_for("output", || {
            let path = self.directory.path().join(format!("logs/{}", key.child));
            fs::read_to_string(path).ok().filter(|text| text.contains(wanted))
        })
        .await
    }

    fn keeper_pid(&self) -> Pid {
        let lock = fs::metadata(self.directory.path().join("keeper/keeper.lock")).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&lock);
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let line = locks.lines().find(|l| l.contains(&format!(":{inode} "))).expect("a keeper");
        Pid::from_raw(line.split_whitespace().nth(4).unwrap().parse().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Jobs of a failed test end with their keeper's attempts; the keeper leaves by itself.
        let running = fs::read_to_string("/proc/locks").unwrap_or_default();
        if !running.is_empty()
            && let Ok(keeper) =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.keeper_pid()))
        {
            let _ = kill(keeper, Signal::SIGKILL);
        }
        let name = self.directory.path().join("keeper").display().to_string().replace('/', "-");
        for tree in ["", "memory", "cpu"] {
            let group = Path::new("/sys/fs/cgroup").join(tree).join("windrow");
            // There only when the test used it.
            let _ = fs::remove_dir(group.join(name.trim_matches('-')));
        }
    }
}

/// Waits on a condition with a limit.
async fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[tokio::test]
async fn exit_codes_and_signals_are_true() {
    let mut world = World::new();
    assert_eq!(world.run(spec(&["/bin/true"])).await.0, 0);
    assert_eq!(world.run(spec(&["false"])).await.0, 1);
    assert_eq!(world.run(shell("exit 42")).await.0, 42);
    assert_eq!(world.run(shell("kill -TERM $$")).await.0, 128 + 15);
    assert_eq!(world.run(shell("kill -KILL $$")).await.0, 128 + 9);
    // A real-time signal, which has no name; often, since it is found by other means.
    for _ in 0..50 {
        assert_eq!(world.run(shell("kill -40 $$")).await.0, 128 + 40);
    }
    assert_eq!(world.run(shell("sh -c 'kill -40 $$' & wait; exit 3")).await.0, 3);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let mut world = World::new();
    let cases: [(ContainerSpec, &str); 8] = [
        (
            spec(&["no-such-program"]),
            "command not found: `no-such-program` (looked in /usr/bin:/bin)",
        ),
        (spec(&["/no/such/program"]), "command not found: `/no/such/program`"),
        (spec(&["/etc/passwd"]), "Permission denied"),
        (spec(&[]), "no command"),
        (
            ContainerSpec { working_directory: Some("/no/such".into()), ..spec(&["true"]) },
            "working directory `/no/such`",
        ),
        (ContainerSpec { image: Some("alpine".into()), ..spec(&["true"]) }, "image `alpine`"),
        (
            ContainerSpec { user: Some("no-such-user".into()), ..spec(&["true"]) },
            "no user `no-such-user`",
        ),
        (spec(&["true", "nul\0byte"]), "zero byte"),
    ];
    for (spec, words) in cases {
        world.start(spec).await;
        let reason = world.failure().await;
        assert!(reason.contains(words), "{reason}");
    }
    let script = world.directory.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.start(spec(&[script.to_str().unwrap()])).await;
    assert!(world.failure().await.contains("interpreter"));
    // Nothing is left of them.
    let left = fs::read_dir(world.directory.path()).unwrap();
    let left = left.filter(|e| e.as_ref().unwrap().path().extension() == Some("scratch".as_ref()));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn the_environment_is_exactly_as_given() {
    let mut world = World::new();
    let (code, output) = world.run(spec(&["env"])).await;
    assert_eq!(
        (code, output.as_str()),
        (0, "AWS_BATCH_JOB_ID=a-job\nGREETING=hello world\nPATH=/usr/bin:/bin\n")
    );
}

#[tokio::test]
async fn input_is_closed_and_no_file_is_inherited() {
    let mut world = World::new();
    assert_eq!(world.run(shell("read line; echo $?")).await.1, "1\n");
    // The fourth is the listing's own.
    let (_, output) = world.run(spec(&["ls", "/proc/self/fd"])).await;
    assert_eq!(output, "0\n1\n2\n3\n");
}

#[tokio::test]
async fn both_outputs_go_to_one_file_in_order() {
    let mut world = World::new();
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done";
    let (_, output) = world.run(shell(script)).await;
    assert_eq!(output, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
}

#[tokio::test]
async fn runs_in_a_scratch_directory_of_its_own_that_is_removed() {
    let mut world = World::new();
    let request = world.request(shell("pwd; mkdir -p a/b; echo x > a/b/file"));
    let (key, scratch) = (request.key, request.scratch.clone());
    world.executor.start(vec![request]).await;
    assert_eq!(world.exit(key).await.0, 0);
    assert_eq!(world.log(key).trim_end(), scratch.to_str().unwrap());
    wait_for("the scratch directory to go", || (!scratch.exists()).then_some(())).await;

    let elsewhere = ContainerSpec { working_directory: Some("/usr".into()), ..shell("pwd") };
    assert_eq!(world.run(elsewhere).await.1, "/usr\n");
    let program = world.directory.path().join("relative");
    fs::copy("/bin/true", program).unwrap();
    let here = world.directory.path().to_str().unwrap().to_owned();
    let relative = ContainerSpec { working_directory: Some(here), ..spec(&["./relative"]) };
    assert_eq!(world.run(relative).await.0, 0);
}

#[tokio::test]
async fn runs_as_another_user() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let mut world = World::new();
    for (user, expected) in
        [("nobody", "65534 65534"), ("12345:nogroup", "12345 65534"), ("7:8", "7 8")]
    {
        let spec = ContainerSpec {
            user: Some(user.into()),
            working_directory: Some("/".into()),
            ..shell("echo $(id -u) $(id -G)")
        };
        assert_eq!(world.run(spec).await, (0, format!("{expected}\n")));
    }
}

/// Fault 29.
#[tokio::test]
async fn what_an_attempt_leaves_behind_is_killed_before_its_end_is_told() {
    let mut world = World::new();
    let (code, output) = world.run(shell("sleep 1000 & echo $!; exit 5")).await;
    assert_eq!(code, 5);
    assert!(!is_alive(output.trim().parse().unwrap()), "the background process is gone");
}

/// Faults 27 and 29.
#[tokio::test]
async fn a_control_group_limits_memory_and_lets_nothing_escape() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let mut world = World::with(CgroupMode::On);
    let greedy = world.start(spec(&["tail", "/dev/zero"])).await;
    assert_eq!(world.exit(greedy).await, (137, true));
    let killed = world.start(shell("kill -9 $$")).await;
    assert_eq!(world.exit(killed).await, (137, false));
    let (code, output) = world.run(shell("setsid sleep 1000 & echo $!; exit 6")).await;
    assert_eq!(code, 6);
    assert!(!is_alive(output.trim().parse().unwrap()), "it left the process group in vain");
    let other = ContainerSpec {
        user: Some("7:8".into()),
        working_directory: Some("/".into()),
        ..shell("echo $(id -u) $(id -G) $0 $GREETING; cat /proc/self/cgroup")
    };
    let (code, output) = world.run(other).await;
    assert_eq!(code, 0);
    assert!(output.starts_with("7 8 /bin/sh hello world\n"), "{output}");
    assert!(output.contains("/windrow/") && output.contains("lease_7-4\n"), "{output}");
}

/// Fault 30.
#[tokio::test]
async fn terminate_asks_and_kill_ends() {
    let mut world = World::new();
    let polite = world
        .start(shell("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done"))
        .await;
    world.logged(polite, "up").await;
    world.executor.stop(polite, StopSignal::Terminate).await;
    assert_eq!(world.exit(polite).await, (9, false));

    let stubborn =
        world.start(shell("trap 'echo no' TERM; echo up; while :; do sleep 0.01; done")).await;
    world.logged(stubborn, "up").await;
    world.executor.stop(stubborn, StopSignal::Terminate).await;
    world.logged(stubborn, "no").await;
    world.executor.stop(stubborn, StopSignal::Kill).await;
    assert_eq!(world.exit(stubborn).await, (137, false));
}

/// Of an agent that stands still, or is dead, everything is over in time.
#[tokio::test]
async fn the_keeper_ends_what_must_be_over_and_starts_no_more() {
    let mut world = World::new();
    let fence = |millis| {
        let kill_at = since_boot() + Duration::from_millis(millis);
        Some(Fence { stop_at: Duration::ZERO, kill_at })
    };
    let polite = shell("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    let polite = world.start(polite).await;
    let stubborn = world.start(shell("trap '' TERM; echo up; while :; do sleep 0.01; done")).await;
    for key in [polite, stubborn] {
        world.logged(key, "up").await;
    }
    world.executor.fence(fence(60_000), None).await;
    let lost =
        |key| move |e: &ExecutorEvent| matches!(e, ExecutorEvent::Lost { key: k, .. } if *k == key);
    world.event(lost(polite)).await;
    assert!(world.log(polite).ends_with("asked\n"), "{}", world.log(polite));
    world.executor.fence(fence(200), None).await;
    world.event(lost(stubborn)).await;
    let late = world.start(shell("echo no")).await;
    world.event(lost(late)).await;
    assert!(fs::read(world.directory.path().join(format!("logs/{}", late.child))).is_err());
    // It has reached a coordinator again.
    world.executor.fence(fence(60_000), None).await;
    world.executor.fence(None, None).await;
    world.seen.clear();
    assert_eq!(world.run(shell("exit 4")).await.0, 4);
}

#[tokio::test]
async fn a_restarted_agent_adopts_what_runs_and_learns_what_ended() {
    let mut world = World::new();
    let (go, stay) = (world.directory.path().join("go"), world.directory.path().join("stay"));
    let wait = |file: &Path| format!("while ! [ -e {} ]; do sleep 0.01; done;", file.display());
    let ends = world.start(shell(&(wait(&go) + "exit 11"))).await;
    let runs = world.start(shell(&(wait(&stay) + "exit 12"))).await;
    let failed = world.start(spec(&["no-such-program"])).await;
    world.started(ends).await;
    world.started(runs).await;
    world.failure().await;
    // The client goes without a word; one attempt ends while nobody looks.
    world.leave();
    fs::write(&go, "").unwrap();
    let keeper = world.keeper_pid();
    wait_for("the attempt to end", || {
        let tasks = fs::read_dir(format!("/proc/{keeper}/task")).unwrap();
        let count: usize = tasks
            .map(|t| fs::read_to_string(t.unwrap().path().join("children")).unwrap_or_default())
            .map(|text| text.split_whitespace().count())
            .sum();
        (count == 1).then_some(())
    })
    .await;
    world.reopen();
    assert_eq!(world.keeper_pid(), keeper, "the keeper survived");
    let adopted = world.executor.adopt().await.unwrap();
    let running: BTreeMap<_, _> = adopted.iter().map(|a| (a.key, a.running)).collect();
    assert_eq!(running, [(ends, false), (runs, true), (failed, false)].into());
    let event =
        world.event(|e| matches!(e, ExecutorEvent::Exited { key, .. } if *key == ends)).await;
    assert!(matches!(event, ExecutorEvent::Exited { exit_code: 11, .. }), "{event:?}");
    world.event(|e| matches!(e, ExecutorEvent::StartFailed { key, .. } if *key == failed)).await;
    fs::write(&stay, "").unwrap();
    assert_eq!(world.exit(runs).await.0, 12);

    // What is forgotten is not adopted again.
    world.executor.forget(vec![ends, failed]).await;
    let last = world.start(spec(&["true"])).await;
    assert_eq!(world.exit(last).await.0, 0);
    world.reopen();
    let adopted = world.executor.adopt().await.unwrap();
    assert_eq!(adopted.iter().map(|a| a.key).collect::<Vec<_>>(), [runs, last]);
}

#[tokio::test]
async fn attempts_of_a_killed_keeper_are_lost_and_dead() {
    let mut world = World::new();
    let key = world.start(shell("echo $$; sleep 1000")).await;
    world.started(key).await;
    let pid: i32 = world.logged(key, "\n").await.trim().parse().unwrap();
    kill(world.keeper_pid(), Signal::SIGKILL).unwrap();
    let event = world.event(|e| matches!(e, ExecutorEvent::Lost { .. })).await;
    assert!(matches!(event, ExecutorEvent::Lost { key: k, .. } if k == key), "{event:?}");
    wait_for("the process to die", || killpg(Pid::from_raw(pid), None).is_err().then_some(()))
        .await;
    // The next keeper serves.
    assert_eq!(world.run(shell("exit 4")).await.0, 4);
}

#[tokio::test]
async fn what_a_killed_agent_and_keeper_leave_is_ended_by_the_next() {
    let mut world = World::new();
    // The second process has left the group of the first, and neither writes where it began.
    let key = world.start(shell("setsid sleep 1000 & echo $$ $!; exec sleep 1000")).await;
    world.started(key).await;
    let line = world.logged(key, "\n").await;
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let keeper = world.keeper_pid();
    world.leave();
    kill(keeper, Signal::SIGKILL).unwrap();
    wait_for("the keeper to die", || (!is_alive(keeper.as_raw())).then_some(())).await;
    assert!(pids.iter().all(|&pid| is_alive(pid)), "jobs do not die with their parent");

    world.reopen();
    // They are killed by now, but their new parent may not have taken note.
    wait_for("the processes to vanish", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()))
        .await;
    let scratch = fs::read_dir(world.directory.path().join("scratch")).unwrap();
    assert_eq!(scratch.count(), 0);
    assert!(world.executor.adopt().await.unwrap().is_empty());
    assert_eq!(world.run(shell("exit 4")).await.0, 4);
}

#[tokio::test]
async fn thousands_of_short_attempts_each_end_once() {
    let mut world = World::new();
    let count = 2_000;
    let requests: Vec<_> =
        (0..count).map(|i| world.request(shell(&format!("exit {}", i % 7)))).collect();
    let mut open: BTreeMap<_, _> = requests.iter().zip(0..).map(|(r, i)| (r.key, i % 7)).collect();
    for batch in requests.chunks(50) {
        world.executor.start(batch.to_vec()).await;
        let mut ended = 0;
        while ended < batch.len() {
            let event = world.event(|e| !matches!(e, ExecutorEvent::Started { .. })).await;
            let ExecutorEvent::Exited { key, exit_code, .. } = event else { panic!("{event:?}") };
            assert_eq!(open.remove(&key), Some(exit_code), "{key:?}");
            ended += 1;
        }
    }
    assert!(open.is_empty());
}

#[tokio::test]
async fn one_keeper_serves_a_directory_and_leaves_when_idle() {
    let mut world = World::new();
    let key = world.start(spec(&["true"])).await;
    assert_eq!(world.exit(key).await.0, 0);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_windrow-agent"))
        .args(["keeper", "--directory"])
        .arg(world.directory.path().join("keeper"))
        .output()
        .unwrap();
    assert_eq!((second.status.code(), second.stdout.as_slice()), (Some(0), b"busy\n".as_slice()));
    world.executor.forget(vec![key]).await;
    let keeper = world.keeper_pid();
    world.leave();
    wait_for("the keeper to leave", || kill(keeper, None).is_err().then_some(())).await;
    let left = |name: &str| world.directory.path().join("keeper").join(name).exists();
    assert!(!left("keeper.sock") && !left("spare"));
}

#[tokio::test]
async fn a_keeper_whose_directory_was_deleted_leaves_its_successor_alone() {
    let mut world = World::new();
    let key = world.start(spec(&["true"])).await;
    assert_eq!(world.exit(key).await.0, 0);
    let keeper = world.keeper_pid();
    fs::remove_dir_all(world.directory.path().join("keeper")).unwrap();
    world.reopen();
    assert_eq!(world.executor.adopt().await.unwrap(), []);
    wait_for("the keeper to leave", || kill(keeper, None).is_err().then_some(())).await;
    world.reopen();
    assert_eq!(world.run(shell("exit 4")).await.0, 4);
}

#[tokio::test]
async fn limits_and_secrets_reach_the_process() {
    let mut world = World::new();
    let file = world.directory.path().join("key");
    fs::write(&file, "s3cret\n").unwrap();
    let secret = |from: String| vec![Secret { name: "KEY".into(), from }];
    let limits = vec![
        Ulimit { name: "nofile".into(), soft: 64, hard: 128 },
        Ulimit { name: "core".into(), soft: 0, hard: 0 },
    ];
    let limited = ContainerSpec {
        ulimits: limits,
        secrets: secret(format!("file:{}", file.display())),
        ..shell("ulimit -n; ulimit -Hn; ulimit -c; echo $KEY $GREETING")
    };
    assert_eq!(world.run(limited).await, (0, "64\n128\n0\ns3cret hello world\n".into()));
    let unknown = Ulimit { name: "cores".into(), soft: 0, hard: 0 };
    world.start(ContainerSpec { ulimits: vec![unknown], ..shell("true") }).await;
    assert!(world.failure().await.contains("no ulimit `cores`"));
    world.start(ContainerSpec { secrets: secret("env:NO_SUCH".into()), ..shell("true") }).await;
    assert!(world.failure().await.starts_with("ResourceInitializationError: "));
}
