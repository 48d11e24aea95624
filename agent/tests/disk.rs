//! An agent whose disk is full. Fault 18 of ARCHITECTURE.md. Needs root, for a file system of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by it too")]

#[path = "support/cluster.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod cluster;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::{Cluster, wait_for};
use nix::sys::signal::Signal;
use windrow_common::wire::agent::{EndCause, Register, Report};

/// A file system of this many MiB, unmounted at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Nothing, with a word, where none can be made.
    fn mount(path: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        // Few files as well, so that those can be used up.
        let size = format!("size={mib}m,nr_inodes=200");
        let arguments = ["-t", "tmpfs", "-o", &size, "none"];
        let mount = Command::new("mount").args(arguments).arg(path).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            Ok(_) | Err(_) => {
                eprintln!("skipped: no tmpfs can be mounted here; that needs root");
                None
            }
        }
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filling")).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 65536]).is_ok() {}
        while std::io::Write::write_all(&mut file, &[7; 1]).is_ok() {}
    }

    /// Makes files until there can be no more.
    fn use_up_files(&self) {
        let made = (0..1000).find(|n| fs::File::create(self.0.join(format!("file-{n}"))).is_err());
        assert!(made.is_some(), "there is a limit");
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // The keeper may still have its log open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Registrations until one is as wanted.
async fn registered(cluster: &mut Cluster, wanted: impl Fn(&Register) -> bool) -> Register {
    loop {
        let register = cluster.accept(Vec::new()).await;
        if wanted(&register) {
            return register;
        }
    }
}

fn is_ill(register: &Register) -> bool {
    register.problems.iter().any(|problem| problem.takes_no_work)
}

const SETTINGS: &[&str] = &["resources.disk_reserve=8", "docker.enabled=off"];

#[tokio::test]
async fn a_full_disk_is_told_nothing_starts_on_it_and_it_recovers() {
    let mut cluster = Cluster::start().await;
    let Some(disk) = Tmpfs::mount(&cluster.scratch().join("state"), 32) else { return };
    let _agent = cluster.start_agent(SETTINGS);
    assert!(!is_ill(&cluster.accept(Vec::new()).await));
    let (started, release) = (cluster.scratch().join("started"), cluster.scratch().join("release"));
    let (begun, go) = (started.display(), release.display());
    let script = format!("touch {begun}; until [ -e {go} ]; do sleep 0.05; done; exit 3");
    let running = cluster.lease(&script, 1).await;
    wait_for(&started).await;
    disk.fill();
    let register = registered(&mut cluster, is_ill).await;
    assert!(register.problems[0].message.contains("less than 8 MiB"), "{register:?}");
    // An order that was on its way goes back; what runs is remembered to its end.
    let late = cluster.lease("true", 1).await;
    loop {
        let returned = cluster.report().await.reports.into_iter();
        let mut leases = returned.filter_map(|report| match report {
            Report::Returned { lease, .. } => Some(lease),
            Report::Started { .. } | Report::Ended(_) | Report::Leaving => None,
        });
        if leases.any(|lease| lease == late.id) {
            break;
        }
    }
    fs::write(&release, "").unwrap();
    let (ended, _) = cluster.ended(1).await;
    assert_eq!((ended[&0].lease, ended[&0].exit_code), (running.id, Some(3)));
    disk.free();
    registered(&mut cluster, |register| !is_ill(register)).await;
    let lease = cluster.lease("exit 5", 1).await;
    loop {
        let (ended, _) = cluster.ended(1).await;
        if ended[&0].lease == lease.id {
            assert_eq!(ended[&0].exit_code, Some(5));
            break;
        }
    }
}

#[tokio::test]
async fn a_job_without_room_for_its_files_fails_to_start_and_says_so() {
    let mut cluster = Cluster::start().await;
    let Some(disk) = Tmpfs::mount(&cluster.scratch().join("state"), 16) else { return };
    // Without a reserve the agent notices by the job that fails.
    let _agent = cluster.start_agent(&["resources.disk_reserve=0", "docker.enabled=off"]);
    cluster.accept(Vec::new()).await;
    disk.use_up_files();
    cluster.lease("true", 1).await;
    let (ended, _) = cluster.ended(1).await;
    assert_eq!(ended[&0].cause, EndCause::StartFailed);
    assert!(ended[&0].reason.as_ref().unwrap().contains("No space left"), "{ended:?}");
}

#[tokio::test]
async fn an_agent_starts_again_on_a_full_disk_with_what_it_held() {
    let mut cluster = Cluster::start().await;
    let Some(disk) = Tmpfs::mount(&cluster.scratch().join("state"), 16) else { return };
    let mut agent = cluster.start_agent(SETTINGS);
    cluster.accept(Vec::new()).await;
    let started = cluster.scratch().join("started");
    let lease = cluster.lease(&format!("touch {}; sleep 1000", started.display()), 1).await;
    wait_for(&started).await;
    agent.signal(Signal::SIGKILL);
    agent.wait().await;
    disk.fill();
    let _agent = cluster.start_agent(SETTINGS);
    let register = registered(&mut cluster, is_ill).await;
    assert_eq!(register.held[0].lease, lease.id);
}
