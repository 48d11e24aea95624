//! The keeper: a small process that is the parent of all job processes of one agent and outlives
//! the agent, so that a restarted agent finds its jobs running and learns their true exit codes.
//!
//! It decides nothing: it starts, signals and reaps what the agent on its socket says, and keeps
//! each end until the agent has it on disk. Where no two attempts may run at once the agent says, ever
//! anew, by when all must be over; the keeper sees to that if the agent is dead or stands still. Five
//! threads: the server takes requests and starts processes, the reaper waits for their ends and sends
//! them while few attempts run, the writer sends all other events, the watchdog ends what must be
//! over, the upkeep (the main thread) leaves when there is nothing to keep.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{close, setsid};

mod cgroup;
mod launch;
mod outgoing;
pub(crate) mod protocol;
mod reap;
mod scratch;
mod server;
mod spawn;
mod table;
mod watchdog;

pub use launch::{LAUNCH, launch};

use scratch::Scratches;
use table::{State, Table};
use watchdog::Watchdog;

/// The socket's name in the keeper's directory.
pub(crate) const SOCKET: &str = "keeper.sock";
/// The file that a running keeper holds a lock on.
const LOCK: &str = "keeper.lock";
/// Written to standard output when the socket accepts connections.
pub(crate) const READY: &str = "ready";
/// Written to standard output when another keeper serves the directory.
pub(crate) const BUSY: &str = "busy";

/// How long a keeper without agent and attempts stays: an agent's restart takes less.
const IDLE_GRACE: Duration = Duration::from_secs(10);
/// How long killed processes of an ended attempt may take to vanish before its end is reported all
/// the same: one stuck in the kernel must not hold up its job.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Directory of scratch directories to be used again.
const SPARE: &str = "spare";

/// Runs the keeper of `directory` until it has no agent and no attempt. Returns at once, without
/// error, when another keeper serves the directory.
///
/// To be called first in a fresh process: it closes every file but the standard three, and leaves
/// its session. It writes one line to standard output: `ready`, or `busy`.
///
/// # Errors
/// When the directory cannot be written, or its socket's path is longer than the system allows.
pub fn run(directory: &Path) -> anyhow::Result<()> {
    close_inherited_files().context("close inherited files")?;
    // Fails when we lead a session already, which is as good.
    let _ = setsid();
    let lock_path = directory.join(LOCK);
    let lock =
        File::create(&lock_path).with_context(|| format!("open `{}`", lock_path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return say(BUSY),
        Err(TryLockError::Error(e)) => {
            return Err(e).with_context(|| format!("lock `{}`", lock_path.display()));
        }
    }
    set_child_subreaper(true).context("become the parent of orphaned job processes")?;
    let socket = directory.join(SOCKET);
    let listener = listen(&socket)?;
    let home = Home::of(socket)?;
    let null = spawn::open_null().context("open `/dev/null`")?;
    let table = Arc::new(Table::default());
    let spare = directory.join(SPARE);
    let opened = Scratches::open(spare.clone());
    let (scratches, leavings) = opened.with_context(|| format!("use `{}`", spare.display()))?;
    let scratches = Arc::new(scratches);
    thread("cleaner", move || scratch::clean(&leavings))?;
    let watchdog = Arc::new(Watchdog::new().context("make a timer")?);
    let server = {
        let (scratches, watchdog) = (Arc::clone(&scratches), Arc::clone(&watchdog));
        server::Server::new(directory, listener, null, scratches, watchdog)
    };
    start_threads(&table, server, &scratches, watchdog)?;
    say(READY)?;
    upkeep(&table, &scratches, &home);
    if home.is_ours() {
        scratches.close();
        cgroup::remove_parents(directory);
        // With the lock still held, so that no later keeper's socket is removed.
        fs::remove_file(&home.socket)
            .with_context(|| format!("remove `{}`", home.socket.display()))?;
    }
    drop(lock);
    Ok(())
}

/// Our socket, told from one that another keeper made in the place of ours: somebody may delete the
/// directory, lock included, and start anew in its place.
struct Home {
    socket: PathBuf,
    identity: (u64, i64, i64),
}

impl Home {
    fn of(socket: PathBuf) -> anyhow::Result<Self> {
        let metadata =
            fs::metadata(&socket).with_context(|| format!("look at `{}`", socket.display()))?;
        Ok(Self { socket, identity: Self::identity(&metadata) })
    }

    fn identity(metadata: &fs::Metadata) -> (u64, i64, i64) {
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }

    /// Whether an agent can still find us.
    fn is_ours(&self) -> bool {
        fs::metadata(&self.socket).is_ok_and(|m| Self::identity(&m) == self.identity)
    }
}

/// Jobs must not inherit what a careless ancestor of the agent left open, so neither do we.
fn close_inherited_files() -> std::io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for file in open.into_iter().filter(|file| *file > 2) {
        // The listing's own file is among them and closed by now.
        let _ = close(file);
    }
    Ok(())
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    // Left by a keeper that was killed: we hold the lock.
    match fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("remove `{}`", socket.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| {
        format!("listen on `{}` (a socket's path may have at most 107 bytes)", socket.display())
    })?;
    // Who can connect can run programs as us.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("restrict `{}`", socket.display()))?;
    Ok(listener)
}

