//! Attempts of several containers in a real engine.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

#[path = "support/docker.rs"]
mod support;

use std::fs;
use std::process::Command;

use support::{IMAGE_WITH_CHECK, World, host, mount, shell, skipped, volume, wait_for};
use windrow_agent::executor::{AttemptKey, ExecutorEvent, StopSignal};
use windrow_common::wire::agent::ContainerEnd;
use windrow_common::wire::container::{Condition, ContainerSpec, Volume, VolumeSource};
use windrow_common::wire::lease::{IpcMode, PidMode, TaskSpec};

fn named(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec { name: name.to_owned(), ..shell(script) }
}

/// Not essential.
fn side(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec { essential: false, ..named(name, script) }
}

fn after(spec: ContainerSpec, on: &[(&str, Condition)]) -> ContainerSpec {
    let depends_on = on.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect();
    ContainerSpec { depends_on, ..spec }
}

fn mounted(spec: ContainerSpec, volume: &str) -> ContainerSpec {
    ContainerSpec { mounts: vec![mount(volume, "/shared", false)], ..spec }
}

fn task(containers: Vec<ContainerSpec>, volumes: Vec<Volume>) -> TaskSpec {
    TaskSpec { containers, volumes, ..TaskSpec::single(ContainerSpec::default()) }
}

struct End {
    exit_code: i32,
    reason: Option<String>,
    containers: Vec<ContainerEnd>,
}

impl End {
    fn codes(&self) -> Vec<(&str, Option<i32>)> {
        self.containers.iter().map(|end| (&*end.name, end.exit_code)).collect()
    }
}

async fn end(world: &mut World, key: AttemptKey) -> End {
    let event = world.end(key).await;
    let ExecutorEvent::Exited { exit_code, reason, containers, .. } = event else {
        panic!("expected an exit, got {event:?}");
    };
    End { exit_code, reason, containers }
}

