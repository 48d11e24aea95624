//! The clock that a job and the process that measures it share, and the job that tells it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "two processes compare times below a millisecond")]
pub(crate) fn nanoseconds() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// The job: the first thing it does is to read the clock.
pub(crate) fn note_start(socket: &Path) -> anyhow::Result<()> {
    let now = nanoseconds();
    let sender = UnixDatagram::unbound().context("make a socket")?;
    sender
        .send_to(&now.to_le_bytes(), socket)
        .with_context(|| format!("send to `{}`", socket.display()))?;
    Ok(())
}

/// Reads the time that a job sent. Errors: none comes within the socket's read timeout.
pub(crate) fn receive(socket: &UnixDatagram) -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    socket.recv(&mut bytes).context("wait for the job to begin")?;
    Ok(u64::from_le_bytes(bytes))
}
