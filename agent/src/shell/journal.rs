//! What the agent holds, on its own disk: an append-only file of frames.
//!
//! A frame is length and CRC-32 of its payload (both 4 bytes, little endian), then the payload: a batch
//! of [`Record`]s in MessagePack. A batch is one write and counts as a whole or not at all.
//!
//! Nothing is synced to the device. What must survive is a crash of the agent, and the kernel keeps
//! what was written across that. A host that loses power loses its running attempts in any case:
//! their leases expire and the coordinator runs them elsewhere, and a result that is lost with the
//! journal was either confirmed or is produced again under a new lease.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tracing::warn;
use windrow_common::codec::{from_msgpack, to_msgpack};

use crate::core::held::{Held, Record};

/// Below this size the file is not worth rewriting.
const COMPACT_BYTES_MIN: u64 = 8 << 20;
/// A frame larger than this is not one of ours.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Records in one frame at compaction.
const FRAME_RECORDS_MAX: usize = 4096;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refuses.
    #[error("{what} the agent's journal `{path}`")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A whole frame cannot be understood.
    #[error(
        "read frame at byte {offset} of the agent's journal `{path}`: {problem}; it was written by a \
         newer agent or damaged; remove the file to give up what this agent holds"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    compacted_length: u64,
}

impl Journal {
    /// Reads what is there, and writes it anew without what is over.
    pub fn open(path: &Path) -> Result<(Self, Held), Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::Io { what: "read", path: path.to_owned(), source }),
        };
        let (held, whole) = read(path, &bytes)?;
        let (file, length) = match write_whole(path, &held) {
            Ok(written) => written,
            // On a full disk it goes on as it is.
            Err(error) if !bytes.is_empty() => {
                warn!(%error, "the journal is used as it is");
                reopen(path, whole)?
            }
            Err(error) => return Err(error),
        };
        let path = path.to_owned();
        Ok((Self { path, file, length, compacted_length: length }, held))
    }

    /// Appends facts; when this returns they survive a crash of the agent. After an error none of them is
    /// there, and they may be appended again.
    pub fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let frame = frame(records);
        if let Err(source) = self.file.write_all(&frame) {
            // A part of it may be there; what is written later must follow on what is whole.
            (self.file, _) = reopen(&self.path, self.length)?;
            return Err(Error::Io { what: "append to", path: self.path.clone(), source });
        }
        self.length += frame.len() as u64;
        Ok(())
    }

    /// Whether most of the file is about what is over.
    pub fn is_overgrown(&self) -> bool {
        self.length > COMPACT_BYTES_MIN.max(self.compacted_length.saturating_mul(4))
    }

    /// Writes the file anew from what is held.
    pub fn compact(&mut self, held: &Held) -> Result<(), Error> {
        let (file, length) = write_whole(&self.path, held)?;
        *self = Self { path: self.path.clone(), file, length, compacted_length: length };
        Ok(())
    }
}

/// What the journal holds, and how far it is whole.
fn read(path: &Path, bytes: &[u8]) -> Result<(Held, u64), Error> {
    let mut held = Held::default();
    let mut rest = bytes;
    while let Some((payload, after)) = next_frame(rest) {
        let offset = bytes.len() - rest.len();
        let records: Vec<Record> = from_msgpack(payload).map_err(|e| Error::Content {
            path: path.to_owned(),
            offset,
            problem: e.to_string(),
        })?;
        records.iter().for_each(|record| held.apply(record));
        rest = after;
    }
    if !rest.is_empty() {
        // The agent died in the middle of a write; nothing was done on the strength of it.
        warn!(bytes = rest.len(), "an incomplete write at the end of the journal is dropped");
    }
    Ok((held, (bytes.len() - rest.len()) as u64))
}

/// The first frame's payload and what follows it; nothing when it is not whole.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > FRAME_BYTES_MAX || length > rest.len() {
        return None;
    }
    let (payload, rest) = rest.split_at(length);
    (crc32(payload) == u32::from_le_bytes(*crc)).then_some((payload, rest))
}

fn frame(records: &[Record]) -> Vec<u8> {
    let payload = to_msgpack(&records);
    let length = u32::try_from(payload.len()).expect("batches are far smaller than 4 GiB");
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    frame
}

fn write_whole(path: &Path, held: &Held) -> Result<(File, u64), Error> {
    let new_path = path.with_extension("new");
    let mut bytes = Vec::new();
    for records in held.to_records().chunks(FRAME_RECORDS_MAX) {
        bytes.extend(frame(records));
    }
    let write = || {
        let mut file = File::create(&new_path)?;
        file.write_all(&bytes)?;
        fs::rename(&new_path, path)?;
        Ok(file)
    };
    match write() {
        Ok(file) => Ok((file, bytes.len() as u64)),
        Err(source) => {
            // It takes room, and the next try makes it anew.
            let _ = fs::remove_file(&new_path);
            Err(Error::Io { what: "rewrite", path: path.to_owned(), source })
        }
    }
}

