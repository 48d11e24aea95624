//! The cluster's streams and buckets.

use async_nats::jetstream::{self, kv::Store, object_store::ObjectStore, stream::Stream};
use windrow_common::streams::Streams;

use super::event_loop::OpenStreams;
use super::journal::Error;
use crate::config::Config;

/// The cluster's streams, open.
pub struct Opened {
    pub journal: Stream,
    pub submissions: Stream,
    pub snapshots: ObjectStore,
    pub events: Stream,
    pub history: Stream,
    pub leader: Store,
    pub outlet: OpenStreams,
}

/// Opens every stream, creating those that are missing.
///
/// # Errors
/// NATS does not make or find one.
pub async fn open(
    context: &jetstream::Context,
    config: &Config,
    names: &Streams,
) -> Result<Opened, Error> {
    let retention = config.retention();
    let ensure = async |stream: jetstream::stream::Config| {
        let name = stream.name.clone();
        let opened = context.get_or_create_stream(stream).await;
        opened.map_err(|e| Error::Unavailable(format!("stream {name}: {e}")))
    };
    let bucket = names.snapshots(&retention);
    let snapshots = match context.get_object_store(&bucket.bucket).await {
        Ok(store) => store,
        Err(_) => context
            .create_object_store(bucket)
            .await
            .map_err(|e| Error::Unavailable(format!("snapshot bucket: {e}")))?,
    };
    let leader = context.create_or_update_key_value(names.leader(&retention)).await;
    let leader = leader.map_err(|e| Error::Unavailable(format!("bucket of the election: {e}")))?;
    ensure(names.logs(&retention)).await?;
    ensure(names.dead_letters(&retention)).await?;
    Ok(Opened {
        journal: ensure(names.journal(&retention)).await?,
        submissions: ensure(names.submissions(&retention)).await?,
        snapshots,
        events: ensure(names.events(&retention)).await?,
        history: ensure(names.history(&retention)).await?,
        leader,
        outlet: OpenStreams {
            leases: ensure(names.leases(&retention)).await?,
            reports: ensure(names.reports(&retention)).await?,
            names: names.clone(),
        },
    })
}
