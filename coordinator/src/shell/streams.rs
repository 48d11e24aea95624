//! The cluster's streams and buckets.

use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream::{self, kv::Store, object_store::ObjectStore, stream::Stream};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;
use windrow_common::streams::Streams;

use super::event_loop::OpenStreams;
use super::journal::Error;
use super::lease_streams::LeaseStreams;
use crate::config::Config;

/// How long one request may go unanswered. While a stream has no leader nobody answers, also not later:
/// who waited for longer would only learn later that there is one again.
pub const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long it is asked again. Choosing a leader takes about five seconds, on a busy machine longer.
const ASK_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two tries.
pub const ASK_PAUSE: Duration = Duration::from_millis(100);

/// How long the removal of a consumer is waited for.
const REMOVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Asks NATS for something that may be asked for again, until it answers.
///
/// # Errors
/// It answers with an error, or not at all for [`ASK_LIMIT`].
pub async fn insist<T, E: Display>(
    what: &str,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T, Error> {
    let end = Instant::now() + ASK_LIMIT;
    loop {
        match timeout(ASK_TIMEOUT, ask()).await {
            Ok(answer) => return answer.map_err(|e| Error::Unavailable(format!("{what}: {e}"))),
            Err(_) if Instant::now() < end => sleep(ASK_PAUSE).await,
            Err(_) => {
                return Err(Error::Unavailable(format!("{what}: no answer for {ASK_LIMIT:?}")));
            }
        }
    }
}

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
        let what = format!("stream {}", stream.name);
        insist(&what, async || context.get_or_create_stream(stream.clone()).await).await
    };
    let bucket = names.snapshots(&retention);
    let snapshots =
        insist("snapshot bucket", async || match context.get_object_store(&bucket.bucket).await {
            Ok(store) => Ok(store),
            Err(_) => context.create_object_store(bucket.clone()).await,
        });
    let snapshots = snapshots.await?;
    let leader = names.leader(&retention);
    let leader = insist("bucket of the election", async || {
        context.create_or_update_key_value(leader.clone()).await
    });
    let leader = leader.await?;
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
            leases: LeaseStreams::open(context, names.leases(&retention)).await?,
            reports: ensure(names.reports(&retention)).await?,
            names: names.clone(),
        },
    })
}

/// Removes a consumer, if it is there. Its answer comes from the consumer's own leader, which may be
/// away: then it is removed all the same, and not waited for.
pub async fn remove_consumer<I>(stream: &Stream<I>, name: &str) {
    if let Err(_) | Ok(Err(_)) = timeout(REMOVE_TIMEOUT, stream.delete_consumer(name)).await {
        debug!(name, "a consumer's removal was not confirmed; it may be gone already");
    }
}
