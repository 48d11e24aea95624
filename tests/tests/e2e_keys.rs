//! Access keys through the real programs, as a user types them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::os::unix::fs::PermissionsExt;

use windrow_tests::Cluster;

#[test]
fn keys_are_made_listed_and_revoked_and_outlive_the_cluster() {
    let cluster = Cluster::start();
    let file = cluster.data().join("cluster.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let made = cluster.windrow(&["key", "create", "--name", "ann", "-o", "json"]).json();
    let id = made["accessKeyId"].as_str().unwrap().to_owned();
    let secret = made["secretAccessKey"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), secret.len()), (20, 40), "{made}");
    let policy = cluster.scratch().join("policy.json");
    let text =
        r#"{"Statement": {"Effect": "Allow", "Action": "batch:Describe*", "Resource": "*"}}"#;
    std::fs::write(&policy, text).unwrap();
    let limited = ["key", "create", "--name", "bob", "--expires", "1h", "--policy"];
    let limited = cluster.windrow(&[&limited[..], &[policy.to_str().unwrap()]].concat()).ok();
    assert!(limited.starts_with("[bob]\naws_access_key_id = AKWR"), "{limited}");
    assert!(limited.contains("\naws_secret_access_key = "), "{limited}");

    let table = cluster.windrow(&["key", "list"]).ok();
    assert!(table.contains("ann") && table.contains("everything"), "{table}");
    assert!(table.contains("bob") && table.contains("batch:Describe*"), "{table}");
    assert!(!table.contains(&secret), "{table}");
    cluster.down();
    cluster.up();
    assert_eq!(cluster.windrow(&["key", "list", "-q"]).ok().lines().count(), 2);
    cluster.windrow(&["key", "revoke", &id]).ok();
    let again = cluster.windrow(&["key", "revoke", &id]);
    assert_eq!(again.code, 4, "{again:?}");
    let listed = cluster.windrow(&["key", "list", "-o", "json"]).json();
    let [left] = listed["accessKeys"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!(left["userName"], "bob");
    // What makes secrets is not in what NATS stores.
    let key = std::fs::read_to_string(&file).unwrap();
    let key = key.lines().last().unwrap();
    let nats = cluster.data().join("nats");
    let found = std::process::Command::new("grep")
        .args(["-rlaF", "-e", key, "-e", &secret])
        .args([nats, cluster.data().join("logs")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");

    std::fs::write(
        &policy,
        r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#,
    )
    .unwrap();
    let refused = cluster.windrow(&["key", "create", "--policy", policy.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.stderr.contains("s3:*"), "{refused:?}");
    let init = ["key", "init", file.to_str().unwrap()];
    assert_eq!(cluster.windrow(&init).code, 6, "a key that is there is kept");
}

#[test]
fn without_a_cluster_key_no_access_key_is_made_and_the_way_out_is_named() {
    let cluster = Cluster::start_with(&["--coordinator-set", "cluster_key_file="]);
    let refused = cluster.windrow(&["key", "create"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("windrow key init"), "{refused:?}");
}
