//! Takes snapshots beside the loop, which does not stand still for them: a snapshot is made of the one
//! before it and the journal in between, as a restart would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::Stream;
use tokio::sync::watch;
use tracing::{info, warn};

use super::journal::{Error, Journal};
use super::memory::Memory;
use super::snapshot;

/// Decides when, and does it.
pub struct Snapshots {
    bucket: ObjectStore,
    journal: Stream,
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
    pub fn new(
        bucket: ObjectStore,
        journal: Stream,
        every: u64,
        last: u64,
        published: watch::Receiver<u64>,
    ) -> Self {
        Self { bucket, journal, every, last, busy: Arc::default(), published }
    }

    /// Starts a snapshot if one is due and none is under way.
    pub fn after_turn(&mut self, position: u64) {
        if position < self.last + self.every || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last = position;
        let busy = self.busy.clone();
        let (bucket, journal) = (self.bucket.clone(), self.journal.clone());
        let mut published = self.published.clone();
        tokio::spawn(async move {
            let told = published.wait_for(|upto| *upto >= position).await.is_ok();
            // Else the publisher has failed, and the coordinator starts over.
            if told {
                take(bucket, journal, position).await;
            }
            busy.store(false, Ordering::Release);
        });
    }
}

async fn take(bucket: ObjectStore, journal: Stream, upto: u64) {
    let runtime = tokio::runtime::Handle::current();
    let (from, read) = (bucket.clone(), journal.clone());
    let made = tokio::task::spawn_blocking(move || {
        let memory = runtime.block_on(Memory::replay(&from, &read, upto))?;
        Ok::<_, Error>((snapshot::encode(&memory.state, memory.position), memory.position))
    });
    let (bytes, position) = match made.await {
        Ok(Ok(made)) => made,
        Ok(Err(e)) => return warn!(error = %e, "no snapshot made; the journal is kept"),
        Err(e) => return warn!(error = %e, "no snapshot made; the journal is kept"),
    };
    match snapshot::store(&bucket, &bytes, position).await {
        Ok(trim) => {
            info!(sequence = position.sequence, bytes = bytes.len(), "snapshot stored");
            if let Some(sequence) = trim {
                Journal::trim(&journal, sequence).await;
            }
        }
        Err(e) => warn!(error = %e, "snapshot not stored; the journal is kept"),
    }
}
