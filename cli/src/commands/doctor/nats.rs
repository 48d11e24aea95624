//! The NATS server and the cluster's streams.

use async_nats::jetstream::stream::{self, DiscardPolicy};
use serde_json::Value;
use windrow_common::streams::{Retention, Streams};

use super::{Check, Verdict, http};
use crate::client::Client;
use crate::context::Context;
use crate::up::nats_server::{check_version, sync_interval};

/// Of what a stream may hold, in percent, from which on it is said to be nearly full.
const FULL_PERCENT: u64 = 80;
/// What the server must take, in bytes: our largest message and its headers.
const PAYLOAD_MIN: usize = 1_000_000;

/// The server connected to.
pub(super) async fn server(client: &Client) -> Vec<Check> {
    let info = client.server_info();
    let mut checks = vec![version(&info.version)];
    if info.max_payload < PAYLOAD_MIN {
        let detail = format!("max_payload is {} bytes", info.max_payload);
        let check = Check::new("nats-max-payload", Verdict::Failure, detail);
        checks.push(check.hint("set `max_payload: 1MB` in the server's configuration"));
    }
    checks.push(match client.jetstream().query_account().await {
        Ok(account) => storage(account.storage, account.limits.max_storage),
        Err(e) => Check::new("jetstream", Verdict::Failure, format!("not usable: {e}"))
            .hint("enable `jetstream` in the server's configuration"),
    });
    checks
}

fn version(version: &str) -> Check {
    match check_version(&format!("nats-server: v{version}"), "nats-server") {
        Ok(()) => Check::new("nats-version", Verdict::Ok, version),
        Err(failure) => Check::new("nats-version", Verdict::Failure, failure.message)
            .hint("2.15 is what Windrow is tested with"),
    }
}

fn storage(used: u64, limit: Option<i64>) -> Check {
    let mib = |bytes: u64| bytes >> 20;
    let Some(limit) = limit.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0) else {
        return Check::new("jetstream", Verdict::Ok, format!("{} MiB stored", mib(used)));
    };
    let detail = format!("{} of {} MiB stored", mib(used), mib(limit));
    match used >= limit / 100 * FULL_PERCENT {
        true => Check::new("jetstream", Verdict::Warning, detail)
            .hint("raise the account's or the server's storage limit before it is reached"),
        false => Check::new("jetstream", Verdict::Ok, detail),
    }
}

/// Whether what the server has acknowledged is on disk. Clients cannot see that: it is read from the
/// configuration that `windrow up` wrote, or asked of the server's monitoring port.
pub(super) async fn disk_writes(
    context: &Context,
    client: &Client,
    monitor: Option<&str>,
) -> Check {
    const NAME: &str = "nats-disk-writes";
    if let Some(monitor) = monitor {
        return match monitored(monitor).await {
            Ok(varz) => synced(NAME, &varz),
            Err(e) => Check::new(NAME, Verdict::Unknown, format!("`{monitor}`: {e}"))
                .hint("give the address of `http_port`, such as `127.0.0.1:8222`"),
        };
    }
    let layout = context.layout().ok();
    let ours = layout.filter(|layout| {
        layout.read_cluster().is_some_and(|cluster| cluster.nats_url == client.url())
    });
    let written = ours.and_then(|layout| std::fs::read_to_string(layout.nats_config()).ok());
    match written.as_deref().and_then(sync_interval) {
        Some("always") => Check::new(NAME, Verdict::Ok, "synced before each acknowledgement"),
        Some(other) => lazy(NAME, other),
        None => Check::new(NAME, Verdict::Unknown, "whether the server syncs cannot be seen")
            .hint("set `sync_interval: always`; `--nats-monitor HOST:PORT` looks"),
    }
}

fn lazy(name: &'static str, interval: &str) -> Check {
    let detail = format!("acknowledged before it is on disk (sync_interval {interval})");
    Check::new(name, Verdict::Warning, detail).hint(
        "a power loss can take back what was acknowledged: set `sync_interval: always` in `jetstream`",
    )
}

async fn monitored(address: &str) -> Result<Value, String> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let body = http::get(stream, address, "/varz").await?;
    serde_json::from_slice(&body).map_err(|e| e.to_string())
}

