//! Starts one process without forking a big parent.
//!
//! `std::process::Command` uses `posix_spawn`, which borrows the parent's memory until the program
//! is loaded, as long as the program is a path and neither user nor group change. So the program is
//! looked up here, in the `PATH` that the job itself will see.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User};

use super::cgroup::Cgroup;
use super::launch;
use super::protocol::Order;
use super::scratch::Scratches;

/// Where programs are looked for when the job's environment has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A process that was started, in a process group of its own.
pub(super) struct Spawned {
    pub(super) child: Child,
    /// The scratch directory, when one was made.
    pub(super) scratch: Option<PathBuf>,
}

/// Starts `order`, with `null` as its standard input, a directory from `scratches` unless it has its
/// own, and `cgroup`, if any, entered before the program begins. The error says, for the user, why it could not run; nothing is left then.
pub(super) fn spawn(
    order: &Order,
    null: &File,
    scratches: &Scratches,
    cgroup: Option<&Cgroup>,
) -> Result<Spawned, String> {
    let name =
        order.command.first().ok_or("the job has no command and no image to take it from")?;
    let identity = order.user.as_deref().map(identity).transpose()?.flatten();
    let scratch = match &order.working_directory {
        Some(_) => None,
        None => Some(make_scratch(scratches, &order.scratch, identity)?),
    };
    let directory = order.working_directory.as_deref().unwrap_or(&order.scratch);
    let spawned = resolve(name, &order.environment.0, directory)
        .and_then(|program| start(order, &program, directory, null, identity, cgroup));
    match spawned {
        Ok(child) => Ok(Spawned { child, scratch }),
        Err(reason) => {
            scratch.into_iter().for_each(|directory| scratches.give_back(directory));
            Err(reason)
        }
    }
}

fn start(
    order: &Order,
    program: &Path,
    directory: &Path,
    null: &File,
    identity: Option<Identity>,
    cgroup: Option<&Cgroup>,
) -> Result<Child, String> {
    let log = open_log(&order.log_file)
        .map_err(|e| format!("cannot open the log file `{}`: {e}", order.log_file.display()))?;
    let handles = || -> io::Result<(File, File)> { Ok((null.try_clone()?, log.try_clone()?)) };
    let (input, errors) = handles().map_err(|e| format!("cannot duplicate a file handle: {e}"))?;
    let mut command = if cgroup.is_some() || !order.ulimits.is_empty() {
        launch::check(&order.ulimits)?;
        let groups = cgroup.map_or(&[][..], Cgroup::directories);
        let identity = identity.map(|identity| (identity.user, identity.group));
        let mut command = launch::launcher(groups, &order.ulimits, identity, program);
        command.args(&order.command);
        command
    } else {
        let mut command = Command::new(program);
        if let Some(identity) = identity {
            command.uid(identity.user.as_raw()).gid(identity.group.as_raw());
        }
        command.arg0(&order.command[0]).args(&order.command[1..]);
        command
    };
    command
        .env_clear()
        .envs(order.environment.0.iter().map(|(name, value)| (name, value)))
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors));
    command.spawn().map_err(|e| explain(&e, program, directory))
}

/// Opens the file for appending, so that both outputs and later writers keep the order written.
fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn make_scratch(
    scratches: &Scratches,
    path: &Path,
    identity: Option<Identity>,
) -> Result<PathBuf, String> {
    let make = || -> io::Result<()> {
        scratches.make(path)?;
        let Some(Identity { user, group }) = identity else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.as_raw()), Some(group.as_raw()))
    };
    make().map_err(|e| format!("cannot make the scratch directory `{}`: {e}", path.display()))?;
    Ok(path.to_owned())
}

/// The program's path: `name` itself when it has a slash (from `directory` on when relative), else
/// the first executable of that name in the job's `PATH`.
fn resolve(
    name: &str,
    environment: &[(String, String)],
    directory: &Path,
) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(directory.join(name));
    }
    let path = environment.iter().rev().find(|(key, _)| key == "PATH");
    let path = path.map_or(PATH_DEFAULT, |(_, value)| value.as_str());
    let mut found_plain = None;
    // An empty name would find the directories themselves.
    let folders = path.split(':').filter(|_| !name.is_empty());
    for folder in folders {
        let candidate = directory.join(folder).join(name);
        let Ok(metadata) = fs::metadata(&candidate) else { continue };
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            return Ok(candidate);
        }
        found_plain = Some(candidate);
    }
    Err(match found_plain {
        Some(file) => format!("cannot execute `{}`: it is not an executable file", file.display()),
        None => format!("command not found: `{name}` (looked in {path})"),
    })
}

/// Finds out what a failed spawn was about; the system's error alone does not tell.
fn explain(error: &io::Error, program: &Path, directory: &Path) -> String {
    let (shown, at) = (program.display(), directory.display());
    if !directory.is_dir() {
        return format!("working directory `{at}` does not exist or is not a directory");
    }
    let kind = error.kind();
    if kind == ErrorKind::NotFound && program.exists() {
        return format!("cannot execute `{shown}`: the interpreter it names does not exist");
    }
    if kind == ErrorKind::NotFound {
        return format!("command not found: `{shown}`");
    }
    if error.raw_os_error() == Some(nix::libc::ENOEXEC) {
        return format!(
            "cannot execute `{shown}`: neither a program nor a script with a `#!` line"
        );
    }
    if error.raw_os_error() == Some(nix::libc::E2BIG) {
        return format!("cannot execute `{shown}`: arguments and environment are too large");
    }
    if kind == ErrorKind::InvalidInput {
        return "cannot execute: the command or its environment contains a zero byte".to_owned();
    }
    format!("cannot execute `{shown}` in `{at}`: {error}")
}

/// A user to run as.
#[derive(Clone, Copy)]
struct Identity {
    user: Uid,
    group: Gid,
}

/// Looks up `user` or `user:group`; none when that is who we are already. A numeric user that the
/// system does not know gets the group of the same number.
fn identity(text: &str) -> Result<Option<Identity>, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let known = match user.parse() {
        Ok(id) => User::from_uid(Uid::from_raw(id)),
        Err(_) => User::from_name(user),
    };
    let known = known.map_err(|e| format!("cannot look up user `{user}`: {e}"))?;
    let (user_id, group_of_user) = match (known, user.parse()) {
        (Some(known), _) => (known.uid, known.gid),
        (None, Ok(id)) => (Uid::from_raw(id), Gid::from_raw(id)),
        (None, Err(_)) => return Err(format!("this host has no user `{user}`")),
    };
    let group_id = group.map_or(Ok(group_of_user), group_by_text)?;
    let (own_user, own_group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if user_id == own_user && (group_id == own_group || !own_user.is_root()) {
        return Ok(None);
    }
    if !own_user.is_root() {
        return Err(format!(
            "cannot run as user `{text}`: the agent runs as user {own_user} and only root may \
             change users"
        ));
    }
    Ok(Some(Identity { user: user_id, group: group_id }))
}

fn group_by_text(text: &str) -> Result<Gid, String> {
    if let Ok(id) = text.parse() {
        return Ok(Gid::from_raw(id));
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("this host has no group `{text}`")),
        Err(e) => Err(format!("cannot look up group `{text}`: {e}")),
    }
}

/// Opens what every process gets as standard input.
pub(super) fn open_null() -> io::Result<File> {
    File::open("/dev/null")
}
