//! Every `windrow` command line of README.md and of GUIDE.md works, in order, in one cluster.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Command;

use windrow_tests::program::{self, Finished};

/// The lines of the README's `sh` blocks that are to be run: those that use `windrow`, and those
/// that give them a variable or a file. Installing and building is what the quick start's test is for.
fn script(readme: &str) -> String {
    let mut inside = false;
    let mut script = String::from("set -euo pipefail\n");
    for line in readme.lines() {
        match line.trim_end() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && is_run(line) => {
                script.push_str(&in_background(line));
                script.push('\n');
            }
            _ => (),
        }
    }
    script
}

fn is_run(line: &str) -> bool {
    let other = ["deploy/", "tests/", "git ", "cargo ", "sudo ", "just ", "export PATH", "cd "];
    !line.contains("# not run") && !other.iter().any(|start| line.starts_with(start))
}

/// `windrow up` as the README shows it would hold the terminal.
fn in_background(line: &str) -> String {
    match line.split_once('#').map_or(line, |(command, _)| command).trim_end() {
        "windrow up" => "windrow up --detach".to_owned(),
        _ => line.to_owned(),
    }
}

#[test]
fn lines_to_run_are_picked() {
    let readme = "text\n```sh\nwindrow up   # go\nwindrow x # not run\n```\nwindrow y\n```sh\n\
                  deploy/q.sh\nJ=$(windrow z)\n```\n";
    assert_eq!(script(readme), "set -euo pipefail\nwindrow up --detach\nJ=$(windrow z)\n");
}

#[test]
fn readme_commands_work() {
    commands_work("README.md", 5);
}

#[test]
fn guide_commands_work() {
    commands_work("GUIDE.md", 40);
}

fn commands_work(file: &str, at_least: usize) {
    let text = std::fs::read_to_string(program::root().join(file)).unwrap();
    let script = script(&text);
    assert!(script.matches("windrow ").count() >= at_least, "{file} shows too little:\n{script}");

    let work = tempfile::TempDir::with_prefix("windrow-readme-").unwrap();
    let bin = program::directory();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let bash = |script: &str| {
        Finished::run(
            Command::new("bash")
                .args(["-c", script])
                .env("PATH", &path)
                .env("WINDROW_DATA_DIRECTORY", work.path().join("data"))
                .env_remove("WINDROW_NATS_URL")
                .current_dir(work.path()),
        )
    };
    let finished = bash(&format!("set -x\n{script}"));
    bash("windrow down").ok();
    finished.ok();
}
