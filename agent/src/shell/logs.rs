//! Ships the output of attempts to the log stream.
//!
//! Each attempt writes one file; this actor looks at the files of running attempts a few times a
//! second, and at each once more at its end, and publishes what is new in order, with the offset of
//! the first byte. A file is removed when its attempt is over and everything of it is in the stream.
//! After a restart the stream itself says how far a file was shipped. A chunk can arrive twice when
//! an acknowledgement was lost; readers tell by its offset.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use windrow_common::streams::{HEADER_DROPPED, HEADER_OFFSET};
use windrow_common::time::wall_clock;

use super::link::Link;
use super::log_budget::{Limits, Piece};
use super::log_key::LogKey;
use super::log_tail::{Chunk, Tail};
use crate::executor::{AttemptKey, LogFiles};

/// How often running attempts are looked at. Bounds how old output is when it arrives.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Chunks in publication at once; with the chunks' size this bounds memory to 8 MiB.
const IN_FLIGHT_MAX: usize = 64;

/// What the event loop tells about attempts.
#[derive(Debug)]
pub enum LogCommand {
    /// These start.
    Watch(Vec<LogKey>),
    /// These are over; the bytes each wrote.
    Over(Vec<(LogKey, u64)>),
    /// Say when everything that can be shipped now is.
    Flush(oneshot::Sender<()>),
}

enum Done {
    /// How a publication went.
    Shipped(AttemptKey, Piece, Result<(), String>),
    /// How far an older file was shipped, or why that is not known.
    Resumed(AttemptKey, Result<u64, String>),
}

/// The actor.
pub struct LogShipper {
    link: Link,
    directory: PathBuf,
    log_files: Arc<LogFiles>,
    limits: Limits,
    tails: BTreeMap<AttemptKey, Tail>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Attempts that had something to ship when as much as allowed was on its way.
    waiting: BTreeSet<AttemptKey>,
    flush: Option<oneshot::Sender<()>>,
}

impl LogShipper {
    /// Begins with the files that lie in `directory`; those not of `running` attempts are over.
    pub fn start(
        link: Link,
        directory: PathBuf,
        log_files: Arc<LogFiles>,
        limits: Limits,
        running: &[LogKey],
    ) -> mpsc::Sender<LogCommand> {
        let (sender, commands) = mpsc::channel(1024);
        let mut shipper = Self {
            link,
            directory,
            log_files,
            limits,
            tails: BTreeMap::new(),
            running: FuturesUnordered::new(),
            waiting: BTreeSet::new(),
            flush: None,
        };
        shipper.find_files(running);
        tokio::spawn(shipper.run(commands));
        sender
    }

