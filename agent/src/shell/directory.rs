//! The state directory: one agent at a time, and where each thing lies in it.
//!
//! ```text
//! agent.lock   held while an agent uses the directory
//! name         the agent's name, the same over restarts
//! journal      what it holds (see `journal.rs`)
//! keeper/      of the process executor
//! logs/        output not yet shipped, one file an attempt
//! spare-logs/  empty log files to be used again
//! scratch/     working directories, one an attempt
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use windrow_common::ids::Name;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent has it.
    #[error("state directory `{0}` is in use by another agent; give each its own")]
    InUse(PathBuf),
    /// Something in it cannot be read or written.
    #[error("use `{path}` in the state directory")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds a name that is none.
    #[error("read the agent's name from `{0}`; remove the file to take a new name")]
    Name(PathBuf, #[source] windrow_common::ids::Error),
}

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDirectory {
    /// Takes the directory, making it if need be.
    pub fn open(path: &Path) -> Result<Self, Error> {
        for directory in [path.to_owned(), path.join("logs"), path.join("scratch")] {
            fs::create_dir_all(&directory).map_err(io_error(&directory))?;
        }
        let path = path.canonicalize().map_err(io_error(path))?;
        let lock_path = path.join("agent.lock");
        let file = File::options().create(true).append(true).open(&lock_path);
        let file = file.map_err(io_error(&lock_path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(Error::InUse(path)),
            Err((_, errno)) => Err(io_error(&lock_path)(errno.into())),
        }
    }

    /// The agent's name: the given one, or else the one it had here before, or else the host's.
    pub fn name(&self, given: Option<&Name>, host: &str) -> Result<Name, Error> {
        let path = self.path.join("name");
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(io_error(&path)(e)),
        };
        let known = before.clone();
        let name = match (given, before) {
            (Some(given), _) => given.clone(),
            (None, Some(before)) => before.parse().map_err(|e| Error::Name(path.clone(), e))?,
            (None, None) => name_of_host(host),
        };
        // Not written without need: on a full disk the file would be empty then.
        if known.as_deref() != Some(name.as_str()) {
            fs::write(&path, name.as_str()).map_err(io_error(&path))?;
        }
        Ok(name)
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// What is given up for the journal on a full disk.
    pub fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// The keeper's directory.
    pub fn keeper(&self) -> PathBuf {
        self.path.join("keeper")
    }

    /// Where output waits to be shipped.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Where empty log files are kept to be used again.
    pub fn spare_logs(&self) -> PathBuf {
        self.path.join("spare-logs")
    }

    /// Where working directories are.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A host's name with everything a name cannot have turned into `-`.
fn name_of_host(host: &str) -> Name {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let text: String = host.chars().map(allowed).take(128).collect();
    text.parse().unwrap_or_else(|_| "agent".parse().expect("a valid name"))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(directory.path()).unwrap();
        let second = StateDirectory::open(directory.path());
        assert!(matches!(second, Err(Error::InUse(_))));
        drop(first);
        StateDirectory::open(directory.path()).unwrap();
    }

    #[test]
    fn the_name_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        assert_eq!(state.name(None, "ip-10.ec2.internal").unwrap().as_str(), "ip-10-ec2-internal");
        assert_eq!(state.name(None, "other").unwrap().as_str(), "ip-10-ec2-internal");
        let given: Name = "mine".parse().unwrap();
        assert_eq!(state.name(Some(&given), "other").unwrap(), given);
        assert_eq!(state.name(None, "other").unwrap(), given);
    }
}
