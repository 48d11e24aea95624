//! The gateway's configuration. Defaults are [`DEFAULTS`]; see `windrow_common::config` for how file,
//! environment and flags override them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::config::{Error, HumanDuration, Nats, Sources};
use windrow_common::streams::REQUEST_BYTES_MAX;

/// Every setting with its default.
pub const DEFAULTS: &str = r#"
cluster = "windrow"
log = "info"
log_json = false
# Where HTTP requests are taken.
listen = "127.0.0.1:8080"
# How long the coordinator is waited for, in all, before a request is answered with an error.
request_timeout = "20s"
# Who may call. "keys": who signs with an access key (`windrow key create`). "anybody": no signature is looked
# at and everybody may do everything, possible on a loopback address only. "auto": "anybody" on a loopback
# address, else "keys".
authentication = "auto"
# File of the cluster key, the same as the coordinators': needed to verify signatures.
cluster_key_file = ""

[nats]
url = "nats://127.0.0.1:4222"
credentials = ""

# TLS: PEM files of the certificate with its chain, and of its key. Both empty: plain HTTP. They are read
# again when they change.
[tls]
certificate = ""
key = ""
reload = "10s"

[limits]
# Largest body of a request.
body_kib = 256
# Connections beyond this number wait until one ends.
connections = 1024
# Calls of one user in a second, and at once; more are answered with TooManyRequestsException. A rate of 0
# means no limit.
calls_per_second = 5000
calls_at_once = 10000
# Time a connection has for the header of its next request; so an idle one is closed after it.
header_timeout = "30s"
# Time a request has until its body has arrived.
body_timeout = "20s"
# When told to stop: time that running requests have to end.
stop_timeout = "10s"
"#;

/// The settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub cluster: windrow_common::ids::Name,
    pub log: String,
    pub log_json: bool,
    pub listen: SocketAddr,
    pub request_timeout: HumanDuration,
    pub authentication: Authentication,
    pub cluster_key_file: String,
    pub nats: Nats,
    pub tls: Tls,
    pub limits: Limits,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// Who signs with an access key.
    Keys,
    /// Everybody, on a loopback address.
    Anybody,
    /// Everybody on a loopback address, elsewhere who signs.
    Auto,
}

/// Where the certificate is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    /// How often the files are looked at.
    pub reload: HumanDuration,
}

/// What a client may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub body_kib: usize,
    pub connections: usize,
    pub calls_per_second: u32,
    pub calls_at_once: u32,
    pub header_timeout: HumanDuration,
    pub body_timeout: HumanDuration,
    pub stop_timeout: HumanDuration,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Names every problem.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let config: Self = windrow_common::config::load(&[DEFAULTS], sources)?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(Error(problems)) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let body_max = REQUEST_BYTES_MAX / 1024;
        if !(1..=body_max).contains(&self.limits.body_kib) {
            let got = self.limits.body_kib;
            problems.push(format!("limits.body_kib must be from 1 to {body_max}, got {got}"));
        }
        if self.limits.connections == 0 {
            problems.push("limits.connections must be at least 1".to_owned());
        }
        if self.tls.certificate.is_empty() != self.tls.key.is_empty() {
            problems.push("tls.certificate and tls.key must be given together".to_owned());
        }
        let times = [
            ("request_timeout", self.request_timeout),
            ("tls.reload", self.tls.reload),
            ("limits.header_timeout", self.limits.header_timeout),
            ("limits.body_timeout", self.limits.body_timeout),
        ];
        for (name, time) in times {
            if time.0 < Duration::from_millis(100) {
                problems.push(format!("{name} must be at least 100ms, got {:?}", time.0));
            }
        }
        let is_loopback = self.listen.ip().is_loopback();
        if self.authentication == Authentication::Anybody && !is_loopback {
            problems.push(format!(
                "authentication = \"anybody\" needs a loopback address, or whoever reaches `{}` may do \
                 everything",
                self.listen
            ));
        }
        if self.asks_for_keys() && self.cluster_key_file.is_empty() {
            problems.push(format!(
                "cluster_key_file must be set to verify signatures on `{}`: the same file as the \
                 coordinators', from `windrow up` or `windrow key init`",
                self.listen
            ));
        }
        problems
    }

    /// Whether requests must be signed with an access key.
    pub fn asks_for_keys(&self) -> bool {
        match self.authentication {
            Authentication::Keys => true,
            Authentication::Anybody => false,
            Authentication::Auto => !self.listen.ip().is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Config, Error> {
        let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(&Sources { file: None, environment_prefix: "WINDROW_TEST_NONE", flags })
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(load(&[]).is_ok());
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let wrong = [
            ("limits.body_kib", "1000000"),
            ("limits.connections", "0"),
            ("tls.key", "key.pem"),
            ("request_timeout", "1ms"),
        ];
        let error = load(&wrong).unwrap_err().to_string();
        for word in ["body_kib", "connections", "tls.certificate", "request_timeout"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn elsewhere_than_on_loopback_requests_are_signed() {
        assert!(!load(&[]).unwrap().asks_for_keys());
        assert!(
            load(&[("authentication", "keys"), ("cluster_key_file", "k")]).unwrap().asks_for_keys()
        );
        let open = ("listen", "0.0.0.0:8080");
        assert!(load(&[open, ("cluster_key_file", "k")]).unwrap().asks_for_keys());
        let error = load(&[open]).unwrap_err().to_string();
        assert!(error.contains("cluster_key_file"), "{error}");
        let error = load(&[open, ("authentication", "anybody")]).unwrap_err().to_string();
        assert!(error.contains("loopback"), "{error}");
    }
}
