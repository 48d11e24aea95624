//! Copies a container's output into the attempt's log file, from where the file ends on.

use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::container::{is_gone, message};

/// Pause before another try when the engine breaks off.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries in a row without a byte, after which the log stays as it is.
const TRIES: u32 = 60;

/// Copies until the container has ended and all is copied. What cannot be copied is a warning: it
/// must not keep the attempt from ending.
pub(super) async fn follow(docker: &Docker, container: &str, file: &Path) {
    let mut tries = TRIES;
    loop {
        let Err(failure) = copy(docker, container, file).await else { return };
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
async fn copy(docker: &Docker, container: &str, path: &Path) -> Result<(), Failure> {
    let broken = |reason: String| Failure { reason, copied: 0, lasting: true };
    let (mut file, mut skip) = open(path).await.map_err(|e| broken(e.to_string()))?;
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
    let mut output = Box::pin(docker.logs(container, Some(options)));
    let mut copied = 0;
    while let Some(part) = output.next().await {
        let part = match part {
            Ok(part) => part.into_bytes(),
            Err(e) => return Err(Failure { reason: message(&e), copied, lasting: is_gone(&e) }),
        };
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let known = skip.min(length);
        skip -= known;
        let fresh = &part[usize::try_from(known).unwrap_or(part.len())..];
        let written = async {
            file.write_all(fresh).await?;
            file.flush().await
        };
        written.await.map_err(|e| broken(e.to_string()))?;
        copied += length - known;
    }
    Ok(())
}

async fn open(path: &Path) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    let length = file.metadata().await?.len();
    Ok((file, length))
}