/// Reads `/varz`: `sync_always`, or the interval in nanoseconds.
fn synced(name: &'static str, varz: &Value) -> Check {
    let config = &varz["jetstream"]["config"];
    if config["sync_always"] == true {
        return Check::new(name, Verdict::Ok, "synced before each acknowledgement");
    }
    match config["sync_interval"].as_u64() {
        Some(nanos) => lazy(name, &format!("{} s", nanos / 1_000_000_000)),
        None => Check::new(name, Verdict::Unknown, "the server does not say whether it syncs"),
    }
}

/// The cluster's streams.
pub(super) async fn streams(client: &Client) -> Vec<Check> {
    let mut checks = Vec::new();
    let expected = Streams::new(client.subjects().clone()).all(&Retention::default());
    let (mut fine, count) = (0, expected.len());
    for expected in expected {
        let found = match client.jetstream().get_stream(&expected.name).await {
            Ok(stream) => findings(&expected, stream.cached_info()),
            Err(e) => vec![
                Check::new("stream", Verdict::Failure, format!("{}: {e}", expected.name))
                    .hint("the coordinator makes its streams when it starts: is one running?"),
            ],
        };
        fine += u32::from(found.is_empty());
        checks.extend(found);
    }
    checks.insert(
        0,
        Check::new("streams", Verdict::Ok, format!("{fine} of {count} as they should be")),
    );
    checks
}

/// What is wrong with a stream.
fn findings(expected: &stream::Config, info: &stream::Info) -> Vec<Check> {
    let name = &expected.name;
    let mut found = Vec::new();
    let mut find = |verdict, detail: String, hint: &str| {
        found.push(Check::new("stream", verdict, format!("{name}: {detail}")).hint(hint));
    };
    let is = &info.config;
    if is.storage != expected.storage || is.retention != expected.retention {
        let detail = format!("is kept as {:?}, {:?}", is.storage, is.retention);
        find(Verdict::Failure, detail, "it was not made by Windrow, or changed by hand");
    }
    let keeps_all = expected.discard == DiscardPolicy::New && expected.max_age.is_zero();
    if keeps_all && (is.discard != DiscardPolicy::New || !is.max_age.is_zero()) {
        let detail = "drops its oldest messages".to_owned();
        find(Verdict::Failure, detail, "set `discard: new` and no `max_age`, or state is lost");
    }
    if let Ok(limit @ 1..) = u64::try_from(is.max_bytes)
        && is.discard == DiscardPolicy::New
        && info.state.bytes >= limit / 100 * FULL_PERCENT
    {
        let detail = format!("holds {} of {limit} bytes", info.state.bytes);
        find(Verdict::Warning, detail, "what is published beyond that is refused: raise max_bytes");
    }
    let Some(cluster) = &info.cluster else { return found };
    if is.num_replicas > 1 && cluster.leader.is_none() {
        find(
            Verdict::Failure,
            "has no leader".to_owned(),
            "more than half of its servers are needed",
        );
    }
    for replica in cluster.replicas.iter().filter(|replica| replica.offline || !replica.current) {
        let state = if replica.offline { "offline" } else { "behind" };
        find(
            Verdict::Warning,
            format!("copy on {} is {state}", replica.name),
            "look at that server",
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_that_may_lose_what_they_acknowledged_are_named() {
        let check = |config| synced("x", &json!({ "jetstream": { "config": config } })).verdict;
        assert_eq!(check(json!({ "sync_always": true })), Verdict::Ok);
        let lazy =
            synced("x", &json!({"jetstream":{"config":{"sync_interval":120_000_000_000u64}}}));
        assert_eq!(lazy.verdict, Verdict::Warning);
        assert!(lazy.detail.contains("120 s"), "{lazy:?}");
        assert_eq!(check(json!({})), Verdict::Unknown);
        assert_eq!(version("2.10.22").verdict, Verdict::Failure);
        assert_eq!(version("2.15.1").verdict, Verdict::Ok);
    }

    #[test]
    fn storage_is_nearly_full_from_four_fifths_on() {
        assert_eq!(storage(79, Some(100)).verdict, Verdict::Ok);
        assert_eq!(storage(80, Some(100)).verdict, Verdict::Warning);
        assert_eq!(storage(1 << 40, Some(-1)).verdict, Verdict::Ok);
    }
}
