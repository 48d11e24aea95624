//! Takes leave of processes: main processes, what they leave behind, and adopted orphans.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::MutexGuard;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use windrow_common::time::wall_clock;

use super::outgoing;
use super::protocol::Event;
use super::scratch::Scratches;
use super::table::{Phase, State, Table};
use crate::executor::AttemptKey;

/// Exit code of what SIGKILL ended.
const EXIT_KILLED: i32 = 128 + Signal::SIGKILL as i32;

/// The reaper's loop. `scratches` takes back their directories.
pub(super) fn run(table: &Table, scratches: &Scratches) {
    loop {
        // The process stays a zombie for now, so that its number is not given to another while we
        // kill its group.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    bury(table, scratches, pid);
                }
            }
            Err(Errno::ECHILD) => {
                drop(Table::wait_while(&table.spawned, table.lock(), |s| s.mains.is_empty()));
            }
            // Ended by a signal that the library has no name for (a real-time one).
            Err(Errno::EINVAL) => bury_unnamed(table, scratches),
            Err(_) => {}
        }
    }
}

/// Buries the zombie `pid`.
fn bury(table: &Table, scratches: &Scratches, pid: Pid) {
    let mut state = lock_after_spawn(table, |state| state.mains.contains_key(&pid.as_raw()));
    if let Some(key) = state.mains.remove(&pid.as_raw()) {
        end_of_main(&mut state, key);
    } else {
        // An orphan, or nobody.
        let _ = waitpid(pid, None);
    }
    finish_drained(table, scratches, state);
}

/// Finds and buries a zombie whose number is not known.
fn bury_unnamed(table: &Table, scratches: &Scratches) {
    let mut state = lock_after_spawn(table, |_| false);
    if !end_ended_main(&mut state) {
        // An orphan then, unless a main process ends just now: with the lock held none begins.
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => {
                let main = status.pid().and_then(|pid| state.mains.remove(&pid.as_raw()));
                main.into_iter().for_each(|key| end_of_main(&mut state, key));
            }
            Err(_) => {
                end_ended_main(&mut state);
            }
        }
    }
    finish_drained(table, scratches, state);
}

/// Locks the table, and lets a spawn that is under way end first unless `known` says that it does
/// not matter: a zombie may be the process being started, not in the table yet, or one whose
/// program could not be loaded, which the spawn itself waits for.
fn lock_after_spawn(table: &Table, known: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
    let state = table.lock();
    let before = state.spawns_ended;
    Table::wait_while(&table.spawned, state, |s| {
        s.spawning && s.spawns_ended == before && !known(s)
    })
}

/// Ends one attempt whose main process has ended; false when there is none.
fn end_ended_main(state: &mut State) -> bool {
    let State { mains, attempts, .. } = &mut *state;
    let ended = mains.iter().find_map(|(pid, key)| {
        let child = attempts.get_mut(key)?.child.as_mut()?;
        // An error says that it was reaped before.
        (!matches!(child.try_wait(), Ok(None))).then_some((*pid, *key))
    });
    let Some((pid, key)) = ended else { return false };
    state.mains.remove(&pid);
    end_of_main(state, key);
    true
}

/// Kills what is left of the attempt, reaps its main process, and begins to drain it.
fn end_of_main(state: &mut State, key: AttemptKey) {
    let attempt = state.attempts.get_mut(&key).expect("a main process belongs to an attempt");
    // One kill reaches all: a member of the group that forks right now fails to.
    let _ = killpg(Pid::from_raw(attempt.pid), Signal::SIGKILL);
    let status = attempt.child.take().and_then(|mut child| child.wait().ok());
    let exit_code = status.map_or(EXIT_KILLED, exit_code);
    let mut out_of_memory = false;
    if let Some(cgroup) = &attempt.cgroup {
        out_of_memory = exit_code == EXIT_KILLED && cgroup.ran_out_of_memory();
        cgroup.kill();
    }
    let at = wall_clock();
    let end = match attempt.is_fenced {
        true => Event::Fenced { key, at },
        false => Event::Exited { key, at, exit_code, out_of_memory },
    };
    attempt.phase = Phase::Draining(end);
    state.draining.push(key);
}

/// Ends every draining attempt of which nothing is left.
fn finish_drained(table: &Table, scratches: &Scratches, mut state: MutexGuard<'_, State>) {
    if state.draining.is_empty() {
        return;
    }
    let State { attempts, draining, .. } = &mut *state;
    let mut finished = Vec::new();
    draining.retain(|key| {
        let gone = attempts.get(key).is_none_or(|attempt| {
            // While one member is left, the group's number belongs to no other.
            let group_gone = killpg(Pid::from_raw(attempt.pid), None).is_err();
            let cgroup_gone = attempt.cgroup.as_ref().is_none_or(|cgroup| {
                cgroup.kill();
                cgroup.remove()
            });
            group_gone && cgroup_gone
        });
        if gone {
            finished.push(*key);
        }
        !gone
    });
    let left = finish(&mut state, &finished);
    if !state.draining.is_empty() || state.is_quiet() {
        table.upkeep.notify_one();
    }
    drop(state);
    // The event goes first: the directory is no part of what the agent waits for.
    outgoing::send_now(table);
    left.into_iter().for_each(|directory| scratches.give_back(directory));
}

/// Reports the end of draining attempts; gives back their scratch directories.
pub(super) fn finish(state: &mut State, keys: &[AttemptKey]) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for key in keys {
        let Some(attempt) = state.attempts.get_mut(key) else { continue };
        let Phase::Draining(end) = &attempt.phase else { continue };
        let end = end.clone();
        attempt.phase = Phase::Ended(end.clone());
        attempt.cgroup = None;
        left.extend(attempt.scratch.take());
        Table::push(state, end);
    }
    left
}

/// As a shell gives it: 128 and the signal's number when killed.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(EXIT_KILLED)
}
