//! Where other hosts reach this one: found by asking the system which of its addresses it would send
//! from. Nothing is sent.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use async_nats::ServerAddr;
use tokio::net::{UdpSocket, lookup_host};

/// A name server that takes longer is not waited for: the address is found at a later registration.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);
/// Somewhere outside, for the address of the default route: reserved for documentation, so that
/// nobody is there.
const OUTSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);

/// The address of the interface by which the first reachable server of `urls` (separated by commas)
/// is reached. For a server on this same host that of the default route, if there is one, since other
/// hosts may be part of the cluster too.
pub(super) async fn find(urls: &str) -> Option<Ipv4Addr> {
    for url in urls.split(',') {
        let Ok(server) = url.trim().parse::<ServerAddr>() else { continue };
        let name = (server.host().to_owned(), server.port());
        let Ok(Ok(found)) = tokio::time::timeout(LOOK_UP_LIMIT, lookup_host(name)).await else {
            continue;
        };
        for to in found.filter(SocketAddr::is_ipv4) {
            match source_for(to).await {
                Some(own) if own.is_loopback() => {
                    return Some(source_for(OUTSIDE.into()).await.unwrap_or(own));
                }
                Some(own) => return Some(own),
                None => {}
            }
        }
    }
    None
}

/// The address that packets to `to` leave from.
async fn source_for(to: SocketAddr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.connect(to).await.ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(own) if !own.ip().is_unspecified() => Some(*own.ip()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_on_this_host_gives_an_address_of_this_host() {
        let own = find("nats://127.0.0.1:4222").await.unwrap();
        // Nobody else can be bound to.
        UdpSocket::bind((own, 0)).await.unwrap();
        assert_eq!(find("no such url, nats://127.0.0.1:1").await, Some(own));
        assert_eq!(find("").await, None);
    }
}
