//! What is wrong with this host: looked at every few seconds, told to the event loop when it changes,
//! and to the coordinator by a new registration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::sync::watch;
use tracing::{info, warn};
use windrow_common::wire::agent::{Executor, Problem};

use crate::executor::{DockerConfig, LogFiles, docker};

/// How often the host is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What to look at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Ways to run that were found at the start.
    pub executors: Vec<Executor>,
    /// The engine, if one of them is Docker.
    pub docker: Option<DockerConfig>,
    /// What must have room.
    pub directory: PathBuf,
    /// Least room in MiB.
    pub disk_reserve: u32,
    /// Deleted when room is needed.
    pub log_files: Arc<LogFiles>,
}

/// How the host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Ways to run attempts that work now.
    pub executors: Vec<Executor>,
}

impl Health {
    /// Whether attempts can be started.
    pub fn takes_work(&self) -> bool {
        !self.problems.iter().any(|problem| problem.takes_no_work)
    }
}

/// Looks again and again; the receiver sees every change.
pub fn watch(watched: Watched) -> watch::Receiver<Health> {
    let first = Health { executors: watched.executors.clone(), problems: Vec::new() };
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        while !sender.is_closed() {
            let (watched, before) = (watched.clone(), sender.borrow().clone());
            // File systems and engines may not answer for a while.
            let looked = tokio::task::spawn_blocking(move || look(&watched, &before)).await;
            if let Ok(health) = looked {
                sender.send_if_modified(|known| {
                    let is_news = *known != health;
                    if is_news {
                        report(&health);
                        *known = health;
                    }
                    is_news
                });
            }
            tokio::time::sleep(EVERY).await;
        }
    });
    receiver
}

fn report(health: &Health) {
    for problem in &health.problems {
        warn!(takes_no_work = problem.takes_no_work, "{}", problem.message);
    }
    if health.problems.is_empty() {
        info!("this host is well again");
    }
}

fn look(watched: &Watched, before: &Health) -> Health {
    let mut health = Health { executors: watched.executors.clone(), problems: Vec::new() };
    health.problems.extend(disk_problem(watched, !before.takes_work()));
    if let Some(config) = &watched.docker
        && let Err(error) = docker::ping(config)
    {
        health.executors.retain(|executor| *executor != Executor::Docker);
        let socket = config.socket.display();
        let reason = error.kind();
        health.problems.push(Problem {
            message: format!("the Docker engine on `{socket}` does not answer ({reason})"),
            takes_no_work: health.executors.is_empty(),
        });
    }
    health
}

/// `was_full`: a quarter more is needed before work is taken again.
fn disk_problem(watched: &Watched, was_full: bool) -> Option<Problem> {
    let Watched { directory, disk_reserve, log_files, .. } = watched;
    let least = disk_reserve + if was_full { disk_reserve / 4 } else { 0 };
    let is_short = || free_mib(directory).is_some_and(|free| free < u64::from(least));
    if !is_short() {
        return None;
    }
    log_files.discard();
    // How much there is changes all the time, and would be news each time.
    is_short().then(|| Problem {
        message: format!(
            "the disk of `{}` is full: less than {disk_reserve} MiB are free",
            directory.display()
        ),
        takes_no_work: true,
    })
}

/// Room for whoever is not root; nothing when the file system does not say.
fn free_mib(directory: &Path) -> Option<u64> {
    let stat = statvfs(directory).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20)
}