    async fn run(mut self, mut commands: mpsc::Receiver<LogCommand>) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(done) = self.running.next() => self.on_done(done),
                _ = looks.tick(), if !self.tails.is_empty() => self.on_look(),
            }
            if self.running.is_empty()
                && let Some(flush) = self.flush.take()
            {
                // Nobody waits any more when this fails.
                let _ = flush.send(());
            }
        }
    }

    fn on_command(&mut self, command: LogCommand) {
        match command {
            LogCommand::Watch(keys) => {
                for key in keys {
                    let tail = Tail::new(key, &self.directory, self.limits, wall_clock());
                    self.tails.insert(key.key, tail);
                }
            }
            LogCommand::Over(over) => {
                for (key, length) in over {
                    let tail = self.tails.entry(key.key).or_insert_with(|| {
                        Tail::new(key, &self.directory, self.limits, wall_clock())
                    });
                    tail.end(length, wall_clock());
                    self.pump(key.key);
                }
            }
            LogCommand::Flush(reply) => {
                self.on_look();
                self.flush = Some(reply);
            }
        }
    }

    fn on_look(&mut self) {
        let now = wall_clock();
        let keys: Vec<_> = self.tails.keys().copied().collect();
        for key in keys {
            if let Some(tail) = self.tails.get_mut(&key) {
                tail.look(now);
            }
            self.pump(key);
        }
    }

    fn on_done(&mut self, done: Done) {
        let key = match done {
            Done::Shipped(key, piece, result) => {
                if let Some(tail) = self.tails.get_mut(&key) {
                    tail.on_answer(result.is_ok().then_some(piece));
                }
                result.map(|()| key).map_err(|error| (key, error))
            }
            Done::Resumed(key, result) => {
                if let Some(tail) = self.tails.get_mut(&key) {
                    tail.on_resumed(result.as_ref().ok().copied(), self.limits, wall_clock());
                }
                result.map(|_| key).map_err(|error| (key, error))
            }
        };
        match key {
            Ok(key) => self.pump(key),
            // The next look tries again.
            Err((key, error)) => {
                warn!(lease = %key.lease, child = key.child, error, "output cannot be shipped now");
            }
        }
        while self.running.len() < IN_FLIGHT_MAX
            && let Some(key) = self.waiting.pop_first()
        {
            self.pump(key);
        }
    }

    /// Publishes the attempt's next chunk, unless one is on its way; removes what is finished.
    fn pump(&mut self, key: AttemptKey) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        if tail.is_finished() {
            tail.remove_file(&self.log_files);
            self.tails.remove(&key);
            return;
        }
        if tail.is_busy() || !self.link.is_connected() {
            return;
        }
        if self.running.len() >= IN_FLIGHT_MAX {
            self.waiting.insert(key);
            return;
        }
        if !tail.is_resumed() {
            tail.set_busy();
            self.running.push(Box::pin(resume(self.link.clone(), tail.log_key())));
            return;
        }
        match tail.next_chunk() {
            Ok(Some(chunk)) => {
                tail.set_busy();
                self.running.push(Box::pin(ship(self.link.clone(), tail.log_key(), chunk)));
            }
            Ok(None) => {}
            Err(error) => {
                warn!(lease = %key.lease, child = key.child, %error, "output is lost: read its file");
                self.tails.remove(&key);
            }
        }
    }

    fn find_files(&mut self, running: &[LogKey]) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(key) = name.to_str().and_then(LogKey::from_file_name) else { continue };
            let mut tail = Tail::found(key, &self.directory, self.limits, wall_clock());
            if !running.contains(&key) {
                let length = entry.metadata().map_or(0, |metadata| metadata.len());
                tail.end(length, wall_clock());
            }
            self.tails.insert(key.key, tail);
        }
    }
}

fn subject(link: &Link, key: LogKey) -> String {
    let job = windrow_common::ids::JobRef::child(key.job, key.key.child);
    link.subjects.log(job, key.attempt)
}

async fn ship(link: Link, key: LogKey, chunk: Chunk) -> Done {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER_OFFSET, chunk.piece.from.to_string().as_str());
    if chunk.piece.dropped > 0 {
        headers.insert(HEADER_DROPPED, chunk.piece.dropped.to_string().as_str());
    }
    let subject = subject(&link, key);
    let publish = link.jetstream.publish_with_headers(subject, headers, chunk.bytes.into());
    let result = match publish.await {
        Ok(ack) => ack.await.map(|_| ()).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Done::Shipped(key.key, chunk.piece, result)
}

/// Where the stream's last chunk of the attempt ends.
async fn resume(link: Link, key: LogKey) -> Done {
    let subject = subject(&link, key);
    let last = async {
        let stream = link.jetstream.stream_by_subject(subject.clone()).await?;
        let stream = link.jetstream.get_stream_no_info(stream).await?;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let offset = message.headers.get(HEADER_OFFSET).map_or("0", |v| v.as_str());
                Ok(offset.parse::<u64>().unwrap_or(0) + message.payload.len() as u64)
            }
            Err(error) if is_not_found(&error) => Ok(0),
            Err(error) => Err(async_nats::Error::from(error)),
        }
    };
    let result: Result<u64, async_nats::Error> = last.await;
    Done::Resumed(key.key, result.map_err(|e| e.to_string()))
}

fn is_not_found(error: &async_nats::jetstream::stream::LastRawMessageError) -> bool {
    error.kind() == async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound
}
