//! Takes part in the election: does what [`Election`] wants done to its key, and tells who leads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::election::{Action, Candidate, Election, Record, Role};
use super::journal::{Error, Position};
use super::nats::SystemClock;
use super::outside::{Clock, KeyError, LeaderKey, timeout};

/// How long it may be uncertain who leads, before everything is looked at anew. Longer than replicas
/// take to choose a leader.
const CERTAIN_LIMIT: Duration = Duration::from_secs(10);
/// Silence after which a standby counts as gone: three of its signs of life.
const STANDBY_SILENCE: Duration = Duration::from_secs(4);
/// Standbys known.
const STANDBYS_MAX: usize = 100;
/// How long a read or write of the key may go unanswered.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stopping leader tries to say that it leaves.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

/// This process's part in the election. It outlives connections.
#[derive(Clone)]
pub struct Leadership<C = SystemClock> {
    election: Arc<Mutex<Election>>,
    role: Arc<watch::Sender<Role>>,
    clock: C,
    name: Arc<str>,
    nonce: u64,
    lease: Duration,
    /// Those that stand by: when each was last heard, and up to which message it knows the journal.
    standbys: Arc<Mutex<BTreeMap<String, (Duration, u64)>>>,
    /// The bucket is gone, as it is in memory; starting over makes it anew.
    is_bucket_lost: Arc<AtomicBool>,
}

impl Leadership {
    /// This process, as a standby.
    pub fn of_process(lease: Duration) -> Self {
        Self::new(candidate(), lease, SystemClock::default())
    }
}

impl<C: Clock> Leadership<C> {
    /// A standby.
    pub fn new(candidate: Candidate, lease: Duration, clock: C) -> Self {
        let (name, nonce) = (candidate.holder.as_str().into(), candidate.nonce);
        let election = Arc::new(Mutex::new(Election::new(candidate, lease)));
        let role = Arc::new(watch::Sender::new(Role::Standby));
        let standbys = Arc::default();
        let is_bucket_lost = Arc::default();
        Self { election, role, clock, name, nonce, lease, standbys, is_bucket_lost }
    }

    /// A coordinator was heard that stands by.
    pub fn note_standby(&self, name: String, sequence: u64) {
        if *name == *self.name {
            return;
        }
        let mut standbys = self.standbys.lock().expect("nobody panics with it");
        note(&mut standbys, name, (self.now(), sequence));
    }

    /// Names of those that stand by.
    pub fn standbys(&self) -> Vec<String> {
        let standbys = self.standbys.lock().expect("nobody panics with it");
        let now = self.now();
        let heard = standbys.iter().filter(|(_, (heard, _))| now < *heard + STANDBY_SILENCE);
        heard.map(|(name, _)| name.clone()).collect()
    }

    /// Whether one stands by that knows more of the journal than up to this message.
    pub fn knows_better(&self, sequence: u64) -> bool {
        let standbys = self.standbys.lock().expect("nobody panics with it");
        let now = self.now();
        standbys.values().any(|(heard, known)| *known > sequence && now < *heard + STANDBY_SILENCE)
    }

