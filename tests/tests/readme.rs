//! Every `windrow` command line and every file of README.md and of GUIDE.md works, in order, in one
//! cluster.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Command;

use windrow_tests::program::{self, Finished};

/// The block of a document that a line is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Shell,
    /// A file, whose first line is a comment with the command that reads it.
    File,
}

/// What a document's blocks say to do. Of `sh` blocks the lines that use `windrow`, and those that
/// give them a variable or a file: installing and building is what the quick start's test is for. A
/// `yaml` block is written to its file, and its command is run.
fn script(document: &str) -> String {
    let mut block = Block::None;
    let mut script = String::from("set -euo pipefail\n");
    let mut command = String::new();
    for line in document.lines() {
        let text = match (line.trim_end(), block) {
            ("```sh", Block::None) => {
                block = Block::Shell;
                continue;
            }
            ("```yaml", Block::None) => {
                block = Block::File;
                continue;
            }
            ("```", _) => {
                let is_file = std::mem::replace(&mut block, Block::None) == Block::File;
                let command = std::mem::take(&mut command);
                if !is_file {
                    continue;
                }
                format!("END\n{command}")
            }
            (line, Block::Shell) if is_run(line) => in_background(line),
            (line, Block::File) if command.is_empty() => {
                let whole = line.strip_prefix("# ").expect("a file's command comes first");
                whole.split(';').next().unwrap_or(whole).clone_into(&mut command);
                let file = command.rsplit(' ').next().unwrap_or_default();
                format!("cat >{file} <<'END'")
            }
            (line, Block::File) => line.to_owned(),
            (_, Block::Shell | Block::None) => continue,
        };
        script.push_str(&text);
        script.push('\n');
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
    let file = "```yaml\n# windrow read -f a.yaml; windrow more\na: 1\n```\n```json\n{}\n```\n";
    let expected = "set -euo pipefail\ncat >a.yaml <<'END'\na: 1\nEND\nwindrow read -f a.yaml\n";
    assert_eq!(script(file), expected);
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
