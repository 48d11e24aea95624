//! Makes sure that an image is on this host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;

use super::container::{is_gone, message};

/// Tries of a pull that fails for a reason that may pass.
const TRIES: u32 = 3;
/// Pause after the first try; doubled after each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest silence of a pull.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// Pulls under way, so that an image is pulled once at a time.
#[derive(Debug, Default)]
pub(super) struct Images {
    pulls: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Pulls `image` unless it is here. The error is for the user, in AWS's words.
    pub(super) async fn ensure(&self, docker: &Docker, image: &str) -> Result<(), String> {
        if is_present(docker, image).await? {
            return Ok(());
        }
        let turn = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for are over.
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(pulls.entry(image.to_owned()).or_default())
        };
        let _turn = turn.lock().await;
        if is_present(docker, image).await? {
            return Ok(());
        }
        pull_with_retries(docker, image).await
    }
}

async fn is_present(docker: &Docker, image: &str) -> Result<bool, String> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(e) if is_gone(&e) => Ok(false),
        Err(e) => Err(format!("CannotInspectContainerError: {}", message(&e))),
    }
}

async fn pull_with_retries(docker: &Docker, image: &str) -> Result<(), String> {
    let mut pause = PAUSE;
    for tries_left in (0..TRIES).rev() {
        let Err(text) = pull(docker, image).await else { return Ok(()) };
        if tries_left == 0 || is_final(&text) {
            return Err(format!("CannotPullContainerError: {text}"));
        }
        tracing::warn!(image, reason = text, "image pull failed, trying again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn pull(docker: &Docker, image: &str) -> Result<(), String> {
    let options = CreateImageOptionsBuilder::default().from_image(image).build();
    let mut progress = Box::pin(docker.create_image(Some(options), None, None));
    // To its end: a failing layer comes late in an otherwise fine stream.
    loop {
        match tokio::time::timeout(SILENCE_LIMIT, progress.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(e))) => return Err(explain(image, &e)),
            Ok(None) => return Ok(()),
            Err(_) => return Err(format!("no progress in {} s", SILENCE_LIMIT.as_secs())),
        }
    }
}

fn explain(image: &str, error: &EngineError) -> String {
    let text = message(error);
    // Not every message names it.
    if text.contains(image) { text } else { format!("`{image}`: {text}") }
}

/// Whether trying again is of no use. The status does not tell, so the text has to.
fn is_final(text: &str) -> bool {
    const FINAL: [&str; 8] = [
        "manifest unknown",
        "not found",
        "does not exist",
        "no basic auth credentials",
        "unauthorized",
        "access denied",
        "invalid reference format",
        "no matching manifest",
    ];
    let text = text.to_ascii_lowercase();
    // A registry whose name is not found may be found again.
    !text.contains("dial tcp") && FINAL.iter().any(|part| text.contains(part))
}

/// The image with its tag: without one the engine would pull every tag there is.
pub(super) fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let complete = image.contains('@') || last.contains(':') || is_id(image);
    if complete { image.to_owned() } else { format!("{image}:latest") }
}

/// Whether it is the id of an image, which has no tag.
fn is_id(image: &str) -> bool {
    image.len() == 64 && image.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_a_tag_when_they_have_none() {
        for (given, wanted) in [
            ("busybox", "busybox:latest"),
            ("busybox:1", "busybox:1"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("registry:5000/a/b:c", "registry:5000/a/b:c"),
            ("a@sha256:0123", "a@sha256:0123"),
        ] {
            assert_eq!(with_tag(given), wanted);
        }
    }

    #[test]
    fn only_lasting_reasons_are_final() {
        assert!(is_final("manifest for a:b not found: manifest unknown"));
        assert!(is_final("Get \"http://h/v2/\": no basic auth credentials"));
        assert!(!is_final("dial tcp: lookup registry: host not found"));
        assert!(!is_final("dial tcp 127.0.0.1:5000: connect: connection refused"));
        assert!(!is_final("received unexpected HTTP status: 503"));
    }
}