    /// How long a leader may be silent.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Leaves the key to another, who knows more.
    pub async fn give_way(&self) {
        self.election().give_way();
        let mut role = self.role.subscribe();
        let left = role.wait_for(|role| *role == Role::Standby);
        timeout(&self.clock, ASK_TIMEOUT * 2, left).await;
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells it from every other process.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    fn election(&self) -> MutexGuard<'_, Election> {
        self.election.lock().expect("nobody panics with it")
    }

    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// What it is, and when that may have changed.
    pub fn watch(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// How far it has got, see [`Election::set_ready`].
    pub fn set_ready(&self, ready: Option<(u64, Position)>) {
        self.election().set_ready(ready);
    }

    /// The record of another that leads.
    pub fn other_leader(&self) -> Option<Record> {
        self.election().leader().filter(|record| record.nonce != self.nonce).cloned()
    }

    /// Whether it is certain that this process leads.
    pub fn is_certain(&self) -> bool {
        self.election().is_certain(self.now())
    }

    /// Waits until it is certain that this process leads. That is so at once unless it stood still
    /// or is cut off.
    ///
    /// # Errors
    /// Another leads.
    pub async fn make_certain(&self, position: Position) -> Result<(), Error> {
        if self.election().is_certain(self.now()) {
            return Ok(());
        }
        warn!("the lease has run out; looking whether another leads");
        let mut role = self.role.subscribe();
        let end = self.now() + CERTAIN_LIMIT;
        loop {
            if self.now() >= end || self.is_bucket_lost.load(Ordering::Relaxed) {
                let reason = "it cannot be told who leads: the bucket of the election is lost";
                return Err(Error::Unavailable(reason.to_owned()));
            }
            if self.election().is_certain(self.now()) {
                return Ok(());
            }
            if self.election().role() == Role::Standby {
                return Err(Error::Fenced { sequence: position.sequence + 1 });
            }
            // Told after each step of the election, so it never waits long.
            let left = end.saturating_sub(self.now());
            timeout(&self.clock, left, role.changed()).await;
        }
    }

    /// Takes part until dropped.
    pub async fn run(self, key: impl LeaderKey) {
        let mut is_first = true;
        self.is_bucket_lost.store(false, Ordering::Relaxed);
        loop {
            let action = self.election().next(self.now());
            let asked = self.now();
            match action {
                Action::Wait { until } => self.clock.sleep(until.saturating_sub(asked)).await,
                Action::Look => {
                    match self.answered(key.look()).await {
                        Ok(seen) => {
                            let gone =
                                seen.as_ref().is_some_and(|s| key.is_gone(&s.record.process));
                            self.election().on_seen(asked, self.now(), seen);
                            // Others go by the lease, as those on other machines do.
                            if std::mem::take(&mut is_first) && gone {
                                self.election().on_holder_gone();
                            }
                        }
                        Err(e) => {
                            let is_lost = e == KeyError::BucketLost;
                            self.is_bucket_lost.store(is_lost, Ordering::Relaxed);
                            self.election().on_unanswered(self.now());
                        }
                    }
                    self.tell();
                }
                Action::Write { expected, record } => {
                    self.write(&key, asked, expected, record).await;
                    self.tell();
                }
            }
        }
    }

    async fn write(&self, key: &impl LeaderKey, asked: Duration, expected: u64, record: Record) {
        match self.answered(key.write(expected, &record)).await {
            Ok(written) => self.election().on_written(asked, record, written),
            Err(_) => self.election().on_unanswered(self.now()),
        }
    }

    async fn answered<T>(
        &self,
        question: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
        let answered = timeout(&self.clock, ASK_TIMEOUT, question).await;
        answered.unwrap_or(Err(KeyError::Unanswered))
    }

    /// Tells what it is now: those who wait look every time.
    fn tell(&self) {
        let role = self.election().role();
        let before = self.role.send_replace(role);
        if before != role {
            info!(?role, "the election has changed what this coordinator is");
        }
    }

    /// Leaves in order: a standby need not wait for the lease.
    pub async fn release(&self, key: &impl LeaderKey) {
        let released = async {
            // A renewal may have been under way.
            let asked = self.now();
            let seen = self.answered(key.look()).await?;
            self.election().on_seen(asked, self.now(), seen);
            let action = self.election().release();
            if let Some(Action::Write { expected, record }) = action {
                self.write(key, self.now(), expected, record).await;
            }
            Ok::<(), KeyError>(())
        };
        if !matches!(timeout(&self.clock, RELEASE_LIMIT, released).await, Some(Ok(()))) {
            info!("the lease was not given back; it runs out by itself");
        }
    }
}

fn note(
    standbys: &mut BTreeMap<String, (Duration, u64)>,
    name: String,
    (now, sequence): (Duration, u64),
) {
    standbys.retain(|_, (heard, _)| now < *heard + STANDBY_SILENCE);
    // Whoever may publish here could make up names: no new ones beyond the limit.
    if standbys.len() < STANDBYS_MAX || standbys.contains_key(&name) {
        standbys.insert(name, (now, sequence));
    }
}

fn candidate() -> Candidate {
    use std::hash::{DefaultHasher, Hash, Hasher};
    // Random enough to tell two starts apart, like every id made at the edge.
    let mut hasher = DefaultHasher::new();
    windrow_common::ids::JobId::generate().hash(&mut hasher);
    let pid = std::process::id();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let host: String = host.trim().chars().take(60).map(allowed).collect();
    Candidate { holder: format!("{host}-{pid}"), nonce: hasher.finish(), process: process(pid) }
}

/// Names a process of this machine for as long as it runs; empty if there is none.
fn process(pid: u32) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let stat = read(&format!("/proc/{pid}/stat"));
    let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    let Some(started) = started else { return String::new() };
    format!("{} {pid} {started}", machine())
}

/// This boot of this machine, with what process ids mean here.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let ids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), ids.display())
}

/// Whether this names a process of this machine that has ended.
pub(super) fn is_gone(named: &str) -> bool {
    let Some(rest) = named.strip_prefix(&machine()) else { return false };
    let pid = rest.split_whitespace().next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| process(pid) != named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_that_are_known_stay_known_beside_a_crowd() {
        let (mut standbys, start) = (BTreeMap::new(), Duration::ZERO);
        for number in 0..200 {
            note(&mut standbys, format!("s-{number:03}"), (start, 0));
        }
        assert_eq!(standbys.len(), STANDBYS_MAX);
        note(&mut standbys, "s-000".to_owned(), (start + STANDBY_SILENCE / 2, 0));
        note(&mut standbys, "s-new".to_owned(), (start + STANDBY_SILENCE, 0));
        assert_eq!(Vec::from_iter(standbys.keys()), ["s-000", "s-new"], "the silent made room");
    }

    #[test]
    fn a_process_is_gone_when_it_has_ended_here() {
        let own = process(std::process::id());
        assert!(!own.is_empty() && !is_gone(&own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let named = process(child.id());
        assert!(!is_gone(&named));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&named));
        assert!(!is_gone(""), "nothing is known");
        assert!(!is_gone("another-boot pid:[1] 1 1"), "another machine");
    }
}
