//! The journal loses something: its store is put back to an older copy, deleted, damaged, full.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use nix::sys::signal::Signal;
use serde_json::Value;
use windrow_tests::nats::{Server, Store};
use windrow_tests::part::signal;
use windrow_tests::{Cluster, wait_until};

/// A cluster on this server.
fn cluster_on(server: &Server, more: &[&str]) -> Cluster {
    let url = server.url();
    let options = ["--nats-url", &url, "--vcpus-per-agent", "8"];
    Cluster::start_with(&[&options[..], more].concat())
}

fn alarms(cluster: &Cluster) -> Vec<String> {
    let asked = cluster.windrow(&["--timeout", "2s", "cluster", "status", "-o", "json"]);
    let status: Value = serde_json::from_str(&asked.stdout).unwrap_or_default();
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    alarms.iter().map(|alarm| alarm["text"].as_str().unwrap().to_owned()).collect()
}

/// The alarm is seen to: nothing points at it any more, and the next coordinator knows it too.
fn acknowledge(cluster: &Cluster) {
    let points = || cluster.windrow(&["cluster", "status"]).ok().contains("ALARM:");
    assert!(points());
    cluster.windrow(&["cluster", "acknowledge", "1", "--by", "ann", "--note", "seen"]).ok();
    assert!(!points());
    let leader = cluster.leader().unwrap();
    signal(leader, Signal::SIGKILL);
    wait_until("another coordinator", 60, || cluster.leader().filter(|next| *next != leader));
    assert!(!points());
    let kept = cluster.windrow(&["cluster", "alarms", "-o", "json"]).json();
    assert_eq!(kept["alarms"][0]["acknowledged"]["by"], "ann");
}

fn run_job(cluster: &Cluster, text: &str) -> String {
    let id = cluster.submit(&["--", "echo", text]);
    assert_eq!(cluster.ended(&id, 60)["status"], "SUCCEEDED");
    id
}

fn submit_twice_on(server: &mut Server, cluster: &Cluster) -> (String, String) {
    let early = run_job(cluster, "early");
    server.restart(Store::save);
    answers(cluster);
    (early, run_job(cluster, "late"))
}

fn answers(cluster: &Cluster) {
    wait_until("the cluster to answer", 60, || cluster.leader());
}

/// Fault 14, with a coordinator that remembers.
#[test]
fn a_store_put_back_while_a_coordinator_runs_is_restored_from_its_memory() {
    let mut server = Server::start();
    let cluster = cluster_on(&server, &["--coordinators", "2"]);
    let (early, late) = submit_twice_on(&mut server, &cluster);
    server.restart(Store::put_back);
    let raised = wait_until("the alarm", 60, || alarms(&cluster).pop());
    assert!(raised.contains("put back") && raised.contains("from memory"), "{raised}");
    for id in [&early, &late] {
        assert_eq!(cluster.job(id)["status"], "SUCCEEDED", "it was acknowledged");
    }
    run_job(&cluster, "after");
    // What is stored now is whole: everybody may start anew.
    cluster.down();
    cluster.up();
    assert_eq!(cluster.job(&late)["status"], "SUCCEEDED");
    assert_eq!(alarms(&cluster).len(), 1);
    acknowledge(&cluster);
    run_job(&cluster, "at last");
}

/// Fault 15, with a coordinator that remembers.
#[test]
fn a_journal_deleted_while_a_coordinator_runs_is_restored_from_its_memory() {
    let mut server = Server::start();
    let cluster = cluster_on(&server, &[]);
    let id = run_job(&cluster, "early");
    server.restart(|store| {
        let streams = store.path().join("jetstream/$G/streams");
        std::fs::remove_dir_all(streams.join("WINDROW_JOURNAL")).unwrap();
    });
    wait_until("the alarm", 60, || alarms(&cluster).pop());
    assert_eq!(cluster.job(&id)["status"], "SUCCEEDED");
    run_job(&cluster, "after");
}

/// Stops the coordinators, changes the store, and says with what the coordinator refuses to start.
fn refusal(server: &mut Server, cluster: &Cluster, change: impl FnOnce(&Store)) -> String {
    cluster.down();
    server.restart(change);
    let started = coordinator(cluster, server, &[]);
    assert_eq!(started.code, 1, "{started:?}");
    started.stderr
}

/// Runs a coordinator until it ends by itself or, after a while, is told to.
fn coordinator(
    cluster: &Cluster,
    server: &Server,
    more: &[&str],
) -> windrow_tests::program::Finished {
    let mut command = std::process::Command::new("timeout");
    let program = cluster.program("windrow-coordinator");
    command.args(["--signal=TERM", "8"]).arg(program.get_program());
    command.args(["--nats-url", &server.url()]).args(more);
    windrow_tests::program::Finished::run(&mut command)
}

/// Faults 14, 15, 16: nobody remembers.
#[test]
fn a_cold_start_on_a_journal_that_lost_its_tail_is_refused_until_an_operator_decides() {
    let mut server = Server::start();
    let cluster = cluster_on(&server, &["--coordinator-set", "snapshot_every=5"]);
    let early = run_job(&cluster, "early");
    let snapshot = || {
        let log = cluster.data().join("logs/coordinator.log");
        std::fs::read_to_string(log).unwrap_or_default().matches("snapshot stored").count()
    };
    for number in 0..5 {
        run_job(&cluster, &number.to_string());
    }
    wait_until("a snapshot of the early job", 30, || (snapshot() > 2).then_some(()));
    let why = refusal(&mut server, &cluster, |store| {
        let streams = store.path().join("jetstream/$G/streams");
        std::fs::remove_dir_all(streams.join("WINDROW_JOURNAL")).unwrap();
    });
    assert!(why.contains("are gone"), "it names what is missing: {why}");

    // Told to go on: what the snapshot has is there, and the loss is shown.
    coordinator(&cluster, &server, &["--recover"]);
    cluster.up();
    assert_eq!(cluster.job(&early)["status"], "SUCCEEDED");
    let raised = alarms(&cluster).pop().unwrap();
    assert!(raised.contains("--recover"), "{raised}");
    run_job(&cluster, "after");
}

