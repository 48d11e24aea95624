//! Takes snapshots beside the loop, which does not stand still for them: a snapshot is made of the one
//! before it and the journal in between, as a restart would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::memory::Memory;
use super::nats::Nats;
use super::outside::Outside;
use super::{journal, snapshot};

/// Decides when, and does it.
pub struct Snapshots {
    nats: Nats,
    /// Journal messages between two snapshots.
    every: u64,
    last: u64,
    busy: Arc<AtomicBool>,
    /// Up to which journal message all events are published.
    published: watch::Receiver<u64>,
}

impl Snapshots {
    /// Snapshots every `every` journal messages; the last one covers up to `last`. None is stored
    /// before all events up to it are `published`: a replay from it could not tell them again.
    pub fn new(nats: Nats, every: u64, last: u64, published: watch::Receiver<u64>) -> Self {
        Self { nats, every, last, busy: Arc::default(), published }
    }

    /// Starts a snapshot if one is due and none is under way.
    pub fn after_turn(&mut self, position: u64) {
        if position < self.last + self.every || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last = position;
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
                if let Err(e) = tokio::task::spawn_blocking(taken).await {
                    warn!(error = %e, "no snapshot made; the journal is kept");
                }
            }
            busy.store(false, Ordering::Release);
        });
    }
}

/// Makes and stores a snapshot up to this journal message, and trims the journal.
pub async fn take(outside: &impl Outside, upto: u64) {
    let (bucket, journal) = (outside.snapshots(), outside.journal());
    let (state, position) = match Memory::replay(bucket, journal, upto).await {
        Ok(memory) => (memory.state, memory.position),
        Err(e) => return warn!(error = %e, "no snapshot made; the journal is kept"),
    };
    let bytes = snapshot::encode(&state, position);
    match snapshot::store(bucket, &bytes, position).await {
        Ok(trim) => {
            info!(sequence = position.sequence, bytes = bytes.len(), "snapshot stored");
            if let Some(sequence) = trim {
                journal::trim(journal, sequence).await;
            }
        }
        Err(e) => warn!(error = %e, "snapshot not stored; the journal is kept"),
    }
}
