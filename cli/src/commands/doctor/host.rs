//! This host, as far as a coordinator, an agent or `windrow up` on it would depend on it.

use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Check, Verdict, http};
use crate::context::Context;

/// Free space of the data directory below which a warning is given, in MiB.
const FREE_MIB_MIN: u64 = 1024;
/// Files that a process may have open below which a warning is given.
const FILES_MIN: u64 = 4096;

/// Looks.
pub(super) async fn look(context: &Context) -> Vec<Check> {
    let mut checks = vec![docker().await, control_groups(Path::new("/sys/fs/cgroup"))];
    if let Ok(layout) = context.layout() {
        checks.extend(disk(layout.root()));
    }
    checks.extend(open_files());
    checks
}

async fn docker() -> Check {
    const NAME: &str = "docker";
    let address = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = match address.strip_prefix("unix://") {
        Some(path) => PathBuf::from(path),
        None if address.is_empty() => PathBuf::from("/var/run/docker.sock"),
        None => return Check::new(NAME, Verdict::Unknown, format!("DOCKER_HOST is `{address}`")),
    };
    let asked = async {
        let stream = UnixStream::connect(&socket).await.map_err(|e| e.to_string())?;
        let body = http::get(stream, "docker", "/version").await?;
        serde_json::from_slice::<Value>(&body).map_err(|e| e.to_string())
    };
    match asked.await {
        Ok(version) => {
            let version = version["Version"].as_str().unwrap_or("?");
            Check::new(NAME, Verdict::Ok, format!("version {version}"))
        }
        Err(e) => {
            let detail = format!("`{}` does not answer: {e}", socket.display());
            Check::new(NAME, Verdict::Warning, detail)
                .hint("an agent on this host runs plain processes only")
        }
    }
}

fn control_groups(root: &Path) -> Check {
    const NAME: &str = "control-groups";
    if root.join("cgroup.controllers").exists() {
        Check::new(NAME, Verdict::Ok, "version 2")
    } else if root.join("memory").exists() {
        Check::new(NAME, Verdict::Ok, "version 1")
    } else {
        Check::new(NAME, Verdict::Warning, format!("none at `{}`", root.display()))
            .hint("`process.cgroup` of agents here must stay off")
    }
}

/// The file system of the nearest directory above that is there.
fn disk(path: &Path) -> Option<Check> {
    let there = path.ancestors().find(|path| path.exists())?;
    let found = statvfs(there).ok()?;
    let free = (found.blocks_available() * found.fragment_size()) >> 20;
    Some(free_space(there, free))
}

fn free_space(path: &Path, free_mib: u64) -> Check {
    let detail = format!("{free_mib} MiB free at `{}`", path.display());
    match free_mib < FREE_MIB_MIN {
        true => Check::new("disk", Verdict::Warning, detail)
            .hint("a full disk stops the journal, and with it submissions"),
        false => Check::new("disk", Verdict::Ok, detail),
    }
}

fn open_files() -> Option<Check> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let detail = format!("up to {hard} a process");
    Some(match hard < FILES_MIN {
        true => Check::new("open-files", Verdict::Warning, detail)
            .hint("raise the hard limit: an agent needs a few for each job it runs"),
        false => Check::new("open-files", Verdict::Ok, detail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_control_groups_or_space_is_warned_about() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(control_groups(empty.path()).verdict, Verdict::Warning);
        std::fs::write(empty.path().join("cgroup.controllers"), "").unwrap();
        assert_eq!(control_groups(empty.path()).detail, "version 2");
        assert_eq!(free_space(empty.path(), FREE_MIB_MIN - 1).verdict, Verdict::Warning);
        assert_eq!(free_space(empty.path(), FREE_MIB_MIN).verdict, Verdict::Ok);
        let below = disk(&empty.path().join("not/there")).unwrap();
        assert!(below.detail.contains(&*empty.path().to_string_lossy()), "{below:?}");
    }
}
