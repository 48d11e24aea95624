//! Finds the keeper of a directory, or starts it.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{ProcessConfig, leftovers};
use crate::executor::Error;
use crate::keeper::protocol::{self, Event, Known, VERSION};
use crate::keeper::{READY, SOCKET};

/// How often to look again when a keeper is about to leave as we come, or about to serve.
const ATTEMPTS: u32 = 50;
/// Pause between these: together some seconds, far longer than either takes.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for the snapshot of a keeper that accepted us.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(10);

/// Connects, starting a keeper when there is none. Gives the stream and what the keeper knows.
pub(super) fn connect(config: &ProcessConfig) -> Result<(UnixStream, Vec<Known>), Error> {
    let directory = &config.directory;
    fs::create_dir_all(directory)
        .map_err(|source| Error::Directory { path: directory.clone(), source })?;
    let directory = fs::canonicalize(directory)
        .map_err(|source| Error::Directory { path: directory.clone(), source })?;
    let socket = directory.join(SOCKET);
    for _ in 0..ATTEMPTS {
        match greet(&socket) {
            Ok((stream, VERSION, known)) => return Ok((stream, known)),
            Ok((_, found, _)) => {
                return Err(Error::KeeperVersion { directory, found, wanted: VERSION });
            }
            Err(e) if is_absent(&e) => {}
            Err(source) => return Err(Error::Directory { path: socket, source }),
        }
        if start(config, &directory)? {
            leftovers::clear(&config.logs, &config.scratch);
        } else {
            std::thread::sleep(PAUSE);
        }
    }
    Err(Error::KeeperSilent { directory })
}

/// Whether the error means that no keeper serves, or that it left while we came.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

fn greet(socket: &Path) -> io::Result<(UnixStream, u16, Vec<Known>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SNAPSHOT_LIMIT))?;
    let mut events = protocol::read::<Event>(&mut stream)?.into_iter();
    let Some(Event::Snapshot { version, attempts }) = events.next() else {
        return Err(io::Error::new(ErrorKind::InvalidData, "the keeper does not greet"));
    };
    stream.set_nonblocking(true)?;
    Ok((stream, version, attempts))
}

/// Starts a keeper and waits until it serves. False when another has the directory, or when it
/// ended at once.
fn start(config: &ProcessConfig, directory: &Path) -> Result<bool, Error> {
    let program = match &config.keeper_program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|source| Error::StartKeeper {
            program: PathBuf::from("(this program)"),
            source,
        })?,
    };
    let log = directory.join("keeper.log");
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&log)
        .map_err(|source| Error::Directory { path: log, source })?;
    let mut child = Command::new(&program)
        .arg("keeper")
        .arg("--directory")
        .arg(directory)
        // The agent's environment holds settings of the agent and perhaps secrets.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log))
        .spawn()
        .map_err(|source| Error::StartKeeper { program, source })?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        // An unreadable line is as good as none: the caller looks for the socket.
        let _ = BufReader::new(output).read_line(&mut line);
    }
    await_end(child);
    Ok(line.trim_end() == READY)
}

/// Reaps the keeper whenever it ends. A thread of its own, so that it holds up no shutdown.
fn await_end(mut child: Child) {
    let wait = move || child.wait().map(drop);
    if let Err(error) = std::thread::Builder::new().name("keeper-end".to_owned()).spawn(wait) {
        tracing::warn!(%error, "cannot wait for the keeper's end; it may stay a zombie");
    }
}
