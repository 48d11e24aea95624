//! Events out of chunks, and pages of them with the tokens to go on. Pure.
//!
//! An event is a line of one chunk. A chunk ends with a whole line wherever there is one, so only a line that
//! its program wrote in several goes is several events. Events are in the order of the stream.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use windrow_common::ids::JobId;

use crate::error::AwsError;

/// CloudWatch's limit of events on a page.
pub(super) const EVENTS_MAX: usize = 10_000;
/// CloudWatch's limit of messages on a page, in bytes.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Digits of each half of a position, as many as CloudWatch's tokens have.
const DIGITS: usize = 28;

/// Whose output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attempt {
    pub(super) job: JobId,
    /// The child or node; 0 for a single job.
    pub(super) child: u32,
    pub(super) attempt: u32,
}

/// A message of the stream of output.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) sequence: u64,
    /// When it was stored, in milliseconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) of: Attempt,
    /// Of its first byte in the attempt's output.
    pub(super) offset: u64,
    pub(super) data: Bytes,
}

/// A place between events: those before it are smaller, those behind it are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Of the chunk in its stream.
    pub(super) sequence: u64,
    /// Of the event's first byte in the attempt's output.
    pub(super) offset: u64,
}

impl Position {
    pub(super) const END: Self = Self { sequence: u64::MAX, offset: 0 };

    /// The place just behind the event that begins here.
    fn behind(self) -> Self {
        Self { offset: self.offset + 1, ..self }
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 2 * DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (sequence, offset) = text.split_at(DIGITS);
        Some(Self { sequence: sequence.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}{:0DIGITS$}", self.sequence, self.offset)
    }
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) position: Position,
    pub(super) timestamp: i64,
    pub(super) of: Attempt,
    pub(super) message: String,
}

/// Cuts chunks into events, without what was sent twice.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// Offset behind the last byte read of each attempt.
    ends: HashMap<Attempt, u64>,
}

impl Cutter {
    /// The events of the next chunk. Empty lines are none, as CloudWatch has no empty events.
    pub(super) fn cut(&mut self, chunk: &Chunk) -> Vec<Event> {
        let end = self.ends.entry(chunk.of).or_default();
        let known = usize::try_from(end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        *end = (*end).max(chunk.offset + chunk.data.len() as u64);
        let Some(data) = chunk.data.get(known..) else { return Vec::new() };
        let mut offset = chunk.offset + known as u64;
        let mut events = Vec::new();
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if !text.is_empty() {
                events.push(Event {
                    position: Position { sequence: chunk.sequence, offset },
                    timestamp: chunk.timestamp,
                    of: chunk.of,
                    message: String::from_utf8_lossy(text).into_owned(),
                });
            }
            offset += line.len() as u64;
        }
        events
    }
}

/// Which times are wanted, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// From here on.
    pub(super) start: Option<i64>,
    /// Before this.
    pub(super) end: Option<i64>,
}

impl Times {
    pub(super) fn has(self, timestamp: i64) -> bool {
        self.start.is_none_or(|start| timestamp >= start) && !self.is_over(timestamp)
    }

    /// Whether nothing wanted follows what has this time.
    pub(super) fn is_over(self, timestamp: i64) -> bool {
        self.end.is_some_and(|end| timestamp >= end)
    }
}

/// Which way a page goes, from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The first events behind this.
    Forward(Position),
    /// The last events before this.
    Backward(Position),
}

impl From {
    /// What a token of GetLogEvents says.
    pub(super) fn parse(token: &str) -> Result<Self, AwsError> {
        let parsed = token.strip_suffix("/s").and_then(|rest| {
            let (way, position) = rest.split_once('/')?;
            let position = Position::parse(position)?;
            match way {
                "f" => Some(Self::Forward(position)),
                "b" => Some(Self::Backward(position)),
                _ => None,
            }
        });
        parsed.ok_or_else(bad_token)
    }
}

/// A token that we did not give.
pub(super) fn bad_token() -> AwsError {
    super::invalid("The specified nextToken is invalid.")
}

