//! The history store: records of finished jobs' children, in pieces, and finished jobs themselves, in
//! pages, one subject each. What is stored again replaces itself, so what a killed coordinator began is
//! simply done again.

pub(crate) mod page;

use std::time::Duration;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, stream::Stream};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{info, warn};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::ids::JobId;
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::subjects::Subjects;

use super::inputs::Input;
use crate::actor;
use crate::actor::archiving::Batch;
use crate::core::children::archive::Piece;
use crate::core::shelf::{PageId, Record};
use crate::view::history::{Answer, Later, Shelved, Wanted};

/// Version of [`Part`]; a reader passes over higher ones.
const VERSION: u16 = 1;
/// Pieces read at a time for one answer.
const READ_AT_ONCE: usize = 16;

/// Pause before what was not stored is tried again; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// Largest job that comes back: it has to fit a journal message.
const LOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

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

    /// Stores batches as they come and says so to the loop, until the loop's end is dropped. What
    /// cannot be stored is tried again and again, as finished jobs can wait in memory, and jobs that
    /// run have no part in it.
    ///
    /// # Errors
    /// The loop is gone.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<(), async_nats::Error> {
        while let Some(batch) = batches.recv().await {
            self.store_at_last(&batch).await;
            let stored = match batch {
                Batch::Pieces(_, complete) => actor::Input::Archived(complete),
                Batch::Page(page, records) => actor::Input::PageStored(page, records),
            };
            inputs.send(stored.into()).await?;
        }
        Ok(())
    }

    async fn store_at_last(&self, batch: &Batch) {
        let mut pause = RETRY_FIRST;
        for tries in 1_u64.. {
            match self.store(batch.clone()).await {
                Ok(()) if tries > 1 => return info!(tries, "the history takes records again"),
                Ok(()) => return,
                Err(e) => {
                    warn!(error = %e, tries, "the history takes no records; finished jobs stay in memory");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Stores a batch, and waits until it is.
    async fn store(&self, batch: Batch) -> Result<(), async_nats::Error> {
        let subjects = self.subjects.clone();
        let written = tokio::task::spawn_blocking(move || messages(&subjects, batch)).await?;
        let mut sent = Vec::new();
        for (subject, payload) in written {
            sent.push(self.context.publish(subject, payload.into()).await?);
        }
        for stored in sent {
            stored.await?;
        }
        Ok(())
    }

    /// Completes an answer that lacks what the history has.
    pub async fn complete(&self, later: Later) -> Answer {
        let pieces = self.read(later.wanted.iter().cloned().collect()).await;
        later.finish(pieces)
    }

    /// Answers a question about jobs that have left the memory.
    ///
    /// # Errors
    /// There are no such jobs, or the history does not answer.
    pub async fn look_up(&self, mut shelved: Shelved) -> Result<Answer, ApiError> {
        while let Some(page) = shelved.next_page() {
            shelved.take(self.page(page).await?);
        }
        Ok(self.complete(shelved.answer()?).await)
    }

    /// The jobs that these pages have, each from the latest page that has it. What no page has any more
    /// is left out.
    ///
    /// # Errors
    /// The history does not answer, or a job is too large to come back.
    pub async fn records(&self, pages: Vec<(PageId, Vec<JobId>)>) -> Result<Vec<Record>, ApiError> {
        let mut found: Vec<Record> = Vec::new();
        for (page, mut wanted) in pages {
            wanted.retain(|id| found.iter().all(|record| record.id != *id));
            if wanted.is_empty() {
                continue;
            }
            let records = self.page(page).await?.into_iter().flatten();
            found.extend(records.filter(|record| wanted.contains(&record.id)));
        }
        for record in &found {
            let bytes = rmp_serde::to_vec(record).map_or(usize::MAX, |bytes| bytes.len());
            if bytes > LOAD_BYTES_MAX {
                return Err(ApiError::new(
                    ErrorKind::TooLarge,
                    format!(
                        "job {} is in the history and with {} KiB too large to come back, at most {} KiB are",
                        record.id,
                        bytes / 1024,
                        LOAD_BYTES_MAX / 1024
                    ),
                )
                .hint("submit it anew"));
            }
        }
        Ok(found)
    }

    /// A page; none if the history has lost it.
    ///
    /// # Errors
    /// The history does not answer.
    pub async fn page(&self, id: PageId) -> Result<Option<Vec<Record>>, ApiError> {
        let mut bytes = Vec::new();
        let (mut part, mut parts) = (0, 1);
        while part < parts {
            let subject = self.subjects.history_page(id.term, id.number, part);
            let found = self.stream.get_last_raw_message_by_subject(&subject).await;
            let message = match found {
                Ok(message) => message,
                Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    warn!(subject, "the history has lost a page of finished jobs");
                    return Ok(None);
                }
                Err(e) => {
                    let message = format!("the history of finished jobs does not answer: {e}");
                    return Err(ApiError::new(ErrorKind::Unavailable, message).hint("try again"));
                }
            };
            match page::part(&message.payload) {
                Ok((count, content)) => {
                    parts = count;
                    bytes.extend_from_slice(content);
                }
                Err(error) => return Ok(unreadable(&subject, &error)),
            }
            part += 1;
        }
        let read = tokio::task::spawn_blocking(move || page::read(&bytes)).await;
        let read = read.unwrap_or_else(|e| Err(e.to_string()));
        let name = || self.subjects.history_page(id.term, id.number, 0);
        Ok(read.map_or_else(|error| unreadable(&name(), &error), Some))
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

fn unreadable(subject: &str, error: &str) -> Option<Vec<Record>> {
    warn!(subject, error, "the history has an unreadable page of finished jobs");
    None
}

/// A batch as messages with their subjects.
fn messages(subjects: &Subjects, batch: Batch) -> Vec<(String, Vec<u8>)> {
    match batch {
        Batch::Pieces(pieces, _) => {
            let messages = |(Wanted { queue, job, piece }, content)| {
                let subject = move |part| subjects.history(&queue, job, piece, part);
                (0..).zip(write(content)).map(move |(part, payload)| (subject(part), payload))
            };
            pieces.into_iter().flat_map(messages).collect()
        }
        Batch::Page(id, records) => {
            let subject = |part| subjects.history_page(id.term, id.number, part);
            let parts = page::write(&records);
            (0..).zip(parts).map(|(part, payload)| (subject(part), payload)).collect()
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
