//! What attempts of a dead keeper have left: processes that nobody waits for, and scratch directories.
//!
//! Usually the agent knows the process groups and ends them. It does not when it died as well, or
//! when the keeper died between starting a process and saying so; then they are found here, by what
//! they have open.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getpgrp};
use tracing::warn;

/// In the environment of every process of a job, unless the job takes it out.
const MARK: &[u8] = b"AWS_BATCH_JOB_ID=";
/// How long killed processes may take to vanish: one stuck in the kernel must not hold up the agent.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause between looks at them.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Ends every process of an attempt that writes to `logs` or lives in `scratch`, and removes what is
/// in `scratch`. To be called with a keeper that has not started anything yet.
pub(super) fn clear(logs: &Path, scratch: &Path) {
    let start = Instant::now();
    let mut found = groups(logs, scratch);
    if !found.is_empty() {
        warn!(groups = found.len(), "processes of a keeper that died are ended");
    }
    while !found.is_empty() && start.elapsed() < LIMIT {
        for group in &found {
            // It may have ended between the look and the signal.
            let _ = killpg(*group, Signal::SIGKILL);
        }
        std::thread::sleep(LOOK_AGAIN);
        found = groups(logs, scratch);
    }
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Err(error) = fs::remove_dir_all(&path) {
            warn!(path = %path.display(), %error, "a scratch directory cannot be removed");
        }
    }
}

/// Process groups of such processes, never our own.
fn groups(logs: &Path, scratch: &Path) -> BTreeSet<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw)
        .filter(|pid| is_of_attempt(*pid, logs, scratch))
        .filter_map(|pid| getpgid(Some(pid)).ok())
        .filter(|group| *group != getpgrp())
        .collect()
}

fn is_of_attempt(pid: Pid, logs: &Path, scratch: &Path) -> bool {
    let links = |name: &str, below: &Path| {
        fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|path| path.starts_with(below))
    };
    (links("fd/1", logs) || links("fd/2", logs) || links("cwd", scratch)) && is_marked(pid)
}

/// An operator may well have a shell in a scratch directory.
fn is_marked(pid: Pid) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(MARK))
}
