//! The Docker executor and registries that do not give an image.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

#[path = "support/docker.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use support::{World, shell, skipped};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use windrow_common::wire::container::ContainerSpec;

/// A registry that answers every request for an image the same way.
struct Registry {
    address: SocketAddr,
    /// Paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    async fn answering(status: &'static str, code: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), status, code));
            }
        });
        Self { address, asked }
    }

    /// How often the engine was told to pull: each pull begins with a look at the registry itself.
    fn pulls(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| *path == "/v2/").count()
    }
}

/// One connection. The engine tries TLS first: what is not a request is hung up on.
async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
    status: &'static str,
    code: &'static str,
) {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(request)) = lines.next_line().await {
        while lines.next_line().await.is_ok_and(|line| line.is_some_and(|line| !line.is_empty())) {}
        let Some(path) = request.split(' ').nth(1) else { return };
        log.lock().unwrap().push(path.to_owned());
        let (status, body) = match path {
            "/v2/" => ("200 OK", "{}".to_owned()),
            _ => {
                let errors = format!(r#"{{"errors":[{{"code":"{code}","message":"{code}"}}]}}"#);
                (status, errors)
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Fault 34.
#[tokio::test]
async fn what_a_registry_refuses_for_good_fails_at_once_and_what_may_pass_is_tried_again() {
    if skipped() {
        return;
    }
    for (status, code, said, pulls) in [
        ("404 Not Found", "MANIFEST_UNKNOWN", "manifest unknown", 1),
        ("403 Forbidden", "DENIED", "denied", 1),
        ("401 Unauthorized", "UNAUTHORIZED", "unauthorized", 1),
        ("429 Too Many Requests", "TOOMANYREQUESTS", "toomanyrequests", 3),
        ("503 Service Unavailable", "UNAVAILABLE", "unavailable", 3),
    ] {
        let registry = Registry::answering(status, code).await;
        let image = format!("{}/some/image:1", registry.address);
        let mut world = World::new();
        let spec = ContainerSpec { image: Some(image.clone()), ..shell("true") };
        let reason = world.failure(spec).await;
        assert!(reason.starts_with("CannotPullContainerError: "), "{reason}");
        assert!(reason.contains(&image), "{reason}");
        assert!(reason.to_lowercase().contains(said), "{status}: {reason}");
        assert_eq!(registry.pulls(), pulls, "{status}: {reason}");
    }
}
