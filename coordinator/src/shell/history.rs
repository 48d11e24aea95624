//! The history store: records of finished jobs' children, in pieces, one subject each. A piece that is
//! stored again replaces itself, so what a killed coordinator began is simply done again.

pub(crate) mod page;

use async_nats::jetstream::{self, stream::Stream};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::warn;
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::subjects::Subjects;

use super::inputs::Input;
use crate::actor;
use crate::actor::archiving::Batch;
use crate::core::children::archive::Piece;
use crate::view::history::Wanted;

/// Version of [`Part`]; a reader passes over higher ones.
const VERSION: u16 = 1;
/// Pieces read at a time for one answer.
const READ_AT_ONCE: usize = 16;

/// One message: a piece, or a part of one that is too large for a message.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    version: u16,
    /// How many parts the piece has.
    parts: u32,
    content: Piece,
}

/// The store.
#[derive(Clone, Debug)]
pub struct History {
    context: jetstream::Context,
    stream: Stream,
    subjects: Subjects,
}

impl History {
    /// The store in this stream.
    pub fn new(context: jetstream::Context, stream: Stream, subjects: Subjects) -> Self {
        Self { context, stream, subjects }
    }

    /// Stores batches as they come and says so to the loop, until the loop's end is dropped.
    ///
    /// # Errors
    /// Something was not stored: the loop starts over and gives it out again.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<(), async_nats::Error> {
        while let Some(Batch { pieces, complete }) = batches.recv().await {
            self.store(pieces).await?;
            inputs.send(Input::Actor(actor::Input::Archived(complete))).await?;
        }
        Ok(())
    }

    /// Stores pieces, and waits until they are.
    ///
    /// # Errors
    /// One was not stored.
    pub async fn store(&self, pieces: Vec<(Wanted, Piece)>) -> Result<(), async_nats::Error> {
        let written = tokio::task::spawn_blocking(move || {
            pieces.into_iter().map(|(wanted, piece)| (wanted, write(piece))).collect::<Vec<_>>()
        });
        let mut sent = Vec::new();
        for (Wanted { queue, job, piece }, parts) in written.await? {
            for (part, payload) in (0..).zip(parts) {
                let subject = self.subjects.history(&queue, job, piece, part);
                sent.push(self.context.publish(subject, payload.into()).await?);
            }
        }
        for stored in sent {
            stored.await?;
        }
        Ok(())
    }

    /// Reads pieces; those that are gone or unreadable are left out.
    pub async fn read(&self, wanted: Vec<Wanted>) -> Vec<(Wanted, Piece)> {
        let read = futures::stream::iter(wanted).map(async |wanted| {
            let piece = self.read_one(&wanted).await?;
            Some((wanted, piece))
        });
        read.buffered(READ_AT_ONCE).filter_map(std::future::ready).collect().await
    }

    async fn read_one(&self, wanted: &Wanted) -> Option<Piece> {
        let first = self.read_part(wanted, 0).await?;
        let mut whole = first.content;
        for number in 1..first.parts {
            let part = self.read_part(wanted, number).await?.content;
            whole.records.extend(part.records);
            whole.never_ran.extend(part.never_ran);
        }
        Some(whole)
    }

    async fn read_part(&self, wanted: &Wanted, part: u32) -> Option<Part> {
        let subject = self.subjects.history(&wanted.queue, wanted.job, wanted.piece, part);
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(e) => {
                warn!(subject, error = %e, "the history does not have a finished job's records");
                return None;
            }
        };
        match rmp_serde::from_slice::<Part>(&message.payload) {
            Ok(part) if part.version <= VERSION => Some(part),
            Ok(part) => {
                warn!(
                    subject,
                    version = part.version,
                    "the history has records of a newer version"
                );
                None
            }
            Err(e) => {
                warn!(subject, error = %e, "the history has unreadable records");
                None
            }
        }
    }
}

