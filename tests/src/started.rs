//! When a job began, told by the job itself: the clock that it and the process that measures it share.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::program;

/// The job `windrow-started SOCKET`, which sends the time that it began. Small, as loading a large
/// program takes longer than all that Windrow does to start it.
pub fn job() -> PathBuf {
    program::directory().join("windrow-started")
}

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "two processes compare times below a millisecond")]
pub fn nanoseconds() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// What the job does: reads the clock first, then sends what it read. Errors: nobody listens there.
pub fn send(socket: &Path) -> io::Result<()> {
    let now = nanoseconds();
    UnixDatagram::unbound()?.send_to(&now.to_le_bytes(), socket)?;
    Ok(())
}

/// Reads the time that a job sent. Errors: none comes within the socket's read timeout.
pub fn receive(socket: &UnixDatagram) -> io::Result<u64> {
    let mut bytes = [0; 8];
    socket.recv(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