/// Collects a page of events that are told in order.
#[derive(Debug)]
pub(super) struct Page {
    from: From,
    limit: usize,
    bytes_max: usize,
    events: VecDeque<Event>,
    bytes: usize,
    is_full: bool,
}

impl Page {
    pub(super) fn new(from: From, limit: usize) -> Self {
        Self {
            from,
            limit,
            bytes_max: BYTES_MAX,
            events: VecDeque::new(),
            bytes: 0,
            is_full: false,
        }
    }

    /// Takes the next event; false: no more of them can belong to the page.
    pub(super) fn add(&mut self, event: Event) -> bool {
        match self.from {
            From::Forward(start) if event.position < start => true,
            From::Forward(_) => {
                let bytes = self.bytes + event.message.len();
                let has_room = self.events.len() < self.limit && bytes <= self.bytes_max;
                // Whatever its size, one event fits, or there would be no way past it.
                if self.is_full || !(has_room || self.events.is_empty()) {
                    self.is_full = true;
                    return false;
                }
                self.bytes = bytes;
                self.events.push_back(event);
                true
            }
            From::Backward(end) if event.position >= end => false,
            From::Backward(_) => {
                self.bytes += event.message.len();
                self.events.push_back(event);
                while self.events.len() > self.limit
                    || (self.bytes > self.bytes_max && self.events.len() > 1)
                {
                    let first = self.events.pop_front();
                    self.bytes -= first.map_or(0, |event| event.message.len());
                }
                true
            }
        }
    }

    /// Whether events had no room on it that come behind it.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Where the page begins and ends.
    pub(super) fn bounds(&self) -> (Position, Position) {
        match (self.events.front(), self.events.back()) {
            (Some(first), Some(last)) => (first.position, last.position.behind()),
            _ => match self.from {
                // Nothing is there yet.
                From::Backward(Position::END) => Default::default(),
                From::Forward(position) | From::Backward(position) => (position, position),
            },
        }
    }

    /// The tokens of GetLogEvents: backward and forward.
    pub(super) fn tokens(&self) -> (String, String) {
        let (first, last) = self.bounds();
        (format!("b/{first}/s"), format!("f/{last}/s"))
    }

