//! `windrow deadletter ...`: what could not be accepted, read from its stream.

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures::StreamExt;
use serde::Serialize;
use windrow_common::streams::{HEADER_REASON, HEADER_SUBJECT};
use windrow_common::time::Timestamp;

use crate::args::DeadLetterCommand;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{Answer, Grid, View};

/// Characters of a payload shown in a table.
const PAYLOAD_SHOWN: usize = 60;

/// One thing that could not be accepted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetter {
    sequence: u64,
    /// RFC 3339, UTC.
    time: String,
    /// Subject it was published to.
    subject: String,
    reason: String,
    /// Size of the payload in bytes.
    size: usize,
    /// The payload; bytes that are no UTF-8 are replaced.
    payload: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

pub(super) async fn run(context: &Context, command: DeadLetterCommand) -> Result<Answer> {
    let DeadLetterCommand::List { limit } = command;
    let client = context.client().await?;
    let dead_letters = read(&client, limit).await?;
    let row = |letter: &DeadLetter| {
        let payload: String = letter.payload.chars().take(PAYLOAD_SHOWN).collect();
        vec![
            letter.sequence.to_string(),
            letter.time.clone(),
            letter.subject.clone(),
            letter.size.to_string(),
            letter.reason.clone(),
            payload.escape_debug().to_string(),
        ]
    };
    let headers = &["SEQUENCE", "TIME", "SUBJECT", "BYTES", "REASON", "PAYLOAD"];
    let grid = Grid::new(headers, dead_letters.iter().map(row).collect());
    let names = dead_letters.iter().map(|letter| letter.sequence.to_string()).collect();
    let view = View::Grid(grid, "no dead letters");
    Ok(Answer::list(&DeadLetters { dead_letters }, "deadLetters", names, view))
}

async fn read(client: &Client, limit: u64) -> Result<Vec<DeadLetter>> {
    let name = client.dead_letter_stream();
    let failed = |error: &dyn std::error::Error| {
        Failure::unreachable(format!("read the dead-letter stream `{name}`: {error}"))
            .hint("the stream is created by the coordinator: is one running?")
    };
    let stream = client.jetstream().get_stream(&name).await.map_err(|e| failed(&e))?;
    let state = &stream.cached_info().state;
    if state.messages == 0 || limit == 0 {
        return Ok(Vec::new());
    }
    let oldest = (state.last_sequence + 1).saturating_sub(limit);
    let start_sequence = oldest.max(state.first_sequence).max(1);
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
    let config = OrderedConfig { deliver_policy, ..Default::default() };
    let consumer = stream.create_consumer(config).await.map_err(|e| failed(&e))?;
    let mut left = consumer.cached_info().num_pending;
    let mut messages = consumer.messages().await.map_err(|e| failed(&e))?;
    let mut letters = Vec::new();
    while left > 0 {
        let Some(message) = messages.next().await else { break };
        let message = message.map_err(|e| failed(&e))?;
        let Ok(info) = message.info() else { break };
        // A consumer that fails before its first message is made anew by the client library, from the
        // stream's beginning.
        if info.stream_sequence < start_sequence {
            continue;
        }
        left = info.pending;
        let nanos = info.published.unix_timestamp_nanos();
        let millis = u64::try_from(nanos / 1_000_000).unwrap_or_default();
        let header = |key: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(key));
            value.map(|value| value.as_str().to_owned()).unwrap_or_default()
        };
        letters.push(DeadLetter {
            sequence: info.stream_sequence,
            time: Timestamp(millis).to_string(),
            subject: header(HEADER_SUBJECT),
            reason: header(HEADER_REASON),
            size: message.payload.len(),
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
        });
    }
    Ok(letters)
}
