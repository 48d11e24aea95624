//! Several containers in one job, through the real programs and a Docker engine.
//!
//! Without an engine these tests fail, unless `WINDROW_TEST_NO_DOCKER=1` says that none is meant to
//! be here.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use windrow_tests::{Cluster, wait_until};

const IMAGE: &str = "windrow-e2e-busybox:1";

/// An image of the static busybox with a shell.
fn make_image() {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir(root.path().join("tmp")).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static is installed");
    for tool in ["sh", "cat", "echo", "sleep", "nc", "grep"] {
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
}

fn container(name: &str, essential: bool, script: &str, depends_on: &Value) -> Value {
    json!({
        "name": name, "image": IMAGE, "essential": essential, "command": ["sh", "-c", script],
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
    if std::env::var_os("WINDROW_TEST_NO_DOCKER").is_some_and(|value| value == "1") {
        return;
    }
    make_image();
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
