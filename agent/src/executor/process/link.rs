//! The connection to the keeper: requests out, events in, and a new connection when it breaks.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{Receiver, Sender};
use windrow_common::time::wall_clock;

use super::{ProcessConfig, connect};
use crate::executor::{AttemptKey, ExecutorEvent};
use crate::keeper::protocol::{self, Event, Known, Request};

/// Requests in one frame: few enough that a stop behind it does not wait long.
const FRAME_REQUESTS: usize = 64;
/// Calls taken from the mailbox at once.
const CALLS: usize = 64;
/// Pause before another try when no keeper can be had.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// What we have been told of an attempt that is not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Requested; no answer yet.
    Requested,
    /// Runs as this process group.
    Started(i32),
    /// Ended, or never ran.
    Ended,
}

/// The task's state.
pub(super) struct Link {
    config: ProcessConfig,
    events: Sender<Vec<ExecutorEvent>>,
    /// Shared by the two directions, which run in one task.
    seen: Mutex<BTreeMap<AttemptKey, Seen>>,
    /// When all must be over, as it was last said: a new keeper is to know.
    fence: Mutex<Option<Request>>,
}

impl Link {
    pub(super) fn new(
        config: ProcessConfig,
        events: Sender<Vec<ExecutorEvent>>,
        found: &[Known],
    ) -> Self {
        let seen = found.iter().map(|known| (known.key, seen_of(known))).collect();
        Self { config, events, seen: Mutex::new(seen), fence: Mutex::default() }
    }

