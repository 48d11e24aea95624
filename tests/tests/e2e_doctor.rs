//! `windrow doctor` and `windrow debug bundle` against a real cluster.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must say so")]

use std::process::Command;

use serde_json::Value;
use windrow_tests::{Cluster, wait_until};

/// The checks with this name, as (verdict, detail).
fn checks(cluster: &Cluster, name: &str) -> Vec<(String, String)> {
    let report = cluster.windrow(&["doctor", "-o", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    let named = checks.filter(|check| check["check"] == name);
    named.map(|check| (text(check, "verdict"), text(check, "detail"))).collect()
}

fn jetstream<T>(
    cluster: &Cluster,
    work: impl AsyncFnOnce(async_nats::jetstream::Context) -> T,
) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = async_nats::connect(cluster.nats_url()).await.unwrap();
        work(async_nats::jetstream::new(client)).await
    })
}

#[test]
fn doctor_finds_nothing_wrong_with_a_new_cluster_and_names_what_is() {
    let cluster = Cluster::start();
    let report = cluster.windrow(&["doctor"]);
    assert_eq!(report.code, 0, "{report:?}");
    assert!(!report.stdout.contains("FAILURE"), "{report:?}");
    let found = checks(&cluster, "nats-disk-writes");
    assert_eq!(found[0].0, "OK", "{found:?}");

    let job = cluster.submit(&["--array", "100", "--", "true"]);
    cluster.ended(&job, 60);
    let found = cluster.windrow(&["doctor", "--audit", "-o", "json"]).json();
    let audit = found["checks"].as_array().unwrap().iter().find(|c| c["check"] == "audit");
    let audit = audit.unwrap();
    assert_eq!(audit["verdict"], "OK", "{audit:#}");
    let detail = audit["detail"].as_str().unwrap();
    assert!(detail.contains("byte by byte") && !detail.contains("message 0 "), "{detail}");

    jetstream(&cluster, async |jetstream| {
        // What nobody can read is kept for a person to look at.
        jetstream.publish("windrow.submit.default", "no JSON".into()).await.unwrap().await.unwrap();
        // A journal that drops its oldest messages loses state.
        let mut journal = jetstream.get_stream("WINDROW_JOURNAL").await.unwrap();
        let mut config = journal.info().await.unwrap().config.clone();
        config.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
        jetstream.update_stream(config).await.unwrap();
    });
    wait_until("the dead letter", 30, || {
        let found = checks(&cluster, "dead-letters");
        (found[0].0 == "WARNING" && found[0].1.contains('1')).then_some(())
    });
    let found = checks(&cluster, "stream");
    assert!(
        found.iter().any(|(verdict, detail)| verdict == "FAILURE" && detail.contains("JOURNAL")),
        "{found:?}"
    );
    assert_eq!(cluster.windrow(&["doctor"]).code, 1);

    // Without a cluster it says that, and looks at this machine all the same.
    cluster.down();
    assert_eq!(checks(&cluster, "nats")[0].0, "FAILURE");
    assert_eq!(checks(&cluster, "control-groups")[0].0, "OK");
}

#[test]
fn a_debug_bundle_has_everything_but_secrets() {
    const CANARY: &str = "CANARY-7f3a";
    let cluster = Cluster::start();
    let file = cluster.scratch().join("d.json");
    let definition = serde_json::json!({"containerProperties": {
        "command": ["echo", CANARY],
        "environment": [{"name": "KEY", "value": CANARY}],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
    }});
    std::fs::write(&file, definition.to_string()).unwrap();
    cluster.windrow(&["jobdef", "register", "d", "-f", file.to_str().unwrap()]).ok();
    let job = cluster.submit(&["--job-definition", "d"]);
    cluster.ended(&job, 60);
    cluster.windrow(&["debug", "bundle", "--file", "b.tar.gz"]).ok();
    // The same name again would replace what somebody may still need.
    assert_eq!(cluster.windrow(&["debug", "bundle", "--file", "b.tar.gz"]).code, 1);

    let scratch = cluster.scratch();
    let unpacked = Command::new("tar").args(["-xzf", "b.tar.gz"]).current_dir(scratch).status();
    assert!(unpacked.unwrap().success());
    let directory = std::fs::read_dir(cluster.scratch()).unwrap().flatten();
    let directory = directory.map(|e| e.path()).find(|path| path.is_dir()).unwrap();
    for name in ["doctor.json", "cluster.json", "jobs.json", "streams.json", "up/nats-server.conf"]
    {
        assert!(directory.join(name).is_file(), "{name}");
    }
    let definitions = std::fs::read_to_string(directory.join("job-definitions.json")).unwrap();
    assert!(definitions.contains("[redacted]") && definitions.contains("KEY"), "{definitions}");
    assert!(std::fs::read_to_string(directory.join("jobs.json")).unwrap().contains(&job));
    let coordinator = directory.join("up/logs/coordinator.log");
    assert!(std::fs::read_to_string(coordinator).unwrap().contains("leading"));
    let found = Command::new("grep").args(["-r", CANARY]).arg(&directory).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}