/// The file, cut to its first `length` bytes, to be written on from there.
fn reopen(path: &Path, length: u64) -> Result<(File, u64), Error> {
    let open = || {
        let mut file = File::options().write(true).open(path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    match open() {
        Ok(file) => Ok((file, length)),
        Err(source) => Err(Error::Io { what: "reopen", path: path.to_owned(), source }),
    }
}

/// CRC-32 as in zip and PNG files.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes
        .iter()
        .fold(u32::MAX, |crc, &byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index: u32 = 0;
    while index < 256 {
        let mut crc = index;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use windrow_common::ids::{JobId, LeaseId};
    use windrow_common::time::Timestamp;
    use windrow_common::units::Resources;
    use windrow_common::wire::agent::{EndCause, Ended};
    use windrow_common::wire::container::ContainerSpec;
    use windrow_common::wire::lease::{Lease, TaskSpec};

    use super::*;

    fn records() -> Vec<Record> {
        let spec = TaskSpec::single(ContainerSpec {
            command: vec!["true".to_owned()],
            ..ContainerSpec::default()
        });
        let (id, job) = (LeaseId(7), JobId::from_u128(1));
        let lease = Lease {
            id,
            job,
            array_size: Some(100),
            first: 10,
            count: 20,
            attempt: 1,
            spec: spec.digest(),
            resources: Resources::new(1000, 128),
            timeout_seconds: Some(60),
            queue: "q".parse().unwrap(),
            compute_environment: "ce".parse().unwrap(),
            nodes: None,
        };
        let ended = Ended {
            lease: id,
            job,
            child: 11,
            started_at: Some(Timestamp(5)),
            ended_at: Timestamp(6),
            exit_code: Some(0),
            cause: EndCause::Exited,
            reason: None,
            log_bytes: 12,
            containers: Vec::new(),
        };
        vec![
            Record::Spec(spec.digest(), spec),
            Record::Accepted(lease),
            Record::Starting {
                lease: id,
                children: vec![(10, 4)],
                at: Timestamp(4),
                gpus: Vec::new(),
                monotonic: Some(std::time::Duration::from_secs(9)),
            },
            Record::Stopping { lease: id, children: vec![(12, 1)] },
            Record::Ended(ended),
            Record::Returned { lease: id, children: vec![(25, 5)] },
            Record::Forgotten { lease: id, children: vec![(10, 1), (29, 1)] },
        ]
    }

    fn held_of(records: &[Record]) -> Held {
        let mut held = Held::default();
        records.iter().for_each(|record| held.apply(record));
        held
    }

    #[test]
    fn crc_of_the_usual_check_text() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn compaction_keeps_everything_held() {
        let held = held_of(&records());
        assert_eq!(held_of(&held.to_records()), held);
        assert_eq!(held.to_wire()[0].children, [(11, 18)]);
        let forgotten = Record::Forgotten { lease: LeaseId(7), children: vec![(0, u32::MAX)] };
        let empty = held_of(&[records(), vec![forgotten]].concat());
        assert!(empty.leases.is_empty());
        assert_eq!(empty.last_lease, LeaseId(7));
        assert_eq!(held_of(&empty.to_records()).last_lease, LeaseId(7));
    }

    #[test]
    fn a_torn_tail_is_dropped_at_every_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, held) = Journal::open(&path).unwrap();
        assert_eq!(held, Held::default());
        let records = records();
        let empty = fs::metadata(&path).unwrap().len();
        journal.append(&records[..4]).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        journal.append(&records[4..]).unwrap();
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        for length in empty..=bytes.len() as u64 {
            let torn = &bytes[..usize::try_from(length).unwrap()];
            let torn_path = directory.path().join("torn");
            fs::write(&torn_path, torn).unwrap();
            let (mut journal, held) = Journal::open(&torn_path).unwrap();
            let kept = match length {
                l if l == bytes.len() as u64 => records.len(),
                l if l >= whole => 4,
                _ => 0,
            };
            assert_eq!(held, held_of(&records[..kept]), "{length}");
            // What is appended after the repair is read back.
            journal.append(&[Record::Highest(LeaseId(99))]).unwrap();
            drop(journal);
            assert_eq!(Journal::open(&torn_path).unwrap().1.last_lease, LeaseId(99));
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut bytes = frame(&records());
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, Held::default());
    }
}
