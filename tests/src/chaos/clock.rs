//! A program's own wall clock, by way of libfaketime where that is installed. Other clocks are not touched.

use std::path::PathBuf;
use std::process::Command;

/// A clock that can be set while the program runs.
#[derive(Clone, Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that is right, set by way of this file; none where the library is not installed.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn new(file: PathBuf) -> Option<Self> {
        let library = library()?;
        let clock = Self { library, file };
        clock.set(0);
        Some(clock)
    }

    /// It is off by so many seconds from now on, give or take the second in which the program looks.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}s\n")).expect("write the clock's file");
        std::fs::rename(new, &self.file).expect("put the clock's file in its place");
    }

    /// The program of this command goes by it.
    pub fn take_effect_on(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}

/// Debian's place for it, whatever the architecture.
fn library() -> Option<PathBuf> {
    let architectures = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut places = architectures.map(|one| one.path().join("faketime/libfaketime.so.1"));
    places.find(|place| place.exists())
}
