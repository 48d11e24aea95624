//! One part of the cluster: a child process that is started again when it dies.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::failure::{Attempt, Result};
use crate::layout::ProcessId;

/// Pause before the first restart.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between restarts.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A part that ran this long is restarted with the first pause again.
const STEADY: Duration = Duration::from_secs(30);
/// Time a part has to end after SIGKILL.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How often a process that is not our child is looked at while it is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A log larger than this is put aside at the next start of its part.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Time a part has to end after SIGTERM: agents first end their jobs.
pub(super) fn stop_limit(name: &str) -> Duration {
    let is_agent = name.starts_with("agent");
    Duration::from_secs(if is_agent { 30 } else { 15 })
}

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) log: PathBuf,
}

/// What happened to a part.
#[derive(Debug)]
pub(super) enum Notice {
    Started { name: String, process: ProcessId },
    Ended { name: String, how: String },
}

/// A part that is kept running.
pub(super) struct Part {
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Part {
    /// Starts it and keeps it running until [`Self::stop`].
    pub(super) fn start(spec: Spec, notices: mpsc::Sender<Notice>) -> Self {
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(spec, notices, stop.clone()));
        Self { stop, keeper }
    }

    /// Tells it to end; [`Self::stopped`] waits for that.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended after [`Self::stop`].
    pub(super) async fn stopped(self) {
        // An error would be a panic of the keeper, which has been printed.
        let _ = self.keeper.await;
    }
}

async fn keep(spec: Spec, notices: mpsc::Sender<Notice>, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = Instant::now();
        let ended = match spawn(&spec) {
            Ok(child) => run(&spec.name, child, &notices, &stop).await,
            Err(failure) => failure.message,
        };
        let name = spec.name.clone();
        // The reader of notices outlives every part.
        let _ = notices.send(Notice::Ended { name, how: ended }).await;
        pause = if started.elapsed() >= STEADY { RESTART_PAUSE } else { pause };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RESTART_PAUSE_MAX),
        }
    }
}

/// Waits until the child ends, by itself or because it was told to. Answers how.
async fn run(
    name: &str,
    mut child: Child,
    notices: &mpsc::Sender<Notice>,
    stop: &CancellationToken,
) -> String {
    let process = child.id().and_then(ProcessId::of);
    if let Some(process) = process {
        let _ = notices.send(Notice::Started { name: name.to_owned(), process }).await;
    }
    tokio::select! {
        status = child.wait() => return describe(status),
        () = stop.cancelled() => {}
    }
    if let Some(process) = process {
        super::send(process, Signal::SIGTERM);
    }
    match tokio::time::timeout(stop_limit(name), child.wait()).await {
        Ok(status) => describe(status),
        Err(_) => {
            // Fails only for a process that has ended.
            let _ = child.start_kill();
            let _ = tokio::time::timeout(KILL_LIMIT, child.wait()).await;
            "killed: it did not stop in time".to_owned()
        }
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Starts the program in a process group of its own, so that Ctrl-C reaches only us.
fn spawn(spec: &Spec) -> Result<Child> {
    let log = open_log(&spec.log)?;
    let again = || format!("open `{}`", spec.log.display());
    Command::new(&spec.program)
        .args(&spec.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().attempt(again)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .attempt(|| format!("start `{}`", spec.program.display()))
}

/// Opens a log for appending; a large one is put aside as `NAME.log.old`.
pub(super) fn open_log(path: &Path) -> Result<File> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > LOG_BYTES_MAX {
        let old = path.with_extension("log.old");
        std::fs::rename(path, &old).attempt(|| format!("rename `{}`", path.display()))?;
    }
    let log = File::options().create(true).append(true).open(path);
    log.attempt(|| format!("open `{}`", path.display()))
}

/// Waits until a process that is not our child has gone. Whether it has within the limit.
pub(super) async fn gone(process: ProcessId, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    // There is no event for other processes' ends without unsafe code: look.
    while process.is_alive() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(directory: &Path, script: &str) -> Spec {
        Spec {
            name: "x".to_owned(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            log: directory.join("x.log"),
        }
    }

    #[tokio::test]
    async fn what_dies_is_started_again_until_it_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let (notices, mut events) = mpsc::channel(8);
        let part = Part::start(shell(directory.path(), "echo started; exec sleep 600"), notices);
        let mut seen = Vec::new();
        for round in 0..2 {
            let Some(Notice::Started { process, .. }) = events.recv().await else { panic!() };
            seen.push(process);
            if round == 0 {
                crate::up::send(process, Signal::SIGKILL);
                let Some(Notice::Ended { how, .. }) = events.recv().await else { panic!() };
                assert!(how.contains("signal: 9"), "{how}");
            }
        }
        assert_ne!(seen[0], seen[1]);
        part.stop();
        part.stopped().await;
        assert!(!seen[1].is_alive());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (notices, mut events) = mpsc::channel(8);
        let spec = Spec { program: "/no/such".into(), ..shell(directory.path(), "") };
        let part = Part::start(spec, notices);
        let Some(Notice::Ended { how, .. }) = events.recv().await else { panic!() };
        assert!(how.contains("/no/such"), "{how}");
        part.stop();
        part.stopped().await;
    }
}
