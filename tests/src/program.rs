//! Running the project's programs as a user does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The directory of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`tests` lies in the checkout")
}

/// Where the programs are: `WINDROW_BIN_DIRECTORY`, else beside the test's own build.
///
/// # Panics
/// When there is no `windrow` in it.
pub fn directory() -> PathBuf {
    let directory = match std::env::var_os("WINDROW_BIN_DIRECTORY") {
        Some(directory) => PathBuf::from(directory),
        None => std::env::current_exe().ok().and_then(own).expect("a test's program has a path"),
    };
    assert!(
        directory.join("windrow").exists(),
        "there is no `windrow` in `{}`; run `cargo build --workspace --bins` first",
        directory.display()
    );
    directory
}

/// A program of ours is `target/PROFILE/NAME`, a test `target/PROFILE/deps/NAME`.
fn own(program: PathBuf) -> Option<PathBuf> {
    let beside = program.parent()?;
    let is_deps = beside.file_name().is_some_and(|name| name == "deps");
    Some(if is_deps { beside.parent()? } else { beside }.to_owned())
}

/// The NATS server: `WINDROW_NATS_SERVER`, else the one on PATH.
pub fn nats_server() -> PathBuf {
    std::env::var_os("WINDROW_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from)
}

/// What a command that ended has left.
#[derive(Debug)]
pub struct Finished {
    command: String,
    /// Exit code; 128 + signal number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs `command` to its end, without standard input.
    pub fn run(command: &mut Command) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let shown = format!("{command:?}");
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("could not start {shown}: {error}"));
        let signal = output.status.signal().unwrap_or(0);
        Self {
            command: shown,
            code: output.status.code().unwrap_or(128 + signal),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output, trimmed, of a command that must have succeeded.
    pub fn ok(self) -> String {
        self.expect_code(0);
        self.stdout.trim().to_owned()
    }

    /// Standard output as JSON, of a command that must have succeeded.
    pub fn json(self) -> Value {
        self.expect_code(0);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.stdout))
    }

    /// Standard error of a command that must have ended with this code.
    pub fn fails_with(self, code: i32) -> String {
        self.expect_code(code);
        self.stderr
    }

    fn expect_code(&self, code: i32) {
        assert_eq!(
            self.code, code,
            "{}\nstdout: {}\nstderr: {}",
            self.command, self.stdout, self.stderr
        );
    }
}
