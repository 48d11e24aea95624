//! Several containers in one job, through the real programs and a Docker engine.
//!
//! Without an engine these tests fail, unless `WINDROW_TEST_NO_DOCKER=1` says that none is meant to
//! be here.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use windrow_tests::image::{BUSYBOX, is_docker_left_out, make_busybox};
use windrow_tests::{Cluster, wait_until};

fn container(name: &str, essential: bool, script: &str, depends_on: &Value) -> Value {
    json!({
        "name": name, "image": BUSYBOX, "essential": essential, "command": ["sh", "-c", script],
        "dependsOn": depends_on,
        "mountPoints": [{"sourceVolume": "shared", "containerPath": "/shared"}],
        "resourceRequirements":
            [{"type": "VCPU", "value": "0.5"}, {"type": "MEMORY", "value": "16"}]
    })
}

fn on(name: &str, condition: &str) -> Value {
    json!([{"containerName": name, "condition": condition}])
}

/// Containers of this cluster that the engine has.
fn left(cluster: &Cluster) -> usize {
    let list = Command::new("docker")
        .args(["ps", "-a", "--format", "{{.Label \"windrow.state-directory\"}}"])
        .output()
        .unwrap();
    let data = cluster.data().display().to_string();
    String::from_utf8(list.stdout).unwrap().lines().filter(|line| line.starts_with(&data)).count()
}

#[test]
fn a_job_of_several_containers_runs_in_order_and_shows_each() {
    if is_docker_left_out() {
        return;
    }
    make_busybox();
    let cluster = Cluster::start();
    let serve = "while :; do echo served | nc -l -p 9000; done";
    let ask = "cat /shared/data; until nc 127.0.0.1 9000 </dev/null | grep served; do sleep 0.1; \
               done; exit 3";
    let definition = json!({"ecsProperties": {"taskProperties": [{
        "volumes": [{"name": "shared"}],
        "containers": [
            container("app", true, ask, &on("server", "START")),
            container("server", false, serve, &on("fetch", "SUCCESS")),
            container("fetch", false, "echo fetched >/shared/data", &json!([])),
        ],
    }]}});
    let file = cluster.scratch().join("group.json");
    fs::write(&file, definition.to_string()).unwrap();
    cluster.windrow(&["jobdef", "register", "group", "-f", file.to_str().unwrap()]).ok();

    let job = cluster.submit(&["--job-definition", "group"]);
    let ended = cluster.ended(&job, 60);
    assert_eq!(ended["status"], "FAILED", "{ended:#}");
    let shown = &ended["attempts"][0]["taskProperties"][0]["containers"];
    let codes: Vec<_> = shown.as_array().unwrap().iter().map(|one| &one["exitCode"]).collect();
    assert_eq!((codes[0], codes[2]), (&json!(3), &json!(0)), "{ended:#}");
    assert!(codes[1].as_i64().unwrap() > 128, "stopped with the job: {ended:#}");
    let app = cluster.windrow(&["logs", &job, "--container", "app"]).ok();
    assert_eq!(app, "fetched\nserved");
    let all = cluster.windrow(&["logs", &job]).ok();
    assert!(all.contains("app | fetched"), "{all}");
    wait_until("the containers to be removed", 60, || (left(&cluster) == 0).then_some(()));
}
