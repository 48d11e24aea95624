//! Ports on this machine for the parts that listen.

use std::net::TcpListener;

use crate::failure::{Attempt, Exit, Failure, Result};

/// Lowest port that a user may listen on.
const PORT_MIN: u16 = 1024;

/// The port to listen on: the one asked for with `flag`, else the first free one of the last and the
/// usual one, else any free one.
///
/// Errors: the port asked for is taken (exit code 6).
pub(super) fn choose(flag: &str, given: Option<u16>, last: Option<u16>, usual: u16) -> Result<u16> {
    if let Some(port) = given {
        return if is_free(port) {
            Ok(port)
        } else {
            let message = format!("listen on 127.0.0.1:{port}: the port is taken");
            Err(Failure::new(Exit::Conflict, message).hint(format!(
                "choose another `{flag}`, or leave it out to have a free one chosen"
            )))
        };
    }
    let last = last.filter(|port| *port >= PORT_MIN);
    let known = last.into_iter().chain([usual]).find(|port| is_free(*port));
    known.map_or_else(any, Ok)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn any() -> Result<u16> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).attempt(|| "find a free port on 127.0.0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_when_asked_for_and_avoided_when_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = choose("--port", Some(port), None, 4222).unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict);
        assert!(refused.hint.unwrap().contains("`--port`"));
        assert_ne!(choose("--port", None, Some(port), 4222).unwrap(), port);
        drop(taken);
        assert_eq!(choose("--port", None, Some(port), 4222).unwrap(), port);
    }
}
