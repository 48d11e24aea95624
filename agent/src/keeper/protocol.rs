//! What travels between an agent and its keeper: frames of a length and a list in MessagePack.
//!
//! Append only, like the wire types: a newer agent finds the keeper of an older one after an
//! upgrade, and talks to it until its last attempt has ended.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use windrow_common::codec;
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::container::Ulimit;

use crate::executor::docker::Containers;
use crate::executor::{AttemptKey, Environment, Fence, StopSignal};

/// Version of the types below. Raised when a side must not talk to an older one.
pub(crate) const VERSION: u16 = 2;

/// Largest frame in bytes: far above any batch, far below what a corrupt length could claim.
pub(crate) const FRAME_BYTES_MAX: u32 = 64 << 20;

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start an attempt. One whose key is known already is left as it is.
    Start(Box<Order>),
    /// Signal an attempt; nothing happens when it has ended or is not known.
    Stop { key: AttemptKey, signal: StopSignal },
    /// Drop the records of ended attempts.
    Forget { keys: Vec<AttemptKey> },
    /// From now on this holds in the place of what was said before: when every attempt must be over,
    /// also these containers.
    Fence { fence: Option<Fence>, containers: Option<Containers> },
}

/// One process to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) key: AttemptKey,
    /// Program and arguments; at least the program.
    pub(crate) command: Vec<String>,
    /// The complete environment.
    pub(crate) environment: Environment,
    /// Absent: the scratch directory, which is made for the attempt and removed after it.
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) scratch: PathBuf,
    /// Receives both outputs.
    pub(crate) log_file: PathBuf,
    /// `user` or `user:group`, names or numbers.
    pub(crate) user: Option<String>,
    /// For the control group, where one is used.
    pub(crate) resources: Resources,
    /// Whether to limit and watch the attempt by a control group.
    pub(crate) cgroup: bool,
    /// Limits of its processes.
    #[serde(default)]
    pub(crate) ulimits: Vec<Ulimit>,
}

/// From the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// First on each connection: every attempt that was not forgotten.
    Snapshot { version: u16, attempts: Vec<Known> },
    /// It runs; `pid` is its main process and its process group.
    Started { key: AttemptKey, at: Timestamp, pid: i32 },
    /// It never ran.
    StartFailed { key: AttemptKey, at: Timestamp, reason: String },
    /// It ended and nothing of it runs any more.
    Exited { key: AttemptKey, at: Timestamp, exit_code: i32, out_of_memory: bool },
    /// It was ended, or not started, because its time was over: see [`Request::Fence`].
    Fenced { key: AttemptKey, at: Timestamp },
}

/// An attempt in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) key: AttemptKey,
    pub(crate) started_at: Timestamp,
    pub(crate) pid: i32,
    /// How it ended, by the event that tells it; absent while it runs.
    pub(crate) end: Option<Event>,
}

/// The bytes of a frame.
pub(crate) fn encode<T: Serialize>(items: &[T]) -> io::Result<Vec<u8>> {
    let body = codec::to_msgpack(&items);
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let Some(length) = length else { return Err(too_large(body.len())) };
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The length of the body that follows a frame's first four bytes.
pub(crate) fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head);
    let fits = length <= FRAME_BYTES_MAX;
    usize::try_from(length).ok().filter(|_| fits).ok_or_else(|| too_large(length))
}

/// The items of a frame's body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<Vec<T>> {
    codec::from_msgpack(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

/// Reads one frame; blocks.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Vec<T>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; body_length(head)?];
    stream.read_exact(&mut body)?;
    decode(&body)
}

/// Writes one frame; blocks.
pub(crate) fn write<T: Serialize>(stream: &mut impl Write, items: &[T]) -> io::Result<()> {
    stream.write_all(&encode(items)?)
}

fn too_large(length: impl std::fmt::Display) -> io::Error {
    let text = format!("a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_hostile_lengths_are_refused() {
        let sent = vec![Request::Forget { keys: Vec::new() }];
        let mut bytes = Vec::new();
        write(&mut bytes, &sent).unwrap();
        assert_eq!(read::<Request>(&mut bytes.as_slice()).unwrap(), sent);
        assert!(read::<Request>(&mut [0xff; 8].as_slice()).is_err());
        assert!(read::<Request>(&mut [0, 0, 0, 1, 0xc1].as_slice()).is_err());
    }
}
