//! Room for the journal on a full disk: a file that is given up when the journal cannot be written, so
//! that what already runs can still be remembered to its end.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

/// Enough for the ends of everything a host can run at once.
const BYTES: usize = 1 << 20;

/// The file.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    is_there: bool,
}

impl Ballast {
    /// Makes the file if there is room.
    pub fn take(path: PathBuf) -> Self {
        let mut ballast = Self { path, is_there: false };
        ballast.renew();
        ballast
    }

    /// Gives its room up; whether there was any.
    pub fn release(&mut self) -> bool {
        let was_there = std::mem::take(&mut self.is_there);
        was_there && fs::remove_file(&self.path).is_ok()
    }

    /// Makes the file again, if it is not there and there is room.
    pub fn renew(&mut self) {
        if self.is_there {
            return;
        }
        // Written, as a file with a hole takes no room.
        let written = File::create(&self.path).and_then(|mut file| file.write_all(&vec![1; BYTES]));
        self.is_there = written.is_ok();
        if !self.is_there {
            // What was written of it is needed elsewhere. It may not have been made at all.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_room_gives_it_up_once_and_takes_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ballast");
        let mut ballast = Ballast::take(path.clone());
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES as u64);
        assert!(ballast.release());
        assert!(!ballast.release() && !path.exists());
        ballast.renew();
        assert!(path.exists());
    }
}
