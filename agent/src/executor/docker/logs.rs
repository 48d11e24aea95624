//! Copies a container's output into the attempt's log file, from where the file ends on.
//!
//! Containers of one attempt share its file: there each line begins with the container's name, so
//! that the output reads in the order it came and each container's can be picked out. What is known
//! of a container's output can be counted back from its lines.

use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use windrow_common::wire::container::{LOG_LINE, LOG_PART};

use super::container::{is_gone, message, status};

/// Pause before another try when the engine breaks off.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row without a byte, after which the log stays as it is.
const TRIES: u32 = 60;

/// A longer line is written in parts.
const LINE_MAX: usize = 16 * 1024;

/// Copies until the container has ended and all is copied; with `tag`, line by line behind it. What
/// cannot be copied is a warning: it must not keep the attempt from ending.
pub(super) async fn follow(docker: &Docker, container: &str, file: &Path, tag: Option<&str>) {
    let mut tries = TRIES;
    loop {
        let Err(failure) = copy(docker, container, file, tag).await else { return };
        tracing::warn!(container, reason = failure.reason, "reading a container's log failed");
        tries = if failure.copied > 0 { TRIES } else { tries.saturating_sub(1) };
        if failure.lasting || tries == 0 {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why copying broke off.
struct Failure {
    reason: String,
    /// Bytes copied before.
    copied: u64,
    /// Whether trying again is of no use.
    lasting: bool,
}

/// Reads the log from its first byte and appends what the file does not have yet: the engine keeps
/// the order in which it received the output, so what was read before comes again the same.
async fn copy(
    docker: &Docker,
    container: &str,
    path: &Path,
    tag: Option<&str>,
) -> Result<(), Failure> {
    let broken = |reason: String| Failure { reason, copied: 0, lasting: true };
    let (mut file, mut skip) = open(path, tag).await.map_err(|e| broken(e.to_string()))?;
    let mut lines = tag.map(Lines::new);
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
    let mut output = Box::pin(docker.logs(container, Some(options)));
    let mut copied = 0;
    while let Some(part) = output.next().await {
        let part = match part {
            Ok(part) => part.into_bytes(),
            Err(e) => {
                let lasting = is_gone(&e) || status(&e) == Some(501);
                return Err(Failure { reason: message(&e), copied, lasting });
            }
        };
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let known = skip.min(length);
        skip -= known;
        let fresh = &part[usize::try_from(known).unwrap_or(part.len())..];
        let written = match &mut lines {
            None => write(&mut file, fresh).await,
            Some(lines) => write(&mut file, &lines.add(fresh)).await,
        };
        written.map_err(|e| broken(e.to_string()))?;
        copied += length - known;
    }
    let rest = lines.map(Lines::finish).unwrap_or_default();
    write(&mut file, &rest).await.map_err(|e| broken(e.to_string()))
}

async fn write(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_all(bytes).await?;
    file.flush().await
}

/// The file, and how much of the container's output it has.
async fn open(path: &Path, tag: Option<&str>) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    let known = match tag {
        None => file.metadata().await?.len(),
        Some(tag) => count(BufReader::new(File::open(path).await?), tag).await?,
    };
    Ok((file, known))
}

/// Cuts output into records: the tag, a separator, a line.
struct Lines<'a> {
    tag: &'a str,
    /// The start of a line whose end has not come.
    open: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(tag: &'a str) -> Self {
        Self { tag, open: Vec::new() }
    }

    /// The records that these bytes complete.
    fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut records = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            while self.open.len() > LINE_MAX {
                let rest = self.open.split_off(LINE_MAX);
                let part = std::mem::replace(&mut self.open, rest);
                self.record(&mut records, LOG_PART, &part);
            }
            if self.open.ends_with(b"\n") {
                let mut line = std::mem::take(&mut self.open);
                line.pop();
                self.record(&mut records, LOG_LINE, &line);
            }
        }
        records
    }

    fn record(&self, records: &mut Vec<u8>, separator: &str, text: &[u8]) {
        for part in [self.tag.as_bytes(), separator.as_bytes(), text, b"\n"] {
            records.extend_from_slice(part);
        }
    }

    /// A last line without an end.
    fn finish(self) -> Vec<u8> {
        let mut records = Vec::new();
        if !self.open.is_empty() {
            self.record(&mut records, LOG_LINE, &self.open);
        }
        records
    }
}

/// Bytes of the container's own output in a file of records.
async fn count(mut file: impl AsyncBufRead + Unpin, tag: &str) -> std::io::Result<u64> {
    let of = |record: &[u8]| {
        let rest = record.strip_prefix(tag.as_bytes())?;
        let text = rest.strip_suffix(b"\n").unwrap_or(rest);
        // A whole line had a newline of its own.
        let line = text.strip_prefix(LOG_LINE.as_bytes()).map(|line| line.len() + 1);
        line.or_else(|| text.strip_prefix(LOG_PART.as_bytes()).map(<[u8]>::len))
    };
    let (mut bytes, mut record) = (0, Vec::new());
    while file.read_until(b'\n', &mut record).await? > 0 {
        bytes += of(&record).map_or(0, |length| length as u64);
        record.clear();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_carry_their_containers_name_and_can_be_counted_back() {
        let mut lines = Lines::new("app");
        assert_eq!(lines.add(b"one\ntw"), b"app | one\n");
        let mut file = b"side | not ours\napp | one\n".to_vec();
        assert_eq!(
            count(&file[..], "app").await.unwrap(),
            4,
            "what is in the buffer is not in the file"
        );
        file.extend(lines.add(b"o\n\nthree"));
        assert!(file.ends_with(b"app | two\napp | \n"));
        assert_eq!(count(&file[..], "app").await.unwrap(), "one\ntwo\n\n".len() as u64);
        assert_eq!(lines.finish(), b"app | three\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_written_in_parts() {
        let long = vec![b'x'; LINE_MAX + 10];
        let mut lines = Lines::new("app");
        let first = lines.add(&long);
        assert!(first.starts_with(b"app > xxx"));
        let mut file = first;
        file.extend(lines.add(b"\n"));
        assert!(file.ends_with(b"\napp | xxxxxxxxxx\n"));
        assert_eq!(count(&file[..], "app").await.unwrap(), LINE_MAX as u64 + 11);
    }
}
