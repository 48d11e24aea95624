//! The Docker executor: lives of single containers.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

#[path = "support/docker.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use support::{World, config, host, mount, shell, skipped, volume, wait_for};
use tokio::sync::mpsc::channel;
use windrow_agent::executor::process::CgroupMode;
use windrow_agent::executor::{
    DockerExecutor, Error, ExecutorEvent, Fence, ProcessConfig, ProcessExecutor, StopSignal,
};
use windrow_agent::shell::clock::since_boot;
use windrow_common::wire::container::{ContainerSpec, VolumeSource};
use windrow_common::wire::lease::TaskSpec;

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

/// Faults 27 and 28.
#[tokio::test]
async fn tells_out_of_memory_from_other_deaths() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let greedy = world.start(shell("exec tail /dev/zero")).await;
    assert_eq!(world.exit(greedy).await, (137, true));
    let greedy_child = world.start(shell("tail /dev/zero; exit 0")).await;
    assert_eq!(world.exit(greedy_child).await, (0, false), "the program itself did well");
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

/// Fault 34.
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

/// Fault 1, in Docker.
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

/// Fault 31.
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

/// Containers of an agent that stands still, or is dead, are over in time: its keeper ends them.
#[tokio::test]
async fn a_keeper_ends_containers_that_must_be_over_and_none_starts() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let key = world.start(shell("trap '' TERM; echo up; while :; do sleep 0.1; done")).await;
    world.logged(key, "up").await;
    let directory = world.directory.path();
    let config = ProcessConfig {
        directory: directory.join("keeper"),
        logs: directory.join("process-logs"),
        scratch: directory.join("process-scratch"),
        keeper_program: Some(env!("CARGO_BIN_EXE_windrow-agent").into()),
        cgroup: CgroupMode::Off,
    };
    let keeper = ProcessExecutor::open(config, channel(64).0).unwrap();
    let fence = Some(Fence { stop_at: Duration::ZERO, kill_at: since_boot() });
    keeper.fence(fence, Some(world.executor.containers())).await;
    assert_eq!(world.exit(key).await, (137, false));

    world.executor.fence(fence);
    let late = world.start(shell("true")).await;
    let reason = world.start_failure(late).await;
    assert!(reason.contains("no coordinator was reached"), "{reason}");
}
