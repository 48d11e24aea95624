//! The keeper's socket: takes one agent at a time and carries out what it asks for.

use std::fs::File;
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use windrow_common::time::wall_clock;

use super::cgroup::{Cgroup, Hierarchy};
use super::protocol::{self, Event, Order, Request};
use super::scratch::Scratches;
use super::spawn::{self, Spawned};
use super::table::{Attempt, Phase, Table};
use super::watchdog::Watchdog;
use crate::executor::{AttemptKey, StopSignal};
use crate::shell::clock::since_boot;

/// Longest wait for the rest of a frame, or for an agent that does not read: it is on this host.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// Longest time, in milliseconds, that the news of a start waits for other news.
const START_HELD_BACK_MS: u8 = 2;

/// The socket and what starting a process needs.
pub(super) struct Server {
    directory: PathBuf,
    listener: UnixListener,
    null: File,
    scratches: Arc<Scratches>,
    watchdog: Arc<Watchdog>,
    /// Opened by the first attempt that needs it.
    hierarchy: Option<Hierarchy>,
}

impl Server {
    pub(super) fn new(
        directory: &Path,
        listener: UnixListener,
        null: File,
        scratches: Arc<Scratches>,
        watchdog: Arc<Watchdog>,
    ) -> Self {
        let directory = directory.to_owned();
        Self { directory, listener, null, scratches, watchdog, hierarchy: None }
    }

    /// Serves until the listener fails.
    pub(super) fn run(mut self, table: &Table) {
        let mut client: Option<Arc<UnixStream>> = None;
        loop {
            let Some((connecting, asking)) = self.wait(table, client.as_deref()) else { return };
            if asking && let Some(stream) = &client {
                match protocol::read(&mut ClientReader(stream)) {
                    Ok(requests) => self.carry_out(table, requests),
                    Err(e) => {
                        if e.kind() != std::io::ErrorKind::UnexpectedEof {
                            eprintln!("keeper: connection to the agent ended: {e}");
                        }
                        table.disconnect();
                        client = None;
                    }
                }
            }
            if connecting {
                match self.accept(table) {
                    Ok(stream) => client = Some(stream),
                    Err(e) => eprintln!("keeper: cannot accept an agent: {e}"),
                }
            }
        }
    }

    /// Waits for someone to connect or to ask; absent when the socket fails.
    fn wait(&self, table: &Table, client: Option<&UnixStream>) -> Option<(bool, bool)> {
        let mut files = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        files.extend(client.map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)));
        loop {
            // A start is told at the latest when the next request is awaited; the end of a short
            // attempt often comes before and takes it along.
            let held_back = client.is_some() && table.lock().has_outgoing();
            let limit = if held_back { START_HELD_BACK_MS.into() } else { PollTimeout::NONE };
            match poll(&mut files, limit) {
                Ok(0) => table.flush(),
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => {
                    eprintln!("keeper: cannot wait for the agent: {e}");
                    return None;
                }
            }
        }
        let ready = |index: usize| files.get(index).is_some_and(|f| f.any().unwrap_or(true));
        Some((ready(0), ready(1)))
    }

    /// Takes a new agent in the place of the one before.
    fn accept(&self, table: &Table) -> std::io::Result<Arc<UnixStream>> {
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(STALL_LIMIT))?;
        stream.set_write_timeout(Some(STALL_LIMIT))?;
        let stream = Arc::new(stream);
        if let Some(before) = table.connect(Arc::clone(&stream)) {
            // Most likely it is dead.
            let _ = before.shutdown(Shutdown::Both);
        }
        Ok(stream)
    }

    fn carry_out(&mut self, table: &Table, requests: Vec<Request>) {
        for request in requests {
            match request {
                Request::Start(order) => self.start(table, &order),
                Request::Stop { key, signal } => stop(table, key, signal),
                Request::Fence { fence, containers } => {
                    self.watchdog.set(table, fence, containers);
                }
                Request::Forget { keys } => {
                    let mut state = table.lock();
                    state.forget(&keys);
                    if state.is_quiet() {
                        table.upkeep.notify_one();
                    }
                }
            }
        }
    }

    fn start(&mut self, table: &Table, order: &Order) {
        let is_too_late = {
            let mut state = table.lock();
            if state.attempts.contains_key(&order.key) {
                return;
            }
            state.spawning = true;
            state.fence.is_some_and(|fence| fence.kill_at <= since_boot())
        };
        let (attempt, event) = match is_too_late {
            true => not_started(Event::Fenced { key: order.key, at: wall_clock() }),
            false => outcome(order.key, self.spawn(order)),
        };
        let mut state = table.lock();
        state.spawning = false;
        state.spawns_ended += 1;
        let pid = attempt.pid;
        if pid != 0 {
            state.mains.insert(pid, order.key);
        }
        state.attempts.insert(order.key, attempt);
        Table::push(&mut state, event);
        let failed = pid == 0;
        drop(state);
        table.spawned.notify_one();
        if failed {
            table.flush();
        }
    }

    fn spawn(&mut self, order: &Order) -> Result<(Spawned, Option<Cgroup>), String> {
        let cgroup = if order.cgroup {
            Some(self.hierarchy()?.make(order.key, order.resources)?)
        } else {
            None
        };
        match spawn::spawn(order, &self.null, &self.scratches, cgroup.as_ref()) {
            Ok(spawned) => Ok((spawned, cgroup)),
            Err(reason) => {
                cgroup.map(|c| c.remove());
                Err(reason)
            }
        }
    }

    fn hierarchy(&mut self) -> Result<&Hierarchy, String> {
        let hierarchy = match self.hierarchy.take() {
            Some(hierarchy) => hierarchy,
            None => Hierarchy::open(&self.directory).map_err(|e| format!("{e:#}"))?,
        };
        Ok(self.hierarchy.insert(hierarchy))
    }
}

/// The record and the event of a start.
fn outcome(
    key: AttemptKey,
    started: Result<(Spawned, Option<Cgroup>), String>,
) -> (Attempt, Event) {
    let at = wall_clock();
    let started = started.and_then(|(spawned, cgroup)| {
        let pid = i32::try_from(spawned.child.id()).map_err(|e| format!("process id: {e}"))?;
        Ok((pid, spawned, cgroup))
    });
    match started {
        Ok((pid, Spawned { child, scratch }, cgroup)) => {
            let (child, phase) = (Some(child), Phase::Running);
            let (is_asked, is_fenced) = (false, false);
            let attempt =
                Attempt { started_at: at, pid, child, scratch, cgroup, is_asked, is_fenced, phase };
            (attempt, Event::Started { key, at, pid })
        }
        Err(reason) => not_started(Event::StartFailed { key, at, reason }),
    }
}

/// The record and the event of an attempt that never ran.
fn not_started(event: Event) -> (Attempt, Event) {
    let attempt = Attempt {
        started_at: wall_clock(),
        pid: 0,
        child: None,
        scratch: None,
        cgroup: None,
        is_asked: false,
        is_fenced: false,
        phase: Phase::Ended(event.clone()),
    };
    (attempt, event)
}

fn stop(table: &Table, key: AttemptKey, signal: StopSignal) {
    if let Some(attempt) = table.lock().attempts.get_mut(&key) {
        attempt.signal(signal);
    }
}

/// Reads from a shared stream.
struct ClientReader<'a>(&'a UnixStream);

impl Read for ClientReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&mut &*self.0).read(buffer)
    }
}
