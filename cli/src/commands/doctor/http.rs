//! One GET of a small document over HTTP/1.0: the two local servers asked here (Docker, NATS'
//! monitoring) need no more, and an HTTP library would be larger than the rest of the program.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest answer read, in bytes.
const ANSWER_MAX: u64 = 4 << 20;
/// Time the server has for its whole answer.
const LIMIT: Duration = Duration::from_secs(3);

/// The body.
///
/// # Errors
/// The server does not answer in time, or not with 200.
pub(super) async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> Result<Vec<u8>, String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await;
    let answer = answer.map_err(|_| format!("no answer within {LIMIT:?}"))?;
    body(&answer.map_err(|e| e.to_string())?)
}

fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default();
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(answer[end + 4..].to_vec()),
        Some(_) | None => Err(format!("answered `{status}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_follows_the_head_of_a_good_answer() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"), Ok(b"{}".to_vec()));
        assert!(body(b"HTTP/1.0 404 Not Found\r\n\r\n").unwrap_err().contains("404"));
        assert!(body(b"").is_err());
        assert!(body(b"SSH-2.0\r\n\r\n").is_err());
    }
}
