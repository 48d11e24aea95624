//! Puts the journal right after its store was put back to an older copy, deleted or damaged: what a
//! coordinator remembers becomes a snapshot, and the journal goes on behind it, at a number that was
//! never given.

use tracing::{error, info};

use super::journal::{Error, Position, follow, jump};
use super::leadership::Leadership;
use super::memory::Memory;
use super::outside::{Clock, Outside};
use super::snapshot;
use crate::core::alarms::Numbers;
use crate::core::limits::Limits;
use crate::core::{Command, apply, decide};

/// Repairs what `memory.lost` tells of.
///
/// # Errors
/// It could not be done, and is to be tried again; or another leads.
pub(super) async fn repair<O: Outside>(
    memory: &mut Memory,
    outside: &O,
    limits: &Limits,
    leadership: &Leadership<O::Clock>,
    is_cold: bool,
) -> Result<(), Error> {
    leadership.make_certain(memory.position).await?;
    // Another that wanted to put it right, and remembered more, may have died over it.
    adopt(memory, outside).await?;
    let Some(what) = memory.lost.clone() else { return Ok(()) };
    let (bucket, journal) = (outside.snapshots(), outside.journal());
    let last = follow::last(journal).await?;
    // A turn that could not be stored is in the state; nobody was told of it, so it may have happened.
    if let Some(pending) = memory.pending.take() {
        let sealed =
            memory.position.seal(leadership.nonce(), pending.term, pending.at, &pending.groups);
        memory.position = sealed.last().map_or(memory.position, |message| message.position);
    }
    let upto = memory.position.sequence;
    let text = match is_cold {
        true => format!(
            "{what}; went on with what could be read, up to message {upto}, as told by --recover"
        ),
        false => format!(
            "the journal was put back or deleted: {what}; restored up to message {upto} from memory"
        ),
    };
    error!(text, "ALARM: the journal is being put right");
    let (now, seen) = (outside.clock().wall(), Numbers::default());
    let command = Command::Recover { seen, text };
    let decision =
        decide(&memory.state, limits, &command, now).expect("a recovery is never refused");
    decision.events.iter().for_each(|event| apply(&mut memory.state, event));
    // Behind every number that any history has given.
    let before = Position { sequence: upto.max(last), ..memory.position };
    let sealed = before.seal(leadership.nonce(), memory.state.term, now, &[decision.events]);
    memory.position = sealed.last().expect("there is an event").position;

    let (state, position) = (&memory.state, memory.position);
    let bytes = tokio::task::block_in_place(|| snapshot::encode_repair(state, position));
    // Not over another's repair, if it stood still meanwhile.
    leadership.make_certain(memory.position).await?;
    let stored = snapshot::store(bucket, &bytes, position).await;
    stored.map_err(|e| Error::Unavailable(e.to_string()))?;
    leadership.make_certain(memory.position).await?;
    jump(journal, position.sequence).await?;
    memory.lost = None;
    memory.has_snapshot = true;
    info!(sequence = position.sequence, "the journal goes on from a snapshot");
    Ok(())
}

/// Goes on from a repair that was begun and not finished, if it goes further than what is remembered here.
///
/// # Errors
/// The snapshots cannot be read.
pub(super) async fn adopt<O: Outside>(memory: &mut Memory, outside: &O) -> Result<(), Error> {
    let found = snapshot::unfinished_repair(outside.snapshots(), memory.position.sequence).await;
    if let Some((state, position)) = found.map_err(|e| Error::Unavailable(e.to_string()))? {
        let what = "a repair was begun and not finished".to_owned();
        info!(sequence = position.sequence, what, "going on from its snapshot");
        let lost = Some(memory.lost.take().unwrap_or(what));
        *memory = Memory::new(state, position, None);
        memory.lost = lost;
    }
    Ok(())
}
