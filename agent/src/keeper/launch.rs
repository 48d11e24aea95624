//! The launcher: this program once more, in the place of a job for a moment. It does what a process
//! has to do to itself (enter control groups, limit itself, become another user), which cannot be
//! done between fork and exec without unsafe code, and then becomes the job's program.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::{Gid, Uid};
use windrow_common::wire::container::Ulimit;

/// The first argument that makes this program the launcher, see [`launch`].
pub const LAUNCH: &str = "launch";

/// This program, even when its file has been replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// A command that enters these control groups, takes these limits, becomes the user, and then the
/// program. The job's whole command (its name for the program first) is to be added as arguments.
pub(super) fn launcher(
    groups: &[PathBuf],
    limits: &[Ulimit],
    identity: Option<(Uid, Gid)>,
    program: &Path,
) -> Command {
    let mut command = Command::new(SELF);
    command.arg(LAUNCH).arg(groups.len().to_string());
    command.args(groups.iter().map(|group| group.join("cgroup.procs")));
    command.arg(limits.len().to_string());
    for Ulimit { name, soft, hard } in limits {
        command.args([name, &soft.to_string(), &hard.to_string()]);
    }
    let identity = identity.map(|(user, group)| format!("{user}:{group}"));
    command.arg(identity.unwrap_or_default()).arg(program);
    command
}

/// Whether the limits can be taken; the error is for the user.
pub(super) fn check(limits: &[Ulimit]) -> Result<(), String> {
    for limit in limits {
        let Ulimit { name, soft, hard } = limit;
        let resource = resource(name).ok_or(format!("there is no ulimit `{name}`"))?;
        let (wanted_soft, wanted_hard) = (value(*soft), value(*hard));
        if wanted_soft > wanted_hard {
            return Err(format!("ulimit `{name}`: the soft limit {soft} is above the hard {hard}"));
        }
        let (_, most) = getrlimit(resource).map_err(|e| format!("ulimit `{name}`: {e}"))?;
        if wanted_hard > most && !nix::unistd::geteuid().is_root() {
            return Err(format!(
                "ulimit `{name}`: the agent may give at most {most}, and only root may raise that"
            ));
        }
    }
    Ok(())
}

/// Does all that. `arguments` are those that [`launcher`] wrote, after [`LAUNCH`]. Returns only on
/// failure.
pub fn launch(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Error {
    match prepare(&mut arguments) {
        Ok(mut command) => anyhow::Error::new(command.exec()).context("execute the job's program"),
        Err(error) => error,
    }
}

fn prepare(arguments: &mut impl Iterator<Item = OsString>) -> anyhow::Result<Command> {
    let mut next = || arguments.next().context("too few arguments; the keeper gives them");
    let mut text = || anyhow::Ok(next()?.to_string_lossy().into_owned());
    let count: usize = text()?.parse().context("number of control groups")?;
    for _ in 0..count {
        let file = text()?;
        fs::write(&file, "0").with_context(|| format!("enter `{file}`"))?;
    }
    let count: usize = text()?.parse().context("number of limits")?;
    for _ in 0..count {
        let (name, soft, hard) = (text()?, text()?.parse()?, text()?.parse()?);
        let resource = resource(&name).with_context(|| format!("there is no ulimit `{name}`"))?;
        setrlimit(resource, value(soft), value(hard))
            .with_context(|| format!("set the ulimit `{name}` to {soft}:{hard}"))?;
    }
    let identity = text()?;
    let mut command = Command::new(next()?);
    command.arg0(next()?);
    if let Some((user, group)) = identity.split_once(':') {
        command.uid(user.parse().context("user id")?).gid(group.parse().context("group id")?);
    }
    command.args(arguments);
    Ok(command)
}

/// -1 is no limit.
fn value(limit: i64) -> rlim_t {
    rlim_t::try_from(limit).unwrap_or(RLIM_INFINITY)
}

/// By Docker's name.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, soft: i64, hard: i64) -> Vec<Ulimit> {
        vec![Ulimit { name: name.to_owned(), soft, hard }]
    }

    #[test]
    fn limits_that_cannot_be_taken_are_refused_before_the_start() {
        assert_eq!(check(&limit("core", 0, 0)), Ok(()));
        assert!(check(&limit("cores", 0, 0)).unwrap_err().contains("`cores`"));
        assert!(check(&limit("nofile", 2, 1)).unwrap_err().contains("above the hard"));
        assert!(check(&limit("nofile", -1, 1)).unwrap_err().contains("above the hard"));
    }
}
