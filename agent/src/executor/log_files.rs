//! Log files, used again instead of made anew.
//!
//! A file system such as ext4 searches for a file number that was not given up lately, so making
//! and deleting a file for each short attempt soon costs more than the attempt. A log file that
//! has been shipped is emptied and renamed to serve a later attempt.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Empty files kept.
const SPARE_MAX: usize = 512;
/// Larger files are deleted: freeing their space takes long either way.
const BYTES_MAX: u64 = 1 << 20;

/// Makes and takes back log files.
#[derive(Debug)]
pub struct LogFiles {
    /// Where the empty ones are kept.
    directory: PathBuf,
    spare: Mutex<Spare>,
}

#[derive(Debug, Default)]
struct Spare {
    free: Vec<PathBuf>,
    named: u64,
}

impl LogFiles {
    /// Keeps spare files in `directory`, which is emptied, and should be on the file system of the
    /// log files.
    ///
    /// # Errors
    /// When the directory cannot be removed or made.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, spare: Mutex::default() })
    }

    /// Puts an empty file at `path` if one is to spare; the executor makes it otherwise. To be
    /// called before the start of an attempt whose log file does not exist.
    pub fn prepare(&self, path: &Path) {
        let spare = self.spare().free.pop();
        // Fails when the directory was removed behind our back; the executor will say more.
        let _ = spare.map(|spare| fs::rename(spare, path));
    }

    /// Removes the log file at `path`: its attempt has ended and it has been shipped.
    ///
    /// # Errors
    /// When it exists and cannot be deleted.
    pub fn give_back(&self, path: &Path) -> io::Result<()> {
        let name = {
            let mut spare = self.spare();
            spare.named += 1;
            (spare.free.len() < SPARE_MAX).then(|| self.directory.join(spare.named.to_string()))
        };
        if let Some(name) = name
            && empty(path).and_then(|()| fs::rename(path, &name)).is_ok()
        {
            self.spare().free.push(name);
            return Ok(());
        }
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Deletes the spare files: their room is needed.
    pub fn discard(&self) {
        let spare = std::mem::take(&mut self.spare().free);
        for path in spare {
            // One that stays is deleted at the next start.
            let _ = fs::remove_file(path);
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(path: &Path) -> io::Result<()> {
    match fs::metadata(path)?.len() {
        0 => Ok(()),
        1..=BYTES_MAX => OpenOptions::new().write(true).truncate(true).open(path).map(drop),
        _ => Err(ErrorKind::FileTooLarge.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_come_back_empty_and_large_ones_do_not() {
        let home = tempfile::tempdir().unwrap();
        let files = LogFiles::open(home.path().join("spare")).unwrap();
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        files.prepare(&first);
        assert!(!first.exists(), "none to spare yet");
        fs::write(&first, "output of somebody else").unwrap();
        let number = fs::metadata(&first).unwrap().ino();
        files.give_back(&first).unwrap();
        files.prepare(&second);
        let metadata = fs::metadata(&second).unwrap();
        assert_eq!((metadata.ino(), metadata.len()), (number, 0));

        let large = fs::File::create(&first).unwrap();
        large.set_len(BYTES_MAX + 1).unwrap();
        files.give_back(&first).unwrap();
        files.prepare(&first);
        assert!(!first.exists());
        files.give_back(&first).unwrap();
    }
}
