//! Sends events to the agent: by the writer's thread, or by who has them when there are few.

use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::protocol;
use super::table::Table;

/// With so many attempts running the writer lets events gather for a moment, so that short attempts
/// do not cost the agent a wake-up each.
const BUSY_ATTEMPTS: usize = 8;
/// How long events then gather.
const GATHER: Duration = Duration::from_micros(300);

/// The writer's loop: one frame carries all that has gathered.
pub(super) fn run(table: &Table) {
    loop {
        table.wait_for_outgoing();
        send(table, table.writing.lock().unwrap_or_else(PoisonError::into_inner));
        if is_busy(table) {
            std::thread::sleep(GATHER);
        }
    }
}

/// Sends what has gathered from this thread, which spares the agent the wait for the writer; while
/// many attempts run, or the writer is at it, leaves it to the writer. An agent that stands still
/// holds the caller up when the socket's buffer is full, until the socket's time limit ends the
/// connection; the events of few attempts do not fill it.
pub(super) fn send_now(table: &Table) {
    match table.writing.try_lock() {
        Ok(turn) if !is_busy(table) => send(table, turn),
        Ok(_) | Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => table.flush(),
    }
}

fn is_busy(table: &Table) -> bool {
    table.lock().mains.len() >= BUSY_ATTEMPTS
}

/// Taken and written in one turn, so that events keep their order.
fn send(table: &Table, _turn: MutexGuard<'_, ()>) {
    let Some((client, events)) = table.take_outgoing() else { return };
    if let Err(e) = protocol::write(&mut &*client, &events) {
        // The server sees the end of the connection too and forgets the client; the next one
        // gets a snapshot.
        eprintln!("keeper: cannot write to the agent: {e}");
        let _ = client.shutdown(std::net::Shutdown::Both);
    }
}