fn start_threads(
    table: &Arc<Table>,
    server: server::Server,
    scratches: &Arc<Scratches>,
    watchdog: Arc<Watchdog>,
) -> anyhow::Result<()> {
    let (shared, scratches) = (Arc::clone(table), Arc::clone(scratches));
    thread("reaper", move || reap::run(&shared, &scratches))?;
    let shared = Arc::clone(table);
    thread("writer", move || outgoing::run(&shared))?;
    let shared = Arc::clone(table);
    thread("watchdog", move || watchdog.run(&shared))?;
    let shared = Arc::clone(table);
    thread("server", move || server.run(&shared))
}

fn thread(name: &'static str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    // These loops end only by a panic, or when the socket cannot be served any more. A keeper
    // without one of them would be stuck; without a keeper the agent starts over.
    let guarded = move || {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        eprintln!("keeper: the {name} has ended, so the keeper ends");
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .with_context(|| format!("start the keeper's {name} thread"))?;
    Ok(())
}

/// Waits until there is nothing to stay for; meanwhile ends attempts that drain too long.
fn upkeep(table: &Table, scratches: &Scratches, home: &Home) {
    let mut state = table.lock();
    loop {
        let was_quiet = state.is_quiet();
        let limit = match (was_quiet, state.draining.is_empty()) {
            (true, _) => IDLE_GRACE,
            (false, false) => DRAIN_LIMIT,
            (false, true) => {
                state = table.upkeep.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
        };
        let was_draining = state.draining.clone();
        state = wait_out(table, state, limit, was_quiet);
        // Ends that an agent may still ask for are a reason to stay, while one can find us.
        if was_quiet && state.is_quiet() && (state.attempts.is_empty() || !home.is_ours()) {
            return;
        }
        let stuck: Vec<_> =
            state.draining.iter().copied().filter(|key| was_draining.contains(key)).collect();
        if stuck.is_empty() {
            continue;
        }
        eprintln!("keeper: killed processes of {} attempts do not vanish", stuck.len());
        state.draining.retain(|key| !stuck.contains(key));
        let left = reap::finish(&mut state, &stuck);
        drop(state);
        table.flush();
        left.into_iter().for_each(|directory| scratches.give_back(directory));
        state = table.lock();
    }
}

/// Waits for all of `limit`, or until quietness has changed.
fn wait_out<'a>(
    table: &'a Table,
    mut state: std::sync::MutexGuard<'a, State>,
    limit: Duration,
    was_quiet: bool,
) -> std::sync::MutexGuard<'a, State> {
    let deadline = Instant::now() + limit;
    while state.is_quiet() == was_quiet {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let waited = table.upkeep.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    state
}

/// Tells whoever started us.
fn say(word: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    if writeln!(output, "{word}").and_then(|()| output.flush()).is_err() {
        bail!("nobody reads the keeper's standard output");
    }
    Ok(())
}