/// Fault 16.
#[test]
fn a_flipped_bit_in_the_journal_is_noticed() {
    let mut server = Server::start();
    let cluster = cluster_on(&server, &[]);
    run_job(&cluster, "early");
    let why = refusal(&mut server, &cluster, |store| {
        let file = store.message_files("WINDROW_JOURNAL").remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    });
    assert!(why.contains("damaged") || why.contains("gone"), "{why}");
}

/// Fault 47.
#[tokio::test]
async fn a_snapshot_that_is_half_written_or_newer_is_passed_over() {
    let server = Server::start();
    let cluster = cluster_on(&server, &["--coordinator-set", "snapshot_every=5"]);
    let id = run_job(&cluster, "early");
    cluster.down();
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let bucket = context.get_object_store("WINDROW_SNAPSHOTS").await.unwrap();
    let newer = r#"{"version":999,"position":[9,[]],"sha256":[]}"#;
    for (name, content) in [("99999999999999999998", "half"), ("99999999999999999999", newer)] {
        bucket.put(name, &mut content.as_bytes()).await.unwrap();
    }
    cluster.up();
    assert_eq!(cluster.job(&id)["status"], "SUCCEEDED");
    run_job(&cluster, "after");
}

/// Fault 19, for the journal.
#[tokio::test]
async fn while_the_journal_is_full_questions_are_answered_and_the_rest_is_safe_to_repeat() {
    let server = Server::start();
    let cluster = cluster_on(&server, &[]);
    let id = run_job(&cluster, "early");
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut stream = context.get_stream("WINDROW_JOURNAL").await.unwrap();
    let unlimited = stream.info().await.unwrap().config.clone();
    let full = async_nats::jetstream::stream::Config { max_bytes: 1, ..unlimited.clone() };
    context.update_stream(full).await.unwrap();

    let submit = ["--timeout", "5s", "submit", "-q", "--", "echo", "late"];
    let refused = wait_until("a refusal with the reason", 60, || {
        let tried = cluster.windrow(&submit);
        assert_ne!(tried.code, 0, "it cannot have been stored");
        (tried.code == 7 && tried.stderr.contains("cannot be written")).then_some(tried.stderr)
    });
    assert!(refused.contains("maximum bytes"), "{refused}");
    assert_eq!(cluster.job(&id)["status"], "SUCCEEDED", "questions are answered");
    assert!(alarms(&cluster).pop().unwrap().contains("cannot be written"));

    context.update_stream(unlimited).await.unwrap();
    wait_until("it to be writable again", 60, || {
        (cluster.windrow(&submit).code == 0).then_some(())
    });
    assert_eq!(alarms(&cluster), [""; 0]);
    run_job(&cluster, "after");
}

/// Fault 17: the disk of the NATS server.
#[test]
fn a_full_disk_is_survived_and_gone_on_from() {
    let directory = tempfile::TempDir::with_prefix("windrow-tmpfs-").unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
        .arg(directory.path())
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        println!("skipped: mounting a tmpfs needs root");
        return;
    }
    let _unmount = Unmount(directory.path().to_owned());
    let mut server = Server::start_in(directory.path());
    let cluster = cluster_on(&server, &[]);
    let id = run_job(&cluster, "early");
    let ballast = directory.path().join("ballast");
    std::fs::write(&ballast, vec![1; 80 << 20]).unwrap_err();

    let submit = ["--timeout", "5s", "submit", "-q", "--", "echo", "late"];
    wait_until("a refusal with the reason", 90, || {
        let tried = cluster.windrow(&submit);
        // The last block of a file may have had room for some more.
        (tried.code == 7 && tried.stderr.contains("cannot be written")).then_some(())
    });
    assert_eq!(cluster.job(&id)["status"], "SUCCEEDED", "questions are answered");
    // This server does not write again by itself once its disk was full.
    server.restart(|_| std::fs::remove_file(&ballast).unwrap());
    wait_until("it to be writable again", 90, || {
        (cluster.windrow(&submit).code == 0).then_some(())
    });
    assert_eq!(cluster.job(&id)["status"], "SUCCEEDED");
    run_job(&cluster, "after");
    drop(cluster);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: the server of the test is ended after this.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fault 7, beside a standby: NATS comes back, and the same coordinator goes on.
#[test]
fn a_killed_nats_server_changes_no_leader_that_lives() {
    let mut server = Server::start();
    let cluster = cluster_on(&server, &["--coordinators", "2"]);
    wait_until("a standby", 30, || {
        let status = cluster.windrow(&["cluster", "status", "-o", "json"]).json();
        (status["standbys"].as_array().unwrap().len() == 1).then_some(())
    });
    let leader = cluster.leader().unwrap();
    server.restart(|_| ());
    answers(&cluster);
    assert_eq!(cluster.leader(), Some(leader));
    signal(leader, Signal::SIGKILL);
    wait_until("another to lead", 60, || cluster.leader().filter(|next| *next != leader));
    run_job(&cluster, "after");
}
