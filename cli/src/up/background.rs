//! `windrow up --detach`: the same program again in a session of its own, which says in one line on
//! its standard output that all is ready, or why not.

use std::io::Write;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::part::open_log;
use super::supervisor::Ready;
use crate::failure::{Attempt, Exit, Failure, Result};
use crate::layout::Layout;

/// What the background process says to the one that started it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Report {
    Ready(Ready),
    Failed { exit: u8, message: String, hint: Option<String> },
}

/// Starts the background process and waits until it is ready.
///
/// Errors: those of the background process, with its exit code.
pub(super) async fn start(layout: &Layout) -> Result<Ready> {
    layout.create()?;
    let path = layout.log("up");
    let log = open_log(&path)?;
    let program = std::env::current_exe().attempt(|| "find this program".to_owned())?;
    // Its talk goes to the log, which wants all of it.
    let left_out = ["--detach", "-q", "--quiet"];
    let arguments = std::env::args_os().skip(1).filter(|a| left_out.iter().all(|out| a != out));
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .attempt(|| "start in the background".to_owned())?;
    let mut output = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
    let mut line = String::new();
    tokio::select! {
        read = output.read_line(&mut line) => {
            read.attempt(|| "read from the background process".to_owned())?;
        }
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(Exit::Interrupted, "interrupted while the cluster starts")
                .hint("it goes on in the background; stop it with `windrow down`"));
        }
    }
    match serde_json::from_str(&line) {
        Ok(Report::Ready(ready)) => Ok(ready),
        Ok(Report::Failed { exit, message, hint }) => {
            let failure = Failure::new(Exit::from_code(exit), message);
            Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
        Err(_) => Err(Failure::error("start in the background: the process ended without a word")
            .hint(format!("look into `{}`", path.display()))),
    }
}

/// Leaves the terminal's session, so that its end does not reach us.
pub(super) fn leave_session() -> Result<()> {
    nix::unistd::setsid().map(|_| ()).attempt(|| "start a session".to_owned())
}

/// Says to the process that started us that all is ready.
pub(super) fn report(ready: &Ready) {
    say(&Report::Ready(ready.clone()));
}

/// Says to the process that started us why it will not be.
pub(super) fn report_failure(failure: &Failure) {
    let Failure { exit, message, hint, .. } = failure.clone();
    say(&Report::Failed { exit: exit.code(), message, hint });
}

/// The other process may have been interrupted meanwhile; the cluster runs all the same.
fn say(report: &Report) {
    let mut line = serde_json::to_vec(report).expect("text and numbers have a JSON form");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
