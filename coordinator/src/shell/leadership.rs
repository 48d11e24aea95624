//! Takes part in the election: does what [`Election`] wants done to its key, and tells who leads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::kv::{Store, UpdateErrorKind};
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::election::{Action, Candidate, Election, Record, Role, Seen, Written};
use super::journal::{Error, Position};

/// How long it may be uncertain who leads, before everything is looked at anew. Longer than replicas
/// take to choose a leader.
const CERTAIN_LIMIT: Duration = Duration::from_secs(10);
/// Silence after which a standby counts as gone: three of its signs of life.
const STANDBY_SILENCE: Duration = Duration::from_secs(4);
/// Standbys known.
const STANDBYS_MAX: usize = 100;
/// The key of the record.
const KEY: &str = "leader";
/// How long a read or write of the key may go unanswered.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stopping leader tries to say that it leaves.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

/// This process's part in the election. It outlives connections.
#[derive(Clone)]
pub struct Leadership {
    election: Arc<Mutex<Election>>,
    role: Arc<watch::Sender<Role>>,
    epoch: Instant,
    name: Arc<str>,
    nonce: u64,
    /// Those that stand by, and when each was last heard.
    standbys: Arc<Mutex<BTreeMap<String, Instant>>>,
    /// The bucket is gone, as it is in memory; starting over makes it anew.
    is_bucket_lost: Arc<AtomicBool>,
}

impl Leadership {
    /// A standby.
    pub fn new(lease: Duration) -> Self {
        let candidate = candidate();
        let (name, nonce) = (candidate.holder.as_str().into(), candidate.nonce);
        let election = Arc::new(Mutex::new(Election::new(candidate, lease)));
        let role = Arc::new(watch::Sender::new(Role::Standby));
        let standbys = Arc::default();
        let is_bucket_lost = Arc::default();
        Self { election, role, epoch: Instant::now(), name, nonce, standbys, is_bucket_lost }
    }

    /// A coordinator was heard that stands by.
    pub fn note_standby(&self, name: String) {
        let mut standbys = self.standbys.lock().expect("nobody panics with it");
        // Whoever may publish here could make up names.
        if standbys.len() < STANDBYS_MAX {
            standbys.insert(name, Instant::now());
        }
        standbys.retain(|_, heard| heard.elapsed() < STANDBY_SILENCE);
    }

    /// Names of those that stand by.
    pub fn standbys(&self) -> Vec<String> {
        let standbys = self.standbys.lock().expect("nobody panics with it");
        let heard = standbys.iter().filter(|(_, heard)| heard.elapsed() < STANDBY_SILENCE);
        heard.map(|(name, _)| name.clone()).collect()
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
        self.epoch.elapsed()
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
        let end = Instant::now() + CERTAIN_LIMIT;
        loop {
            if Instant::now() > end || self.is_bucket_lost.load(Ordering::Relaxed) {
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
            timeout_at(end, role.changed()).await.ok();
        }
    }

    /// Takes part until dropped.
    pub async fn run(self, store: Store) {
        let mut is_first = true;
        self.is_bucket_lost.store(false, Ordering::Relaxed);
        loop {
            let action = self.election().next(self.now());
            let asked = self.now();
            match action {
                Action::Wait { until } => sleep(until.saturating_sub(asked)).await,
                Action::Look => {
                    match timeout(ASK_TIMEOUT, look(&store)).await {
                        Ok(Ok(seen)) => {
                            let gone = seen.as_ref().is_some_and(|s| is_gone(&s.record.process));
                            self.election().on_seen(asked, self.now(), seen);
                            // Others go by the lease, as those on other machines do.
                            if std::mem::take(&mut is_first) && gone {
                                self.election().on_holder_gone();
                            }
                        }
                        Ok(Err(e)) => {
                            let is_lost = matches!(e.kind(), RawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND);
                            self.is_bucket_lost.store(is_lost, Ordering::Relaxed);
                            self.election().on_unanswered(self.now());
                        }
                        Err(_) => self.election().on_unanswered(self.now()),
                    }
                    self.tell();
                }
                Action::Write { expected, record } => {
                    self.write(&store, asked, expected, record).await;
                    self.tell();
                }
            }
        }
    }

    async fn write(&self, store: &Store, asked: Duration, expected: u64, record: Record) {
        let value = serde_json::to_vec(&record).expect("a record has a JSON form");
        let written = timeout(ASK_TIMEOUT, store.update(KEY, value.into(), expected)).await;
        match written {
            Ok(Ok(revision)) => {
                self.election().on_written(asked, record, Written::Stored(revision));
            }
            Ok(Err(e)) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                self.election().on_written(asked, record, Written::Refused);
            }
            Ok(Err(_)) | Err(_) => self.election().on_unanswered(self.now()),
        }
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
    pub async fn release(&self, store: &Store) {
        let released = async {
            // A renewal may have been under way.
            let asked = self.now();
            let seen = look(store).await?;
            self.election().on_seen(asked, self.now(), seen);
            let action = self.election().release();
            if let Some(Action::Write { expected, record }) = action {
                self.write(store, self.now(), expected, record).await;
            }
            Ok::<(), RawMessageError>(())
        };
        if !matches!(timeout(RELEASE_LIMIT, released).await, Ok(Ok(()))) {
            info!("the lease was not given back; it runs out by itself");
        }
    }
}

async fn look(store: &Store) -> Result<Option<Seen>, RawMessageError> {
    // Of the stream's leader: a replica might be behind.
    let subject = format!("{}{KEY}", store.prefix);
    match store.stream.get_last_raw_message_by_subject(&subject).await {
        Ok(message) => {
            let record = serde_json::from_slice(&message.payload)
                .map_err(|e| RawMessageError::with_source(RawMessageErrorKind::Other, e))?;
            Ok(Some(Seen { revision: message.sequence, record }))
        }
        Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(e) => Err(e),
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
fn is_gone(named: &str) -> bool {
    let Some(rest) = named.strip_prefix(&machine()) else { return false };
    let pid = rest.split_whitespace().next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| process(pid) != named)
}

#[cfg(test)]
mod tests {
    use super::*;

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
