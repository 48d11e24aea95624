//! Takes snapshots beside the loop, which does not stand still for them: a snapshot is made of the one
//! before it and the journal in between, as a restart would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::memory::Memory;
use super::nats::Nats;
use super::outside::Outside;
use super::{journal, snapshot};

/// Journal bytes that a start may have to read in any case.
const BYTES_MIN: u64 = 32 << 20;

/// Decides when, and does it.
pub struct Snapshots {
    nats: Nats,
    /// Journal messages between two snapshots.
    every: u64,
    /// Up to which message and byte of the journal the last one goes.
    last: (u64, u64),
    /// Bytes of the last one.
    size: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
    /// Up to which journal message all events are published.
    published: watch::Receiver<u64>,
}

impl Snapshots {
    /// Snapshots every `every` journal messages; the last one covers up to `last`. One is also due when
    /// the journal behind the last has become larger than that: so a start reads at most about twice
    /// the state, and making them costs at most as much again as writing the journal. None is stored before all events up to it are `published`: a replay from it could not tell them again.
    pub fn new(nats: Nats, every: u64, last: u64, published: watch::Receiver<u64>) -> Self {
        let (size, busy) = Default::default();
        Self { nats, every, last: (last, 0), size, busy, published }
    }

    /// Starts a snapshot if one is due and none is under way. `bytes`: appended to the journal since the
    /// start.
    pub fn after_turn(&mut self, position: u64, bytes: u64) {
        let (last, last_bytes) = self.last;
        let is_due = position >= last + self.every
            || bytes - last_bytes >= self.size.load(Ordering::Acquire).max(BYTES_MIN);
        if !is_due || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last = (position, bytes);
        let size = self.size.clone();
        let busy = self.busy.clone();
        let nats = self.nats.clone();
        let mut published = self.published.clone();
        tokio::spawn(async move {
            let told = published.wait_for(|upto| *upto >= position).await.is_ok();
            // Else the publisher has failed, and the coordinator starts over.
            if told {
                // On a thread of its own, as it takes time in proportion to the state.
                let runtime = tokio::runtime::Handle::current();
                let taken = move || runtime.block_on(take(&nats, position));
                match tokio::task::spawn_blocking(taken).await {
                    Ok(Some(bytes)) => size.store(bytes as u64, Ordering::Release),
                    Ok(None) => {}
                    Err(e) => warn!(error = %e, "no snapshot made; the journal is kept"),
                }
            }
            busy.store(false, Ordering::Release);
        });
    }
}

/// Makes and stores a snapshot up to this journal message, and trims the journal. Gives its size in
/// bytes, unless it was not stored.
pub async fn take(outside: &impl Outside, upto: u64) -> Option<usize> {
    let (bucket, journal) = (outside.snapshots(), outside.journal());
    let (state, position) = match Memory::replay(bucket, journal, upto).await {
        Ok(memory) => (memory.state, memory.position),
        Err(e) => {
            warn!(error = %e, "no snapshot made; the journal is kept");
            return None;
        }
    };
    let bytes = snapshot::encode(&state, position);
    match snapshot::store(bucket, &bytes, position).await {
        Ok(trim) => {
            info!(sequence = position.sequence, bytes = bytes.len(), "snapshot stored");
            if let Some(sequence) = trim {
                journal::trim(journal, sequence).await;
            }
            Some(bytes.len())
        }
        Err(e) => {
            warn!(error = %e, "snapshot not stored; the journal is kept");
            None
        }
    }
}