/// A piece as messages.
fn write(piece: Piece) -> Vec<Vec<u8>> {
    let mut contents = vec![piece];
    let mut parts = Vec::new();
    while let Some(content) = contents.pop() {
        let part = Part { version: VERSION, parts: 1, content };
        let bytes = rmp_serde::to_vec(&part).expect("records have a MessagePack form");
        if bytes.len() <= MESSAGE_BYTES_MAX {
            parts.push((part, bytes));
        } else if let Some((first, second)) = part.content.halves() {
            // Order does not matter: every record says whose it is.
            contents.extend([first, second]);
        } else {
            warn!(bytes = bytes.len(), "the records of one child are too large for the history");
        }
    }
    if parts.len() == 1 {
        return parts.into_iter().map(|(_, bytes)| bytes).collect();
    }
    let count = u32::try_from(parts.len()).expect("fewer parts than children");
    let numbered = parts.into_iter().map(|(part, _)| Part { parts: count, ..part });
    let write = |part: Part| rmp_serde::to_vec(&part).expect("records have a MessagePack form");
    numbered.map(write).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use windrow_common::time::Timestamp;
    use windrow_common::wire::agent::ContainerEnd;

    use super::*;
    use crate::core::children::{Attempt, Child, NeverRan};

    /// One of everything that a record can have.
    fn example() -> Piece {
        let plain = Attempt {
            agent: 7,
            started_at: Some(Timestamp(1_000)),
            ended_at: Timestamp(2_000),
            exit_code: Some(0),
            status_reason: None,
            reason: None,
            log_bytes: 12,
            containers: None,
        };
        let end = |name: &str, exit_code, reason: Option<&str>| ContainerEnd {
            name: name.into(),
            exit_code,
            reason: reason.map(str::to_owned),
        };
        let failed = Attempt {
            started_at: None,
            exit_code: Some(137),
            status_reason: Some("Task failed to start".into()),
            reason: Some("OutOfMemoryError: Container killed due to memory usage".into()),
            containers: Some(Arc::new(vec![
                end("app", Some(3), None),
                end("side", None, Some("never started")),
            ])),
            ..plain.clone()
        };
        let ended = |succeeded, attempt, last| Child::Ended { succeeded, attempt, last };
        let never_ran = NeverRan { reason: "not needed".into(), at: Timestamp(3_000) };
        Piece {
            records: vec![
                (0, ended(true, 1, plain.clone()), Vec::new()),
                (1, ended(false, 3, failed.clone()), vec![plain, failed]),
                (1023, Child::Untried, Vec::new()),
            ],
            never_ran: vec![(2..9, never_ran)],
        }
    }

    /// As with the journal: an older file stays, a change adds one.
    #[test]
    fn records_of_version_1_are_readable_and_say_the_same() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/history-1.msgpack");
        if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &write(example())[0]).unwrap();
        }
        let part: Part = rmp_serde::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((part.version, part.parts), (VERSION, 1));
        assert_eq!(part.content, example());
    }

    #[test]
    fn a_piece_too_large_for_a_message_is_written_in_parts() {
        let reason: std::sync::Arc<str> = "x".repeat(2_000).into();
        let attempt = Attempt {
            agent: 0,
            started_at: None,
            ended_at: Timestamp(1),
            exit_code: Some(1),
            status_reason: Some(reason),
            reason: None,
            log_bytes: 0,
            containers: None,
        };
        let record = |child| {
            let ended = Child::Ended { succeeded: false, attempt: 3, last: attempt.clone() };
            (child, ended, vec![attempt.clone(); 2])
        };
        let piece = Piece { records: (0..1024).map(record).collect(), never_ran: Vec::new() };
        let parts = write(piece.clone());
        assert!(parts.len() > 4 && parts.iter().all(|part| part.len() <= MESSAGE_BYTES_MAX));
        let mut records = Vec::new();
        for bytes in &parts {
            let part: Part = rmp_serde::from_slice(bytes).unwrap();
            assert_eq!(part.parts as usize, parts.len());
            records.extend(part.content.records);
        }
        records.sort_by_key(|(child, ..)| *child);
        assert_eq!(records, piece.records);
    }
}
