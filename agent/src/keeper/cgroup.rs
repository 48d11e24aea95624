//! Control groups: limit and weigh an attempt, tell whether its memory limit killed it, and end
//! all of it, escaped processes included. Speaks version 1 (`memory` and `cpu`) and version 2.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use windrow_common::units::Resources;

use crate::executor::AttemptKey;

const ROOT: &str = "/sys/fs/cgroup";
/// Our place in each tree.
const OURS: &str = "windrow";

/// Where this keeper's groups are.
pub(super) struct Hierarchy {
    version_2: bool,
    /// The parent of the attempts' groups: one directory, or one in each controller's tree.
    parents: Vec<PathBuf>,
}

/// The group of one attempt.
#[derive(Clone)]
pub(super) struct Cgroup {
    version_2: bool,
    directories: Vec<PathBuf>,
}

impl Hierarchy {
    /// Finds the hierarchy and makes the parent groups for a keeper in `directory`. Kills what an
    /// earlier keeper, which cannot report it any more, left in them.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let version_2 = is_version_2();
        let mut parents = Vec::new();
        for (top, parent) in tops(version_2).into_iter().zip(parents_of(directory, version_2)) {
            fs::create_dir_all(&parent)
                .with_context(|| format!("make the control group `{}`", parent.display()))?;
            if version_2 {
                for level in [&top, &top.join(OURS), &parent] {
                    let file = level.join("cgroup.subtree_control");
                    fs::write(&file, "+memory +cpu").with_context(|| {
                        format!("enable memory and cpu control in `{}`", file.display())
                    })?;
                }
            }
            parents.push(parent);
        }
        let hierarchy = Self { version_2, parents };
        hierarchy.clear()?;
        Ok(hierarchy)
    }

    fn clear(&self) -> io::Result<()> {
        for parent in &self.parents {
            for entry in fs::read_dir(parent)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    let left =
                        Cgroup { version_2: self.version_2, directories: vec![entry.path()] };
                    left.kill();
                    left.remove();
                }
            }
        }
        Ok(())
    }

    /// Makes the group of an attempt, with its limits. The error is for the user.
    pub(super) fn make(&self, key: AttemptKey, resources: Resources) -> Result<Cgroup, String> {
        let name = format!("{}-{}", key.lease, key.child);
        let directories: Vec<_> = self.parents.iter().map(|p| p.join(&name)).collect();
        let cgroup = Cgroup { version_2: self.version_2, directories };
        cgroup.set_up(resources).map_err(|e| {
            cgroup.remove();
            format!("cannot set up the control group `{name}`: {e}")
        })?;
        Ok(cgroup)
    }
}

fn is_version_2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The trees that attempts have a group in; memory's is the first.
fn tops(version_2: bool) -> Vec<PathBuf> {
    let trees = if version_2 { vec![""] } else { vec!["memory", "cpu"] };
    trees.into_iter().map(|tree| Path::new(ROOT).join(tree)).collect()
}

fn parents_of(directory: &Path, version_2: bool) -> Vec<PathBuf> {
    let name = directory.to_string_lossy().replace('/', "-");
    let name = Path::new(OURS).join(name.trim_matches('-'));
    tops(version_2).into_iter().map(|top| top.join(&name)).collect()
}

/// Removes the parent groups of the keeper in `directory`, which has no attempts any more.
pub(super) fn remove_parents(directory: &Path) {
    for parent in parents_of(directory, is_version_2()) {
        // It exists only when an attempt had a group.
        let _ = fs::remove_dir(parent);
    }
}

impl Cgroup {
    fn set_up(&self, resources: Resources) -> io::Result<()> {
        for directory in &self.directories {
            match fs::create_dir(directory) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        let bytes = (u64::from(resources.memory.0) << 20).to_string();
        let shares = (u64::from(resources.cpu.0) * 1024 / 1000).clamp(2, 262_144);
        let limited = resources.memory.0 > 0;
        let memory = &self.directories[0];
        if self.version_2 {
            if limited {
                fs::write(memory.join("memory.max"), bytes)?;
                optional(fs::write(memory.join("memory.swap.max"), "0"))?;
            }
            // The kernel's own mapping of shares (2 to 262144) to weights (1 to 10000).
            let weight = 1 + (shares - 2) * 9_999 / 262_142;
            return fs::write(memory.join("cpu.weight"), weight.to_string());
        }
        if limited {
            fs::write(memory.join("memory.limit_in_bytes"), &bytes)?;
            optional(fs::write(memory.join("memory.memsw.limit_in_bytes"), &bytes))?;
        }
        fs::write(self.directories[1].join("cpu.shares"), shares.to_string())
    }

    /// Where a process enters the group.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Sends SIGKILL to every process in the group.
    pub(super) fn kill(&self) {
        for directory in &self.directories {
            if self.version_2 && fs::write(directory.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
                // One that is gone by now is what we want.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Whether the kernel killed a process of the group for its memory limit.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let file = if self.version_2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.directories[0].join(file)).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    /// Removes the group; false while processes are in it.
    pub(super) fn remove(&self) -> bool {
        self.directories.iter().all(|directory| match fs::remove_dir(directory) {
            Ok(()) => true,
            Err(e) => e.kind() == ErrorKind::NotFound,
        })
    }
}

/// Accepts that a file is missing: kernels without swap accounting lack it.
fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(()),
        other => other,
    }
}
