//! Snapshots of the state, in an object store bucket, so that the journal can be trimmed and a start
//! does not read it from the beginning.
//!
//! An object is a JSON line (version, position, SHA-256 of position and state) and the state in
//! MessagePack.
//! One that is unreadable, of a newer version or half written is passed over for the one before it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::journal::Position;
use super::outside::SnapshotBucket;
use crate::core::State;

/// Version of the form; a reader passes over higher ones. In version 1 the hash was of the state only.
const VERSION: u16 = 2;
/// Snapshots kept: the newest, and one before it in case that is damaged. The journal is trimmed
/// behind the older one.
const KEPT: usize = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u16,
    position: Position,
    sha256: [u8; 32],
    /// It is what a coordinator remembered of a journal that had lost it, and the journal is to go on
    /// behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_repair: bool,
}

/// A snapshot that was read.
#[derive(Debug)]
pub struct Loaded {
    pub state: State,
    pub position: Position,
    /// See [`encode_repair`].
    pub is_repair: bool,
}

/// A snapshot cannot be stored or looked for.
#[derive(Debug, thiserror::Error)]
#[error("snapshot: {0}")]
pub struct Error(String);

/// Encodes a snapshot. Takes time in proportion to the state: off the loop's thread.
pub fn encode(state: &State, position: Position) -> Vec<u8> {
    encode_as(state, position, false)
}

/// Encodes what is remembered of a journal that has lost it. It says so, for one that finds it while the
/// journal is still as it was: whoever wanted to put it right has died over it.
pub fn encode_repair(state: &State, position: Position) -> Vec<u8> {
    encode_as(state, position, true)
}

fn encode_as(state: &State, position: Position, is_repair: bool) -> Vec<u8> {
    let mut body = rmp_serde::to_vec(state).expect("the state has a MessagePack form");
    if windrow_common::sabotage::is("snapshot-lacks-keys") {
        let state = State { idempotency: Default::default(), ..state.clone() };
        body = rmp_serde::to_vec(&state).expect("the state has a MessagePack form");
    }
    let sha256 = hash(VERSION, position, &body);
    let header = Header { version: VERSION, position, sha256, is_repair };
    let mut bytes = serde_json::to_vec(&header).expect("the header has a JSON form");
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    bytes
}

fn hash(version: u16, position: Position, body: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    if version > 1 {
        hasher.update(position.sequence.to_le_bytes());
        hasher.update(position.chain);
    }
    hasher.chain_update(body).finalize().into()
}

/// Decodes a snapshot.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<(State, Position), Error> {
    read(bytes).map(|loaded| (loaded.state, loaded.position))
}

fn read(bytes: &[u8]) -> Result<Loaded, Error> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or(Error("no header".to_owned()))?;
    let header: Header =
        serde_json::from_slice(&bytes[..end]).map_err(|e| Error(format!("bad header: {e}")))?;
    if header.version > VERSION {
        return Err(Error(format!("has version {}, this program reads {VERSION}", header.version)));
    }
    let body = &bytes[end + 1..];
    if hash(header.version, header.position, body) != header.sha256 {
        return Err(Error("content does not match its hash".to_owned()));
    }
    let mut state: State =
        rmp_serde::from_slice(body).map_err(|e| Error(format!("unreadable: {e}")))?;
    state.reindex();
    let Header { position, is_repair, .. } = header;
    Ok(Loaded { state, position, is_repair })
}

/// The newest readable snapshot, if there is one.
///
/// # Errors
/// The bucket cannot be read.
pub async fn load(bucket: &impl SnapshotBucket) -> Result<Option<Loaded>, Error> {
    for name in names(bucket).await?.iter().rev() {
        match bucket.get(name).await.map_err(Error).and_then(|bytes| read(&bytes)) {
            Ok(found) => {
                info!(name, sequence = found.position.sequence, "snapshot loaded");
                return Ok(Some(found));
            }
            Err(e) => warn!(name, error = %e, "snapshot passed over"),
        }
    }
    Ok(None)
}

/// Stores a snapshot and removes those no longer needed. Gives the position behind which the journal
/// may be trimmed.
///
/// # Errors
/// It could not be stored; the older ones are as they were.
pub async fn store(
    bucket: &impl SnapshotBucket,
    bytes: &[u8],
    position: Position,
) -> Result<Option<u64>, Error> {
    // Fixed width, so that names sort by sequence.
    let name = format!("{:020}", position.sequence);
    bucket.put(&name, bytes).await.map_err(Error)?;
    let names = names(bucket).await?;
    let (old, kept) = names.split_at(names.len().saturating_sub(KEPT));
    for name in old {
        bucket.delete(name).await.map_err(Error)?;
    }
    Ok(kept.first().and_then(|name| name.parse().ok()))
}

/// A repair that was begun and not finished: a snapshot for one that goes further than this message.
///
/// # Errors
/// The bucket cannot be read.
pub async fn unfinished_repair(
    bucket: &impl SnapshotBucket,
    after: u64,
) -> Result<Option<(State, Position)>, Error> {
    let newest = names(bucket).await?.pop().and_then(|name| name.parse::<u64>().ok());
    if newest.is_none_or(|newest| newest <= after) {
        return Ok(None);
    }
    let loaded = load(bucket).await?;
    let repair = loaded.filter(|found| found.is_repair && found.position.sequence > after);
    Ok(repair.map(|found| (found.state, found.position)))
}

async fn names(bucket: &impl SnapshotBucket) -> Result<Vec<String>, Error> {
    let mut names = bucket.names().await.map_err(Error)?;
    names.sort();
    Ok(names)
}
