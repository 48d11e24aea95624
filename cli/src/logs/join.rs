//! Joins chunks into output: drops what was sent twice, picks out a container's lines, and prefixes
//! lines. Pure.

use std::collections::BTreeMap;

use windrow_common::wire::container::{LOG_LINE, LOG_PART};

use super::reader::Chunk;

/// An unfinished line longer than this is printed as it is.
const LINE_MAX: usize = 64 * 1024;

/// Output read so far.
#[derive(Debug)]
pub(super) struct Join {
    prefix: bool,
    /// What begins the lines of the only container wanted, and of their parts.
    container: Option<(Vec<u8>, Vec<u8>)>,
    attempts: BTreeMap<(u32, u32), Attempt>,
}

#[derive(Debug, Default)]
struct Attempt {
    /// Offset just after the last byte read.
    end: u64,
    /// Start of a line whose end has not come; only where lines matter.
    line: Vec<u8>,
    /// Whether the beginning of the line is missing.
    is_cut: bool,
}

impl Join {
    pub(super) fn new(prefix: bool, container: Option<&str>) -> Self {
        let tag = |name: &str, separator| format!("{name}{separator}").into_bytes();
        let container = container.map(|name| (tag(name, LOG_LINE), tag(name, LOG_PART)));
        Self { prefix, container, attempts: BTreeMap::new() }
    }

    /// What to print for this chunk.
    pub(super) fn add(&mut self, chunk: &Chunk) -> Vec<u8> {
        let attempt = self.attempts.entry((chunk.child, chunk.attempt)).or_default();
        // An agent that restarted may send again what it is not sure of.
        let known = usize::try_from(attempt.end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let new = chunk.data.get(known..).unwrap_or_default();
        let has_gap = chunk.offset > attempt.end;
        attempt.end = attempt.end.max(chunk.offset + chunk.data.len() as u64);
        if !self.prefix && self.container.is_none() {
            return new.to_vec();
        }
        if has_gap && self.container.is_some() {
            attempt.line.clear();
            attempt.is_cut = true;
        }
        attempt.line.extend_from_slice(new);
        let complete = attempt.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let complete = if attempt.line.len() > LINE_MAX { attempt.line.len() } else { complete };
        let rest = attempt.line.split_off(complete);
        let mut lines = std::mem::replace(&mut attempt.line, rest);
        if attempt.is_cut && !lines.is_empty() {
            attempt.is_cut = false;
            let first =
                lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
            lines.drain(..first);
        }
        self.shown(chunk.child, lines)
    }

    /// Whole lines, as they are printed.
    fn shown(&self, child: u32, lines: Vec<u8>) -> Vec<u8> {
        let wanted = match &self.container {
            Some((line, part)) => lines_of(&lines, line, part),
            None => lines,
        };
        if self.prefix { prefixed(child, &wanted) } else { wanted }
    }

    /// Whether `bytes` of the output of this attempt, or of a later one, have been read.
    pub(super) fn has_read(&self, child: u32, attempt: u32, bytes: u64) -> bool {
        let range = (child, attempt)..=(child, u32::MAX);
        self.attempts.range(range).any(|(_, attempt)| attempt.end >= bytes)
    }

    /// Unfinished lines.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.attempts);
        let rest = rest.into_iter().filter(|(_, attempt)| !attempt.line.is_empty());
        rest.flat_map(|((child, _), attempt)| self.shown(child, attempt.line)).collect()
    }
}

/// A container's own output, from the records of several.
fn lines_of(records: &[u8], line: &[u8], part: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(records.len());
    for record in records.split_inclusive(|byte| *byte == b'\n') {
        if let Some(text) = record.strip_prefix(line) {
            output.extend_from_slice(text);
        } else if let Some(text) = record.strip_prefix(part) {
            output.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        }
    }
    output
}

fn prefixed(child: u32, lines: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.len() + 16);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(format!("[{child}] ").as_bytes());
        text.extend_from_slice(line);
    }
    // Lines of different children must not run together.
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(child: u32, attempt: u32, offset: u64, data: &str) -> Chunk {
        let data = data.as_bytes().to_vec().into();
        Chunk { child, attempt, offset, dropped: 0, data, pending: 0 }
    }

    #[test]
    fn raw_output_has_no_repeat() {
        let mut join = Join::new(false, None);
        assert_eq!(join.add(&chunk(0, 1, 0, "abc")), b"abc");
        assert_eq!(join.add(&chunk(0, 1, 0, "abc")), b"");
        assert_eq!(join.add(&chunk(0, 1, 2, "cde\n")), b"de\n");
        assert_eq!(join.add(&chunk(0, 1, 100, "after a drop")), b"after a drop");
        assert_eq!(join.add(&chunk(0, 2, 0, "again")), b"again");
        assert!(join.has_read(0, 1, 112) && !join.has_read(0, 2, 6) && !join.has_read(1, 1, 1));
    }

    #[test]
    fn one_container_is_picked_out() {
        let mut join = Join::new(false, Some("app"));
        assert_eq!(join.add(&chunk(0, 1, 0, "app | a\nside | b\napp > c")), b"a\n");
        assert_eq!(join.add(&chunk(0, 1, 24, "\napp | d\n")), b"cd\n");
        assert_eq!(join.add(&chunk(0, 1, 100, "end of a lost line\napp | e\n")), b"e\n");
        assert_eq!(join.add(&chunk(0, 1, 127, "app | no end")), b"");
        assert_eq!(join.finish(), b"no end");
        let mut join = Join::new(true, Some("app"));
        assert_eq!(join.add(&chunk(3, 1, 0, "side | b\napp | a\n")), b"[3] a\n");
    }

    #[test]
    fn children_keep_their_lines_apart() {
        let mut join = Join::new(true, None);
        assert_eq!(join.add(&chunk(0, 1, 0, "a\nb")), b"[0] a\n");
        assert_eq!(join.add(&chunk(1, 1, 0, "x\n")), b"[1] x\n");
        assert_eq!(join.add(&chunk(0, 1, 3, "c\nd")), b"[0] bc\n");
        assert_eq!(join.finish(), b"[0] d\n");
    }
}
