//! The program as a whole: exit codes, errors, `up`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_common::api::ApiError;

use super::support::{Server, code, free_port, text, windrow};

#[test]
fn without_a_server_the_exit_code_is_7_and_the_hint_is_up() {
    let output = windrow(&format!("nats://127.0.0.1:{}", free_port()), &["job", "list"]);
    assert_eq!(code(&output), 7);
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("error: connect to NATS") && stderr.contains("windrow up"),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn without_a_coordinator_the_exit_code_is_7_too() {
    let server = Server::start();
    let output = server.windrow(&["cluster", "status", "--timeout", "200ms", "-o", "json"]);
    assert_eq!(code(&output), 7);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["kind"], &error["retryable"]), (&json!("Unavailable"), &json!(true)));
    assert!(error["message"].as_str().unwrap().contains("no coordinator"), "{error}");
}

#[test]
fn a_refusal_is_shown_with_its_hint_and_exit_code() {
    let server = Server::start();
    server.respond(|_, _| Err(ApiError::not_found("queue `x` does not exist").hint("list them")));
    let output = server.windrow(&["submit", "--queue", "x", "--job-definition", "d"]);
    assert_eq!(code(&output), 4);
    assert_eq!(text(&output.stderr), "error: queue `x` does not exist\nhint: list them\n");
    let output = server.windrow(&["queue", "list", "-o", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let expected = json!({"code": "ClientException", "kind": "NotFound",
        "message": "queue `x` does not exist", "hint": "list them", "retryable": false});
    assert_eq!(error, expected);
}

#[test]
fn usage_errors_exit_with_2() {
    for wrong in [
        &["job", "get"][..],
        &["submit", "--depends-on", "x"],
        &["nonsense"],
        &["job", "get", "no-uuid"],
    ] {
        assert_eq!(code(&windrow("nats://127.0.0.1:1", wrong)), 2, "{wrong:?}");
    }
}

#[test]
fn up_refuses_a_server_that_is_too_old() {
    let directory = TempDir::new().unwrap();
    let server: PathBuf = directory.path().join("nats-server");
    std::fs::write(&server, "#!/bin/sh\necho 'nats-server: v2.10.20'\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&server, executable).unwrap();
    for detach in [&["up"][..], &["up", "--detach"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_windrow"))
            .args(detach)
            .env_remove("WINDROW_NATS_URL")
            .env("WINDROW_NATS_SERVER", &server)
            .env("WINDROW_DATA_DIRECTORY", directory.path().join("data"))
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(code(&output), 1, "{stderr}");
        assert!(stderr.contains("2.10.20") && stderr.contains("hint: "), "{stderr}");
        assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
}
