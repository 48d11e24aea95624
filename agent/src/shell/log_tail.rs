//! One attempt's log file on its way to the stream.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use tracing::warn;
use windrow_common::time::Timestamp;

use super::log_budget::{Budget, Limits, Piece};
use super::log_key::LogKey;
use crate::executor::LogFiles;

/// Largest chunk, in bytes.
const CHUNK_BYTES_MAX: u64 = 128 << 10;
/// Disk space is given back in steps of this many bytes while the attempt runs.
const PUNCH_BYTES: u64 = 1 << 20;

/// Output to publish.
#[derive(Debug)]
pub struct Chunk {
    /// Where it lies.
    pub piece: Piece,
    /// The bytes of it.
    pub bytes: Vec<u8>,
}

/// The file and how far it is shipped.
#[derive(Debug)]
pub struct Tail {
    key: LogKey,
    path: PathBuf,
    budget: Budget,
    over: bool,
    busy: bool,
    resumed: bool,
    punched: u64,
}

impl Tail {
    /// Of an attempt that starts now.
    pub fn new(key: LogKey, directory: &Path, limits: Limits, now: Timestamp) -> Self {
        Self {
            key,
            path: directory.join(key.file_name()),
            budget: Budget::new(limits, now),
            over: false,
            busy: false,
            resumed: true,
            punched: 0,
        }
    }

    /// Of a file found at start: how far it was shipped is still to be asked.
    pub fn found(key: LogKey, directory: &Path, limits: Limits, now: Timestamp) -> Self {
        Self { resumed: false, ..Self::new(key, directory, limits, now) }
    }

    /// The attempt's names.
    pub fn log_key(&self) -> LogKey {
        self.key
    }

    /// Whether it is known how far the file was shipped.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// It was shipped up to here before; absent: that could not be asked.
    pub fn on_resumed(&mut self, shipped: Option<u64>, limits: Limits, now: Timestamp) {
        self.busy = false;
        if let Some(shipped) = shipped {
            self.budget = Budget::found(limits, shipped, now);
            self.resumed = true;
            self.observe(now);
        }
    }

    /// Whether a request about it is on its way.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// A request about it is on its way.
    pub fn set_busy(&mut self) {
        self.busy = true;
    }

    /// The request is answered: the piece is in the stream, or could not be published.
    pub fn on_answer(&mut self, shipped: Option<Piece>) {
        self.busy = false;
        if let Some(piece) = shipped {
            self.budget.shipped(piece.to);
            self.give_back_space();
        }
    }

    /// Takes in how long the file is now.
    pub fn look(&mut self, now: Timestamp) {
        if self.resumed && !self.over {
            self.observe(now);
            self.give_back_space();
        }
    }

    /// The attempt is over and wrote `length` bytes.
    pub fn end(&mut self, length: u64, now: Timestamp) {
        self.over = true;
        if self.resumed {
            self.budget.observe(length, now);
        }
    }

    /// Whether nothing is left to do but to remove the file.
    pub fn is_finished(&self) -> bool {
        self.over && self.resumed && !self.busy && self.budget.next(1, true).is_none()
    }

    /// Reads what is to be published next. While the attempt runs, it ends with a whole line if one is
    /// there.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let Some(piece) = self.budget.next(CHUNK_BYTES_MAX, self.over) else { return Ok(None) };
        let length = usize::try_from(piece.to - piece.from).expect("chunks are small");
        let mut bytes = vec![0; length];
        if length > 0 {
            File::open(&self.path)?.read_exact_at(&mut bytes, piece.from)?;
        }
        let is_last = self.over && self.budget.is_end(piece.to);
        if !is_last && let Some(line_end) = bytes.iter().rposition(|&byte| byte == b'\n') {
            bytes.truncate(line_end + 1);
        }
        let to = piece.from + bytes.len() as u64;
        Ok(Some(Chunk { piece: Piece { to, ..piece }, bytes }))
    }

    /// Removes the file; a failure leaves it to the next start.
    ///
    /// One that nobody wrote to serves a later attempt. Others are not used again: a process that
    /// escaped its attempt may still write to the file, and must not write to a stranger's output.
    pub fn remove_file(&self, log_files: &LogFiles) {
        let removed = match self.budget.is_end(0) {
            true => log_files.give_back(&self.path),
            false => std::fs::remove_file(&self.path),
        };
        if let Err(error) = removed {
            warn!(path = %self.path.display(), %error, "a shipped log file cannot be removed");
        }
    }

    fn observe(&mut self, now: Timestamp) {
        // Not there yet: nothing was written.
        if let Ok(metadata) = std::fs::metadata(&self.path) {
            self.budget.observe(metadata.len(), now);
        }
    }

    /// Makes a hole of what was shipped or left out, so that an endless job does not fill the disk.
    fn give_back_space(&mut self) {
        let upto = self.budget.needless_before() & !4095;
        if self.over || self.key.several || upto < self.punched + PUNCH_BYTES {
            return;
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (offset, length) = (i64::try_from(self.punched), i64::try_from(upto - self.punched));
        self.punched = upto;
        if let (Ok(file), Ok(offset), Ok(length)) =
            (File::options().write(true).open(&self.path), offset, length)
        {
            // Some file systems cannot; then the space is given back at the end.
            let _ = fallocate(file, flags, offset, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use windrow_common::ids::{JobId, LeaseId};

    use super::*;
    use crate::executor::AttemptKey;

    /// Ships 4 MiB of a running attempt's output; gives how much of it is on the disk then.
    fn left_after_shipping(several: bool) -> u64 {
        let directory = tempfile::tempdir().unwrap();
        let key = AttemptKey { lease: LeaseId(1), child: 0 };
        let key = LogKey { key, job: JobId::from_u128(1), attempt: 1, several };
        let limits = Limits { rate: 1 << 30, burst: 1 << 30, size: 1 << 30 };
        let mut tail = Tail::new(key, directory.path(), limits, Timestamp(0));
        std::fs::write(&tail.path, vec![b'x'; 4 << 20]).unwrap();
        tail.look(Timestamp(1));
        while let Some(chunk) = tail.next_chunk().unwrap() {
            tail.on_answer(Some(chunk.piece));
        }
        let file = std::fs::metadata(&tail.path).unwrap();
        assert_eq!(file.len(), 4 << 20);
        file.blocks() * 512
    }

    #[test]
    fn space_is_given_back_but_not_where_containers_are_counted() {
        assert!(left_after_shipping(false) < 1 << 20);
        assert!(left_after_shipping(true) >= 4 << 20);
    }
}