fn lines_of(log: &str, container: &str) -> Vec<String> {
    let prefix = format!("{container} | ");
    log.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[tokio::test]
async fn containers_start_in_order_and_share_volume_and_network() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let fetch = mounted(side("fetch", "echo data > /shared/data; echo fetched"), "v");
    let serve = "until grep -q data /shared/data; do sleep 0.1; done; touch /tmp/good; \
                 while :; do echo served | nc -l -p 9000; done";
    let server = ContainerSpec {
        image: Some(IMAGE_WITH_CHECK.to_owned()),
        stop_timeout_seconds: Some(1),
        ..mounted(side("server", serve), "v")
    };
    let ask = "cat /shared/data; until nc 127.0.0.1 9000 </dev/null | grep served; do sleep 0.1; \
               done; ps; exit 5";
    let app = mounted(named("app", ask), "v");
    let app = after(app, &[("fetch", Condition::Success), ("server", Condition::Healthy)]);
    let spec = TaskSpec {
        pid: Some(PidMode::Task),
        ipc: Some(IpcMode::Task),
        ..task(vec![app, fetch, server], vec![volume("v", VolumeSource::Shared)])
    };
    let key = world.start_task(spec).await;
    world.event(|event| matches!(event, ExecutorEvent::Started { .. })).await;
    assert_eq!(world.volumes().len(), 1);
    let end = end(&mut world, key).await;
    assert_eq!(end.exit_code, 5);
    assert_eq!(end.reason.as_deref(), Some("container `app` exited with 5"));
    let codes = end.codes();
    assert_eq!(codes[..2], [("app", Some(5)), ("fetch", Some(0))]);
    assert!(codes[2].1.is_some_and(|code| code > 128), "stopped with the job: {codes:?}");
    let log = world.log(key);
    assert_eq!(lines_of(&log, "fetch"), ["fetched"]);
    let app = lines_of(&log, "app");
    assert_eq!(app[..2], ["data", "served"]);
    assert!(app.iter().any(|line| line.contains("/pause")), "one set of processes: {log}");
    assert!(!world.containers().iter().any(|name| name.ends_with("-pause")), "gone with the job");
    world.executor.forget(vec![key]).await;
    wait_for("containers and volumes to be removed", || {
        world.containers().is_empty() && world.volumes().is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_essential_end_stops_the_others_politely() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let release = world.directory.path().join("shared");
    let waits = "until [ -e /shared/go ]; do sleep 0.1; done; exit 0";
    let app = mounted(named("app", waits), "d");
    let spec = task(vec![app, side("logger", polite)], vec![host("d", &release)]);
    let key = world.start_task(spec).await;
    world.logged(key, "logger | up").await;
    fs::write(release.join("go"), "").unwrap();
    let end = end(&mut world, key).await;
    assert_eq!((end.exit_code, end.reason.clone()), (0, None));
    assert_eq!(end.codes(), [("app", Some(0)), ("logger", Some(0))]);
    assert_eq!(lines_of(&world.log(key), "logger"), ["up", "bye"]);
}

#[tokio::test]
async fn a_failed_dependency_fails_the_job_and_a_stop_ends_all() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let app = after(named("app", "true"), &[("fetch", Condition::Success)]);
    let key = world.start_task(task(vec![app, side("fetch", "exit 7")], Vec::new())).await;
    let failed = end(&mut world, key).await;
    let reason = "container `app` cannot start: `fetch` exited with 7 and SUCCESS was needed";
    assert_eq!((failed.exit_code, failed.reason.as_deref()), (1, Some(reason)));
    assert_eq!(failed.codes(), [("app", None), ("fetch", Some(7))]);

    let spec = task(vec![named("a", "echo up; sleep 1000"), side("b", "sleep 1000")], Vec::new());
    let key = world.start_task(spec).await;
    world.logged(key, "a | up").await;
    world.executor.stop(key, StopSignal::Kill).await;
    assert_eq!(end(&mut world, key).await.codes(), [("a", Some(137)), ("b", Some(137))]);

    let unknown = after(named("app", "true"), &[("nobody", Condition::Start)]);
    let key = world.start_task(task(vec![unknown, side("b", "true")], Vec::new())).await;
    let reason = world.start_failure(key).await;
    assert!(reason.contains("`nobody`"), "{reason}");
}

#[tokio::test]
async fn a_restarted_agent_goes_on_with_a_group_in_the_middle() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let shared = world.directory.path().join("shared");
    let wait = "echo before; until [ -e /shared/go ]; do sleep 0.1; done; echo after";
    let fetch = mounted(side("fetch", wait), "d");
    let app = after(named("app", "echo runs; exit 4"), &[("fetch", Condition::Complete)]);
    let spec = task(vec![app, fetch], vec![host("d", &shared)]);
    let key = world.start_task(spec).await;
    world.logged(key, "fetch | before").await;
    world.reopen();
    let adopted = world.executor.adopt().await.unwrap();
    assert_eq!((adopted.len(), adopted[0].key, adopted[0].started_at), (1, key, None));
    fs::write(shared.join("go"), "").unwrap();
    world.event(|event| matches!(event, ExecutorEvent::Started { .. })).await;
    assert_eq!(end(&mut world, key).await.exit_code, 4);
    let log = world.log(key);
    assert_eq!(lines_of(&log, "fetch"), ["before", "after"], "no repeat");
    assert_eq!(lines_of(&log, "app"), ["runs"]);
}

#[tokio::test]
async fn nothing_is_left_of_a_group_that_lost_a_container() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let a = mounted(named("a", "echo up; sleep 1000"), "v");
    let b = mounted(side("b", "sleep 1000"), "v");
    let key = world.start_task(task(vec![a, b], vec![volume("v", VolumeSource::Shared)])).await;
    world.logged(key, "a | up").await;
    world.leave();
    let name = format!("windrow-{}-{}-{}-1", world.job, key.child, key.lease);
    assert!(Command::new("docker").args(["rm", "-f", &name]).output().unwrap().status.success());
    world.reopen();
    let adopted = world.executor.adopt().await.unwrap();
    assert_eq!((adopted.len(), adopted[0].running), (1, false));
    let end = world.end(key).await;
    assert!(matches!(end, ExecutorEvent::Lost { .. }), "{end:?}");
    assert_eq!((world.containers(), world.volumes()), (Vec::new(), Vec::new()));
}
