//! What happened, as one number: two runs of a seed must give the same. Lines for people only when asked
//! for, since writing them takes longer than everything else.

use std::collections::VecDeque;

use crate::net::{Message, Node};
use crate::random::mix;

/// Lines kept for the report of a failure.
const LINES_KEPT: usize = 400;

/// How much is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The number only.
    Hash,
    /// The last lines.
    Last,
    /// Every line, on standard output.
    All,
}

/// The trace.
#[derive(Debug)]
pub struct Trace {
    detail: Detail,
    hash: u64,
    lines: VecDeque<String>,
}

impl Trace {
    /// Nothing happened yet.
    pub fn new(detail: Detail) -> Self {
        Self { detail, hash: 0, lines: VecDeque::new() }
    }

    /// Something happened at this time.
    pub fn note(&mut self, now: u64, what: u64, text: impl FnOnce() -> String) {
        self.hash = mix(self.hash ^ mix(now) ^ what.rotate_left(17));
        match self.detail {
            Detail::Hash => {}
            Detail::Last => {
                if self.lines.len() == LINES_KEPT {
                    self.lines.pop_front();
                }
                self.lines.push_back(format!("{:>9.3} {}", seconds(now), text()));
            }
            Detail::All => println!("{:>9.3} {}", seconds(now), text()),
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// A message in a line.
pub fn describe(to: Node, message: &Message) -> String {
    match message {
        Message::Plain { subject, payload, .. } => {
            format!("{to:?} <- {subject} ({} bytes)", payload.len())
        }
        Message::Delivered { consumer, deliveries } => {
            let numbers: Vec<_> = deliveries.iter().map(|d| (d.sequence, d.delivered)).collect();
            format!("{to:?} <- {consumer} {numbers:?}")
        }
        Message::Answer { answer, .. } => {
            let mut text = format!("{to:?} <- {answer:?}");
            text.truncate(160);
            text
        }
        other => format!("{to:?} <- {other:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a simulation lasts hours at most")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
