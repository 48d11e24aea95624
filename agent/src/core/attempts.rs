//! Attempts that use this host now, and when each is to be looked at.
//!
//! ```text
//! ordered --Started--> started --time limit / Stop order / agent stops--> ending --stop_timeout--> killed
//!    |                    |                                                  |                       |
//!    +--------------------+----- StartFailed, Exited, Lost: gone ------------+-----------------------+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::Lease;

use crate::executor::AttemptKey;

/// Why we end an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What its report will say.
    pub cause: EndCause,
    /// Detail for people.
    pub reason: Option<&'static str>,
    /// When SIGKILL is due, by the monotonic clock; each further one as much later again.
    pub kill_at: Duration,
}

impl Ending {
    /// Whether its report will say nothing of what the program did.
    pub fn has_no_result(self) -> bool {
        matches!(self.cause, EndCause::HostLost | EndCause::Stopped)
    }
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it uses until it is gone.
    pub resources: Resources,
    /// Since when it runs; absent until the executor says so.
    pub started_at: Option<Timestamp>,
    /// The same by the monotonic clock, which its limit goes by: nobody can set that one.
    pub runs_since: Option<Duration>,
    /// Limit of its run time.
    pub time_limit: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
    /// The GPUs it has for itself, by id.
    pub gpus: Vec<String>,
    /// Set once it is being ended.
    pub ending: Option<Ending>,
    /// The coordinator gave it up: nothing is reported.
    pub fenced: bool,
    timer: Option<Duration>,
}

impl Attempt {
    /// A new one, ordered.
    pub fn new(lease: &Lease, stop_timeout: Duration, gpus: Vec<String>) -> Self {
        Self {
            resources: lease.resources,
            started_at: None,
            runs_since: None,
            time_limit: lease.timeout_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            stop_timeout,
            gpus,
            ending: None,
            fenced: false,
            timer: None,
        }
    }

    fn due_at(&self) -> Option<Duration> {
        match &self.ending {
            Some(ending) => Some(ending.kill_at),
            None => Some(self.runs_since?.saturating_add(self.time_limit?)),
        }
    }
}

/// All attempts, the sum of what they use, and their timers.
#[derive(Debug, Default)]
pub struct Attempts {
    all: BTreeMap<AttemptKey, Attempt>,
    timers: BTreeSet<(Duration, AttemptKey)>,
    used: Resources,
    gpus: BTreeSet<String>,
}

impl Attempts {
    /// What all of them use.
    pub fn used(&self) -> Resources {
        self.used
    }

    /// Whether one of them has this GPU.
    pub fn uses_gpu(&self, id: &str) -> bool {
        self.gpus.contains(id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Each, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&AttemptKey, &Attempt)> {
        self.all.iter()
    }

    /// One of them.
    pub fn get(&self, key: AttemptKey) -> Option<&Attempt> {
        self.all.get(&key)
    }

    /// Adds one.
    pub fn insert(&mut self, key: AttemptKey, attempt: Attempt) {
        self.used = self.used.plus(attempt.resources);
        for id in &attempt.gpus {
            let is_free = self.gpus.insert(id.clone());
            assert!(is_free, "a GPU belongs to one attempt");
        }
        let previous = self.all.insert(key, attempt);
        assert!(previous.is_none(), "an attempt starts once");
    }

    /// Takes one out.
    pub fn remove(&mut self, key: AttemptKey) -> Option<Attempt> {
        let attempt = self.all.remove(&key)?;
        self.used = self.used.less(attempt.resources);
        for id in &attempt.gpus {
            self.gpus.remove(id);
        }
        if let Some(timer) = attempt.timer {
            self.timers.remove(&(timer, key));
        }
        Some(attempt)
    }

    /// Changes one, and its timer with it. Its resources stay.
    pub fn change<T>(&mut self, key: AttemptKey, f: impl FnOnce(&mut Attempt) -> T) -> Option<T> {
        let attempt = self.all.get_mut(&key)?;
        let result = f(attempt);
        let due = attempt.due_at();
        if due != attempt.timer {
            if let Some(old) = attempt.timer {
                self.timers.remove(&(old, key));
            }
            self.timers.extend(due.map(|at| (at, key)));
            attempt.timer = due;
        }
        Some(result)
    }

    /// The earliest timer.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// An attempt whose timer is due.
    pub fn due(&self, now: Duration) -> Option<AttemptKey> {
        self.timers.first().filter(|&&(at, _)| at <= now).map(|&(_, key)| key)
    }
}
