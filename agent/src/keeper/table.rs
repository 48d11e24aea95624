//! What the keeper knows: its attempts, the events still to be sent, and the client.
//!
//! One mutex, held for moments and never over a system call that can block. Each thread waits on a
//! condition of its own, so that a change wakes only who cares.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use windrow_common::time::Timestamp;

use super::cgroup::Cgroup;
use super::protocol::{Event, Known, VERSION};
use crate::executor::docker::Containers;
use crate::executor::{AttemptKey, Fence, StopSignal};

/// An attempt as the keeper sees it.
pub(super) struct Attempt {
    pub(super) started_at: Timestamp,
    /// Main process and process group; 0 when it never ran.
    pub(super) pid: i32,
    /// The main process until it is reaped.
    pub(super) child: Option<Child>,
    /// The directory to remove at its end.
    pub(super) scratch: Option<PathBuf>,
    pub(super) cgroup: Option<Cgroup>,
    /// Whether it was asked to end.
    pub(super) is_asked: bool,
    /// Whether it is ended because its time is over.
    pub(super) is_fenced: bool,
    pub(super) phase: Phase,
}

/// How far an attempt is.
pub(super) enum Phase {
    /// Its main process runs.
    Running,
    /// Its main process ended; what it left behind was killed and is dying.
    Draining(Event),
    /// Nothing of it is left. Kept until the agent forgets it.
    Ended(Event),
}

/// Everything behind the mutex.
#[derive(Default)]
pub(super) struct State {
    pub(super) attempts: BTreeMap<AttemptKey, Attempt>,
    /// Main processes that have not been reaped.
    pub(super) mains: HashMap<i32, AttemptKey>,
    /// Attempts in [`Phase::Draining`].
    pub(super) draining: Vec<AttemptKey>,
    /// Whether a spawn is under way: its process may exist, and even end, before `mains` has it.
    pub(super) spawning: bool,
    /// How many spawns have ended, well or not.
    pub(super) spawns_ended: u64,
    /// When everything must be over.
    pub(super) fence: Option<Fence>,
    /// Containers for which that holds too.
    pub(super) containers: Option<Containers>,
    /// Whether that is still to be seen to.
    pub(super) is_guarding: bool,
    /// Events for the client, at most three an attempt. Empty without a client: a snapshot tells
    /// the next one.
    outbox: Vec<Event>,
    client: Option<Arc<UnixStream>>,
}

/// The state and who waits for it.
#[derive(Default)]
pub(super) struct Table {
    state: Mutex<State>,
    /// The outbox has something for a client.
    outgoing: Condvar,
    /// The turn to take events out of the outbox and write them.
    pub(super) writing: Mutex<()>,
    /// A process was started, or a spawn ended.
    pub(super) spawned: Condvar,
    /// An attempt began or ended to drain, was forgotten, the client came or went, or
    /// what must be over is.
    pub(super) upkeep: Condvar,
}

impl Table {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on `condition` until `busy` is false.
    pub(super) fn wait_while<'a>(
        condition: &Condvar,
        guard: MutexGuard<'a, State>,
        busy: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        condition.wait_while(guard, busy).unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `stream` the client, which gets a snapshot first, and gives back the client before.
    pub(super) fn connect(&self, stream: Arc<UnixStream>) -> Option<Arc<UnixStream>> {
        let mut state = self.lock();
        let attempts = state.attempts.iter().map(|(key, a)| a.known(*key)).collect();
        state.outbox = vec![Event::Snapshot { version: VERSION, attempts }];
        let before = state.client.replace(stream);
        self.outgoing.notify_one();
        self.upkeep.notify_one();
        before
    }

    /// Forgets the client.
    pub(super) fn disconnect(&self) {
        let mut state = self.lock();
        state.client = None;
        state.outbox.clear();
        self.upkeep.notify_one();
    }

    /// Queues an event for the client. The caller notifies by [`Table::flush`] after unlocking.
    pub(super) fn push(state: &mut State, event: Event) {
        if state.client.is_some() {
            state.outbox.push(event);
        }
    }

    /// Wakes the writer.
    pub(super) fn flush(&self) {
        self.outgoing.notify_one();
    }

    /// Waits until events wait to be sent.
    pub(super) fn wait_for_outgoing(&self) {
        drop(Self::wait_while(&self.outgoing, self.lock(), |state| !state.has_outgoing()));
    }

    /// Takes all events, with the client they are for; absent when there are none. To be called in
    /// a turn of [`Table::writing`].
    pub(super) fn take_outgoing(&self) -> Option<(Arc<UnixStream>, Vec<Event>)> {
        let mut state = self.lock();
        let client = Arc::clone(state.client.as_ref()?);
        (!state.outbox.is_empty()).then(|| (client, mem::take(&mut state.outbox)))
    }
}

impl State {
    /// Whether nobody listens, nothing runs, and nothing is to be ended later.
    pub(super) fn is_quiet(&self) -> bool {
        let is_idle = self.mains.is_empty() && self.draining.is_empty() && !self.spawning;
        self.client.is_none() && is_idle && !self.is_guarding
    }

    /// Whether events wait to be sent.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Drops the records of ended attempts.
    pub(super) fn forget(&mut self, keys: &[AttemptKey]) {
        for key in keys {
            if matches!(self.attempts.get(key).map(|a| &a.phase), Some(Phase::Ended(_))) {
                self.attempts.remove(key);
            }
        }
    }
}

impl Attempt {
    /// Signals it, if it runs. To be called with the lock held: the main process is not reaped then, so
    /// the number is still its own. That it has ended just now is no failure.
    pub(super) fn signal(&mut self, signal: StopSignal) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        self.is_asked = true;
        let group = Pid::from_raw(self.pid);
        match signal {
            StopSignal::Terminate => drop(killpg(group, Signal::SIGTERM)),
            StopSignal::Kill => {
                let _ = killpg(group, Signal::SIGKILL);
                if let Some(cgroup) = &self.cgroup {
                    cgroup.kill();
                }
            }
        }
    }

    fn known(&self, key: AttemptKey) -> Known {
        let end = match &self.phase {
            Phase::Running | Phase::Draining(_) => None,
            Phase::Ended(event) => Some(event.clone()),
        };
        Known { key, started_at: self.started_at, pid: self.pid, end }
    }
}
