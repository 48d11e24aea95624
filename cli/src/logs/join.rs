//! Joins chunks into output: drops what was sent twice, and prefixes lines. Pure.

use std::collections::BTreeMap;

use super::reader::Chunk;

/// An unfinished line longer than this is printed as it is.
const LINE_MAX: usize = 64 * 1024;

/// Output read so far.
#[derive(Debug)]
pub(super) struct Join {
    prefix: bool,
    attempts: BTreeMap<(u32, u32), Attempt>,
}

#[derive(Debug, Default)]
struct Attempt {
    /// Offset just after the last byte read.
    end: u64,
    /// Start of a line whose end has not come; only with prefixes.
    line: Vec<u8>,
}

impl Join {
    pub(super) fn new(prefix: bool) -> Self {
        Self { prefix, attempts: BTreeMap::new() }
    }

    /// What to print for this chunk.
    pub(super) fn add(&mut self, chunk: &Chunk) -> Vec<u8> {
        let attempt = self.attempts.entry((chunk.child, chunk.attempt)).or_default();
        // An agent that restarted may send again what it is not sure of.
        let known = usize::try_from(attempt.end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let new = chunk.data.get(known..).unwrap_or_default();
        attempt.end = attempt.end.max(chunk.offset + chunk.data.len() as u64);
        if !self.prefix {
            return new.to_vec();
        }
        attempt.line.extend_from_slice(new);
        let complete = attempt.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let complete = if attempt.line.len() > LINE_MAX { attempt.line.len() } else { complete };
        let rest = attempt.line.split_off(complete);
        let lines = std::mem::replace(&mut attempt.line, rest);
        prefixed(chunk.child, &lines)
    }

    /// Whether `bytes` of the output of this attempt, or of a later one, have been read.
    pub(super) fn has_read(&self, child: u32, attempt: u32, bytes: u64) -> bool {
        let range = (child, attempt)..=(child, u32::MAX);
        self.attempts.range(range).any(|(_, attempt)| attempt.end >= bytes)
    }

    /// Unfinished lines.
    pub(super) fn finish(self) -> Vec<u8> {
        let rest = self.attempts.into_iter().filter(|(_, attempt)| !attempt.line.is_empty());
        rest.flat_map(|((child, _), attempt)| prefixed(child, &attempt.line)).collect()
    }
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
        let mut join = Join::new(false);
        assert_eq!(join.add(&chunk(0, 1, 0, "abc")), b"abc");
        assert_eq!(join.add(&chunk(0, 1, 0, "abc")), b"");
        assert_eq!(join.add(&chunk(0, 1, 2, "cde\n")), b"de\n");
        assert_eq!(join.add(&chunk(0, 1, 100, "after a drop")), b"after a drop");
        assert_eq!(join.add(&chunk(0, 2, 0, "again")), b"again");
        assert!(join.has_read(0, 1, 112) && !join.has_read(0, 2, 6) && !join.has_read(1, 1, 1));
    }

    #[test]
    fn children_keep_their_lines_apart() {
        let mut join = Join::new(true);
        assert_eq!(join.add(&chunk(0, 1, 0, "a\nb")), b"[0] a\n");
        assert_eq!(join.add(&chunk(1, 1, 0, "x\n")), b"[1] x\n");
        assert_eq!(join.add(&chunk(0, 1, 3, "c\nd")), b"[0] bc\n");
        assert_eq!(join.finish(), b"[0] d\n");
    }
}
