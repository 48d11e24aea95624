//! The gateway that `windrow up` runs: where it listens.

use std::time::Duration;

use tokio::net::TcpStream;

/// The port that is taken if it is free.
pub(super) const PORT_DEFAULT: u16 = 8642;
/// Pause between looks whether it listens; it has no way to tell us.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What it listens on.
pub(super) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Its address for clients.
pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The port in an address made by [`url`]; none in any other.
pub(super) fn port_of(address: &str) -> Option<u16> {
    let port = address.rsplit(':').next()?.parse().ok()?;
    (url(port) == address).then_some(port)
}

/// Waits until it listens.
pub(super) async fn takes_connections(port: u16) {
    while TcpStream::connect(address(port)).await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