    /// Runs until the executor is dropped.
    pub(super) async fn run(self, first: StdStream, mut mailbox: Receiver<Vec<Request>>) {
        let mut stream = first;
        loop {
            match self.serve(stream, &mut mailbox).await {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, "connection to the keeper lost"),
            }
            let Some(next) = self.reconnect().await else { return };
            stream = next;
        }
    }

    /// Serves one connection; ends well when the executor is dropped.
    async fn serve(
        &self,
        stream: StdStream,
        mailbox: &mut Receiver<Vec<Request>>,
    ) -> io::Result<()> {
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        // Whichever ends first, the connection is of no more use; half a frame does not matter.
        tokio::select! {
            result = self.read_events(reader) => result,
            result = self.write_requests(writer, mailbox) => result,
        }
    }

    async fn write_requests(
        &self,
        mut writer: OwnedWriteHalf,
        mailbox: &mut Receiver<Vec<Request>>,
    ) -> io::Result<()> {
        let mut calls = Vec::with_capacity(CALLS);
        while mailbox.recv_many(&mut calls, CALLS).await > 0 {
            let requests: Vec<_> = calls.drain(..).flatten().collect();
            self.note_requests(&requests);
            for frame in requests.chunks(FRAME_REQUESTS) {
                writer.write_all(&protocol::encode(frame)?).await?;
            }
        }
        Ok(())
    }

    fn note_requests(&self, requests: &[Request]) {
        let mut seen = self.seen();
        for request in requests {
            match request {
                Request::Start(order) => {
                    seen.entry(order.key).or_insert(Seen::Requested);
                }
                Request::Stop { .. } => {}
                Request::Fence { .. } => *self.fence() = Some(request.clone()),
                Request::Forget { keys } => keys.iter().for_each(|key| {
                    seen.remove(key);
                }),
            }
        }
    }

    async fn read_events(&self, reader: OwnedReadHalf) -> io::Result<()> {
        let mut reader = BufReader::new(reader);
        let mut body = Vec::new();
        loop {
            let mut head = [0; 4];
            reader.read_exact(&mut head).await?;
            body.resize(protocol::body_length(head)?, 0);
            reader.read_exact(&mut body).await?;
            let events: Vec<Event> = protocol::decode(&body)?;
            self.note_events(&events);
            let events: Vec<_> = events.into_iter().filter_map(translate).collect();
            if !events.is_empty() && self.events.send(events).await.is_err() {
                // Nobody is interested any more; the executor's owner is about to drop it.
                return Ok(());
            }
        }
    }

    fn note_events(&self, events: &[Event]) {
        let mut seen = self.seen();
        for event in events {
            match event {
                Event::Snapshot { .. } => {}
                Event::Started { key, pid, .. } => {
                    seen.insert(*key, Seen::Started(*pid));
                }
                Event::StartFailed { key, .. }
                | Event::Exited { key, .. }
                | Event::Fenced { key, .. } => {
                    seen.insert(*key, Seen::Ended);
                }
            }
        }
    }

    /// Connects again and tells what became of the attempts; absent when nobody is interested.
    async fn reconnect(&self) -> Option<StdStream> {
        loop {
            let config = self.config.clone();
            let connected = tokio::task::spawn_blocking(move || connect::connect(&config)).await;
            match connected {
                Ok(Ok((mut stream, known))) => {
                    let (events, forgotten) = self.reconcile(&known);
                    if let Err(error) = self.repeat(&mut stream, forgotten) {
                        tracing::warn!(%error, "cannot talk to the new keeper");
                        continue;
                    }
                    self.events.send(events).await.ok()?;
                    return Some(stream);
                }
                Ok(Err(error)) => tracing::error!(?error, "no keeper can be had"),
                Err(error) => tracing::error!(%error, "connecting to the keeper failed"),
            }
            if self.events.is_closed() {
                return None;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Compares what the keeper knows with what we were told: the events that we missed, and the
    /// ended attempts that are forgotten here.
    fn reconcile(&self, known: &[Known]) -> (Vec<ExecutorEvent>, Vec<AttemptKey>) {
        let mut seen = self.seen();
        let (mut events, mut forgotten) = (Vec::new(), Vec::new());
        for attempt in known {
            let Some(before) = seen.insert(attempt.key, seen_of(attempt)) else {
                seen.remove(&attempt.key);
                forgotten.push(attempt.key);
                continue;
            };
            if before == Seen::Requested && attempt.pid != 0 {
                events.push(ExecutorEvent::Started { key: attempt.key, at: attempt.started_at });
            }
            if before != Seen::Ended {
                events.extend(attempt.end.clone().and_then(translate));
            }
        }
        let kept: std::collections::BTreeSet<_> = known.iter().map(|k| k.key).collect();
        let at = wall_clock();
        for (key, state) in seen.iter_mut().filter(|(key, _)| !kept.contains(key)) {
            match *state {
                Seen::Ended => continue,
                Seen::Requested => {}
                // Its parent is dead. It may have ended long ago, or be running.
                Seen::Started(group) => drop(killpg(Pid::from_raw(group), Signal::SIGKILL)),
            }
            *state = Seen::Ended;
            let reason = "the keeper, which was its parent process, has died".to_owned();
            events.push(ExecutorEvent::Lost { key: *key, at, reason });
        }
        (events, forgotten)
    }

    /// Repeats what the keeper may not have heard. The frame fits into the socket's empty buffer.
    fn repeat(&self, stream: &mut StdStream, keys: Vec<AttemptKey>) -> io::Result<()> {
        let mut requests: Vec<_> = self.fence().clone().into_iter().collect();
        if !keys.is_empty() {
            requests.push(Request::Forget { keys });
        }
        stream.set_nonblocking(false)?;
        protocol::write(stream, &requests)?;
        stream.set_nonblocking(true)
    }

    fn fence(&self) -> MutexGuard<'_, Option<Request>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen_of(known: &Known) -> Seen {
    if known.end.is_some() { Seen::Ended } else { Seen::Started(known.pid) }
}

/// The agent's words for a keeper's event; absent for the greeting.
pub(super) fn translate(event: Event) -> Option<ExecutorEvent> {
    Some(match event {
        Event::Snapshot { .. } => return None,
        Event::Started { key, at, pid: _ } => ExecutorEvent::Started { key, at },
        Event::StartFailed { key, at, reason } => ExecutorEvent::StartFailed { key, at, reason },
        Event::Exited { key, at, exit_code, out_of_memory } => {
            let (reason, containers) = (None, Vec::new());
            ExecutorEvent::Exited { key, at, exit_code, out_of_memory, reason, containers }
        }
        Event::Fenced { key, at } => {
            let reason = "no coordinator could be reached".to_owned();
            ExecutorEvent::Lost { key, at, reason }
        }
    })
}
