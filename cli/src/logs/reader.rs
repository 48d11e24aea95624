//! The chunks of a job's output, from the log stream.

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use windrow_common::ids::JobRef;
use windrow_common::streams::{HEADER_DROPPED, HEADER_OFFSET};

use crate::client::Client;
use crate::failure::Result;
use crate::stream::StreamReader;

/// Some output of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) child: u32,
    pub(super) attempt: u32,
    /// Of the first byte in the attempt's output.
    pub(super) offset: u64,
    /// Bytes left out just before.
    pub(super) dropped: u64,
    pub(super) data: Bytes,
    /// Messages that are in the stream behind this one.
    pub(super) pending: u64,
}

/// Reads the chunks of a job in the order of the stream.
pub(super) struct Reader<'a> {
    client: &'a Client,
    messages: StreamReader<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client, job: JobRef) -> Self {
        let (stream, filter) = (client.log_stream(), client.subjects().log_of(job));
        let messages = StreamReader::new(client, stream, filter, DeliverPolicy::All);
        Self { client, messages }
    }

    /// Opens the stream and says how many messages there are to read now.
    pub(super) async fn pending(&mut self) -> Result<u64> {
        self.messages.pending().await
    }

    /// The next chunk, however long it takes. Cancel-safe: a chunk is taken whole or not at all.
    pub(super) async fn next(&mut self) -> Result<Chunk> {
        let (message, pending) = self.messages.next().await?;
        // What is no output of ours still counts as read.
        let parsed = self.client.subjects().parse_log(&message.subject);
        let (child, attempt) = parsed.map_or((0, 0), |(_, child, attempt)| (child, attempt));
        let number = |name: &str| {
            let value = message.headers.as_ref()?.get(name)?;
            value.as_str().parse::<u64>().ok()
        };
        let offset = number(HEADER_OFFSET).unwrap_or(0);
        let dropped = number(HEADER_DROPPED).unwrap_or(0);
        let data = if parsed.is_some() { message.message.payload } else { Bytes::new() };
        Ok(Chunk { child, attempt, offset, dropped, data, pending })
    }
}
