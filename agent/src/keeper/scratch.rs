//! Scratch directories, used again instead of made anew.
//!
//! A file system such as ext4 does not hand out a deleted file's number again for some seconds but
//! searches on, so that making and removing a directory for each short attempt soon costs more
//! than the attempt (1.5 ms against 0.3 ms, measured). An attempt that left its directory empty
//! therefore leaves it to a later one, by two renames.

use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Empty directories kept. More than that many attempts rarely begin together.
const SPARE_MAX: usize = 512;
/// Directories waiting to be emptied; who gives one back waits when there are more.
const CLEANER_QUEUE: usize = 1024;
/// Only the owner may enter.
const MODE: u32 = 0o700;

/// Makes and takes back scratch directories.
pub(super) struct Scratches {
    /// Where the empty ones are kept.
    directory: PathBuf,
    owner: u32,
    spare: Mutex<Spare>,
    cleaner: SyncSender<PathBuf>,
}

#[derive(Default)]
struct Spare {
    free: Vec<PathBuf>,
    named: u64,
}

impl Scratches {
    /// Keeps spare directories in `directory`, which is emptied. The receiver is for [`clean`].
    pub(super) fn open(directory: PathBuf) -> io::Result<(Self, Receiver<PathBuf>)> {
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        DirBuilder::new().mode(MODE).create(&directory)?;
        let owner = nix::unistd::geteuid().as_raw();
        let (cleaner, scratches) = sync_channel(CLEANER_QUEUE);
        Ok((Self { directory, owner, spare: Mutex::default(), cleaner }, scratches))
    }

    /// Makes `path` an empty directory.
    pub(super) fn make(&self, path: &Path) -> io::Result<()> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).free.pop();
        if spare.is_some_and(|spare| fs::rename(spare, path).is_ok()) {
            return Ok(());
        }
        DirBuilder::new().mode(MODE).recursive(true).create(path)
    }

    /// Removes `path` with all that is in it, soon.
    pub(super) fn give_back(&self, path: PathBuf) {
        if self.is_as_made(&path) {
            let name = {
                let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
                spare.named += 1;
                let full = spare.free.len() >= SPARE_MAX;
                (!full).then(|| self.directory.join(spare.named.to_string()))
            };
            if let Some(name) = name
                && fs::rename(&path, &name).is_ok()
            {
                self.spare.lock().unwrap_or_else(PoisonError::into_inner).free.push(name);
                return;
            }
        }
        match fs::remove_dir(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                // The cleaner lives as long as the process.
                let _ = self.cleaner.send(path);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether the next attempt would see no trace of this one.
    fn is_as_made(&self, path: &Path) -> bool {
        let own = |m: &Metadata| m.is_dir() && m.uid() == self.owner && m.mode() & 0o7777 == MODE;
        fs::symlink_metadata(path).is_ok_and(|m| own(&m))
            && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    }

    /// Removes the spare directories, for good.
    pub(super) fn close(&self) {
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            eprintln!("keeper: cannot remove `{}`: {e}", self.directory.display());
        }
    }
}

/// Removes directories that are not empty, which may take long.
pub(super) fn clean(scratches: &Receiver<PathBuf>) {
    for scratch in scratches {
        if let Err(e) = fs::remove_dir_all(&scratch) {
            eprintln!("keeper: cannot remove the scratch directory `{}`: {e}", scratch.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_an_untouched_directory_is_used_again() {
        let home = tempfile::tempdir().unwrap();
        let (scratches, _queue) = Scratches::open(home.path().join("spare")).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        scratches.make(&first).unwrap();
        let number = inode(&first);
        scratches.give_back(first.clone());
        assert!(!first.exists());
        scratches.make(&second).unwrap();
        assert_eq!(inode(&second), number);

        fs::set_permissions(&second, fs::Permissions::from_mode(0o755)).unwrap();
        scratches.give_back(second.clone());
        assert!(!second.exists() && scratches.spare.lock().unwrap().free.is_empty());

        scratches.make(&first).unwrap();
        fs::write(first.join("file"), "secret").unwrap();
        scratches.give_back(first);
        assert!(scratches.spare.lock().unwrap().free.is_empty());
    }
}
