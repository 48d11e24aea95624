//! Requests that nobody signs, on a loopback address: from programs of this machine, and not from web pages that a
//! browser on it shows.

use std::net::IpAddr;

use hyper::HeaderMap;

use crate::error::AwsError;

/// Refuses what a browser sends for a page of somebody else's.
///
/// Browsers send `Origin` with every request that could change something; and a name that is made to point at this
/// machine is in `Host`.
pub(super) fn check(headers: &HeaderMap) -> Result<(), AwsError> {
    let refuse = |message: String| {
        Err(AwsError::new(403, "AccessDeniedException", message).hint(
            "without access keys only programs on this machine may call; see `authentication`",
        ))
    };
    if headers.contains_key("origin") {
        return refuse("requests of web pages are not taken without a signature".to_owned());
    }
    let mut hosts = headers.get_all("host").iter().map(|host| host.to_str().unwrap_or_default());
    match hosts.find(|host| !is_loopback(host)) {
        Some(host) => {
            let shown: String = host.chars().take(100).collect();
            refuse(format!("the host `{shown}` is not this machine's loopback address"))
        }
        None => Ok(()),
    }
}

/// Whether a `Host` is a name or address of the loopback interface.
fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    let name = bare.to_ascii_lowercase();
    let is_address = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(headers: &[(&'static str, &str)]) -> Option<&'static str> {
        let map = headers.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        check(&map.collect()).err().map(|error| error.code)
    }

    #[test]
    fn programs_of_this_machine_are_let_in_and_web_pages_are_not() {
        for host in ["127.0.0.1:8080", "localhost", "LocalHost:1", "batch.localhost:1", "[::1]:80"]
        {
            assert_eq!(code(&[("host", host)]), None, "{host}");
        }
        for host in
            ["evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil", ""]
        {
            assert_eq!(code(&[("host", host)]), Some("AccessDeniedException"), "{host}");
        }
        let page = [("host", "localhost"), ("origin", "http://localhost:3000")];
        assert_eq!(code(&page), Some("AccessDeniedException"));
    }
}
