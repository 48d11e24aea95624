//! A NATS server of a test's own, whose store can be changed between a kill and the next start.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cluster::free_port;
use crate::part::Part;
use crate::wait_until;

/// A running server.
pub struct Server {
    part: Part,
    port: u16,
    directory: PathBuf,
    _temporary: Option<TempDir>,
}

impl Server {
    /// With a store in a temporary directory.
    pub fn start() -> Self {
        let temporary = TempDir::with_prefix("windrow-nats-").expect("a temporary directory");
        let mut server = Self::start_in(temporary.path());
        server._temporary = Some(temporary);
        server
    }

    /// With its store below this directory.
    pub fn start_in(directory: &Path) -> Self {
        let port = free_port();
        let part = Self::spawn(directory, port);
        Self { part, port, directory: directory.to_owned(), _temporary: None }
    }

    fn spawn(directory: &Path, port: u16) -> Part {
        let program = std::env::var_os("WINDROW_NATS_SERVER").unwrap_or("nats-server".into());
        let mut command = Command::new(program);
        let config = directory.join("nats.conf");
        // Without a limit of its own it allows a part of the disk, which may be small here.
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", max_file_store: 1TB }}\n",
            directory.join("now").display()
        );
        std::fs::write(&config, text).expect("write the configuration");
        command.arg("--config").arg(config);
        let part = Part::start(&mut command, &directory.join("nats.log"));
        wait_until("the NATS server to listen", 30, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        part
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it as `kill -9` does, lets `change` have its store, and starts it again.
    pub fn restart(&mut self, change: impl FnOnce(&Store)) {
        self.part.kill();
        change(&Store(self.directory.clone()));
        self.part = Self::spawn(&self.directory, self.port);
    }
}

/// The files of a server that does not run.
pub struct Store(PathBuf);

impl Store {
    /// Where they are.
    pub fn path(&self) -> PathBuf {
        self.0.join("now")
    }

    /// Keeps a copy.
    pub fn save(&self) {
        copy(&self.path(), &self.0.join("saved"));
    }

    /// Puts the copy back.
    pub fn put_back(&self) {
        std::fs::remove_dir_all(self.path()).expect("remove the store");
        copy(&self.0.join("saved"), &self.path());
    }

    /// Files of the stream of this name that hold its messages.
    pub fn message_files(&self, stream: &str) -> Vec<PathBuf> {
        let blocks = self.path().join("jetstream/$G/streams").join(stream).join("msgs");
        let files = std::fs::read_dir(&blocks).expect("the stream's directory").flatten();
        files
            .map(|file| file.path())
            .filter(|p| p.extension().is_some_and(|e| e == "blk"))
            .collect()
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp");
    assert!(copied.success());
}