    pub(super) fn into_events(self) -> impl Iterator<Item = Event> {
        self.events.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(sequence: u64, offset: u64, data: &str) -> Chunk {
        let of = Attempt { job: JobId::from_u128(1), child: 0, attempt: 1 };
        let data = Bytes::copy_from_slice(data.as_bytes());
        Chunk { sequence, timestamp: 1_000, of, offset, data }
    }

    fn cut(chunks: &[Chunk]) -> Vec<Event> {
        let mut cutter = Cutter::default();
        chunks.iter().flat_map(|chunk| cutter.cut(chunk)).collect()
    }

    fn page(events: &[Event], token: From, limit: usize, bytes_max: usize) -> Page {
        let mut page = Page { bytes_max, ..Page::new(token, limit) };
        for event in events {
            if !page.add(event.clone()) {
                break;
            }
        }
        page
    }

    #[test]
    fn lines_are_events_and_what_comes_twice_is_there_once() {
        let chunks = [
            chunk(3, 0, "a\n\nb\n"),
            chunk(4, 3, "b\nc\n"),
            chunk(5, 3, "b\n"),
            chunk(9, 100, "after a gap"),
        ];
        let events = cut(&chunks);
        let seen: Vec<_> =
            events.iter().map(|e| (e.position.sequence, e.position.offset, &*e.message)).collect();
        assert_eq!(seen, [(3, 0, "a"), (3, 3, "b"), (4, 5, "c"), (9, 100, "after a gap")]);
        assert_eq!(cut(&[chunk(1, 0, "")]), []);
    }

    #[test]
    fn the_same_token_comes_back_at_both_ends() {
        let events = cut(&[chunk(3, 0, "a\nb\n")]);
        let all = page(&events, From::Backward(Position::END), 10, 100);
        let (backward, forward) = all.tokens();
        assert_eq!(all.into_events().count(), 2);
        let end = page(&events, From::parse(&forward).unwrap(), 10, 100);
        assert_eq!(end.tokens().1, forward);
        let start = page(&events, From::parse(&backward).unwrap(), 10, 100);
        assert_eq!(start.tokens().0, backward);
        assert_eq!((end.into_events().count(), start.into_events().count()), (0, 0));
        // What comes later is behind the end, and behind the end of nothing.
        let later = cut(&[chunk(3, 0, "a\nb\n"), chunk(4, 4, "c\n")]);
        let more = page(&later, From::parse(&forward).unwrap(), 10, 100);
        assert_eq!(more.into_events().map(|e| e.message).collect::<Vec<_>>(), ["c"]);
        let nothing = page(&[], From::Backward(Position::END), 10, 100).tokens().1;
        assert_eq!(page(&later, From::parse(&nothing).unwrap(), 10, 100).into_events().count(), 3);
    }

    #[test]
    fn other_tokens_are_refused() {
        let position = Position { sequence: 7, offset: u64::MAX };
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        let all = Position::END.to_string();
        for token in ["", "f//s", "f/1/s", &format!("x/{all}/s"), &format!("f/{all}"), &all] {
            assert_eq!(From::parse(token).unwrap_err().code, "InvalidParameterException");
        }
        assert_eq!(Position::parse(&"9".repeat(56)), None);
    }

    #[test]
    fn times_have_their_start_and_not_their_end() {
        let times = Times { start: Some(5), end: Some(7) };
        assert_eq!([4, 5, 6, 7].map(|at| times.has(at)), [false, true, true, false]);
        assert!(Times::default().has(0));
    }

    proptest! {
        /// Following the tokens gives each event once, whichever way and however small the pages.
        #[test]
        fn pages_put_together_are_all_events(
            texts in prop::collection::vec("[ab\n]{0,12}", 0..20),
            limit in 1usize..6,
            bytes_max in 1usize..20,
        ) {
            let mut offset = 0;
            let chunks: Vec<Chunk> = (1..).zip(&texts).map(|(number, text)| {
                let made = chunk(number * 3, offset, text);
                offset += text.len() as u64;
                made
            }).collect();
            let events = cut(&chunks);
            let messages: usize = texts.iter().flat_map(|text| text.split('\n')).filter(|line| !line.is_empty()).count();
            prop_assert_eq!(events.len(), messages);

            let (mut forward, mut from) = (Vec::new(), From::Forward(Position::default()));
            loop {
                let page = page(&events, from, limit, bytes_max);
                let next = From::parse(&page.tokens().1).unwrap();
                forward.extend(page.into_events());
                if next == from {
                    break;
                }
                from = next;
            }
            prop_assert_eq!(&forward, &events);

            let (mut backward, mut from) = (Vec::new(), From::Backward(Position::END));
            loop {
                let page = page(&events, from, limit, bytes_max);
                let next = From::parse(&page.tokens().0).unwrap();
                backward.splice(0..0, page.into_events());
                if next == from || backward.is_empty() {
                    break;
                }
                from = next;
            }
            prop_assert_eq!(&backward, &events);
        }

        /// A page and the way back from its end are the same page.
        #[test]
        fn back_from_a_pages_end_is_the_page(limit in 1usize..6, start in 0u64..20) {
            let events = cut(&[chunk(1, 0, "a\nb\nc\nd\n"), chunk(2, 8, "e\nf\ng\nh\ni\n")]);
            let from = From::Forward(Position { sequence: 1, offset: start });
            let there = page(&events, from, limit, 1_000);
            let end = there.bounds().1;
            let back = page(&events, From::Backward(end), limit, 1_000);
            let there: Vec<_> = there.into_events().collect();
            if there.len() == limit {
                prop_assert_eq!(back.into_events().collect::<Vec<_>>(), there);
            }
        }
    }
}
