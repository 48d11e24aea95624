//! What a coordinator does around its actor, in order: it stands by ([`super::standby`]), takes over by
//! reading the rest, puts the journal right if it lost something ([`super::repair`]), and begins a term.
//! The same code on NATS ([`super::leader`] drives it) and in the simulation.

use std::time::Duration;

use tracing::{info, warn};

use super::election::Role;
use super::journal::{Error, Group, Journal};
use super::leadership::Leadership;
use super::memory::Memory;
use super::nats::SystemClock;
use super::outside::{Clock, JournalStream, Outside};
use super::{repair, snapshot};
use crate::core::limits::Limits;
use crate::core::{Command, apply, decide};

/// How long it is left to one that remembers more to take over.
pub(super) const DEFERENCE: Duration = Duration::from_secs(12);
/// The first pause between two tries to write.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What outlives connections and terms.
pub struct Phases<C = SystemClock> {
    pub leadership: Leadership<C>,
    pub limits: Limits,
    /// What it has read.
    pub memory: Option<Memory>,
    /// An operator has decided to go on without what is missing.
    pub recover: bool,
    /// It has waited long enough for another that says it remembers more.
    pub(super) has_waited: bool,
    /// Since when it knows that the journal lacks messages up to this one, which it never had.
    pub(super) missing: Option<(Duration, u64)>,
}

/// A term that is to be begun.
pub struct Starting<J: JournalStream> {
    journal: Journal<J>,
    term: u64,
    groups: [Group; 1],
}

impl<C: Clock> Phases<C> {
    /// Has read nothing.
    pub fn new(leadership: Leadership<C>, limits: Limits, recover: bool) -> Self {
        Self { leadership, limits, memory: None, recover, has_waited: false, missing: None }
    }

    /// Reads the journal to its end, and puts it right if it was put back. Whether that was so.
    ///
    /// # Errors
    /// It could not be done, or another leads.
    pub async fn read_the_rest<O: Outside<Clock = C>>(
        &mut self,
        outside: &O,
    ) -> Result<bool, Error> {
        let memory = self.memory.as_mut().expect("a standby has read it");
        if memory.lost.is_none() {
            match memory.read_to_end(outside.journal(), Some(0)).await {
                Err(Error::RolledBack(what)) => memory.lost = Some(what),
                read => read?,
            }
        }
        if memory.lost.is_none() {
            repair::adopt(memory, outside).await?;
        }
        if memory.lost.is_none() {
            self.look_for_what_is_missing(outside).await?;
        }
        let memory = self.memory.as_mut().expect("it was there above");
        if memory.lost.is_some() {
            // Whoever remembers more has time to say so.
            outside.clock().sleep(self.leadership.lease()).await;
        }
        let upto = memory.position.sequence;
        if self.leadership.knows_better(upto) && !self.has_waited {
            self.leadership.give_way().await;
            let reason = format!("another coordinator remembers more than up to message {upto}");
            return Err(Error::Unavailable(reason));
        }
        if memory.lost.is_none() {
            return Ok(false);
        }
        repair::repair(memory, outside, &self.limits, &self.leadership, self.recover).await?;
        self.recover = false;
        Ok(true)
    }

    /// Events are published after the journal has what they follow from: if they tell of more than it has,
    /// its end is lost, and perhaps another remembers it. It has some time to take over.
    async fn look_for_what_is_missing<O: Outside<Clock = C>>(
        &mut self,
        outside: &O,
    ) -> Result<(), Error> {
        let told = outside.told_before().await.map_err(Error::Unavailable)?;
        let memory = self.memory.as_mut().expect("the rest was read into it");
        if told > memory.position.sequence {
            // A former leader may have written until now.
            memory.read_to_end(outside.journal(), Some(0)).await?;
        }
        let upto = memory.position.sequence;
        if told <= upto {
            self.missing = None;
            return Ok(());
        }
        let what = format!("its last message is {upto}, and events tell of message {told}");
        let now = outside.clock().elapsed();
        let (since, _) = *self.missing.get_or_insert((now, told));
        if now >= since + DEFERENCE {
            return Err(Error::Damaged(what));
        }
        self.leadership.give_way().await;
        Err(Error::Unavailable(format!("{what}; left to one that remembers it")))
    }

    /// Decides a new term, which is then to be written.
    pub fn starting<O: Outside<Clock = C>>(&self, outside: &O) -> Starting<O::Journal> {
        let memory = self.memory.as_ref().expect("the rest was read into it");
        let now = outside.clock().wall();
        let decision = decide(&memory.state, &self.limits, &Command::StartTerm, now)
            .expect("a term can always be started");
        let nonce = self.leadership.nonce();
        let journal = Journal::new(outside.journal().clone(), nonce, memory.position);
        let journal = journal.led_by(self.leadership.clone());
        Starting { journal, term: memory.state.term + 1, groups: [decision.events] }
    }

    /// The term is written: what follows from it.
    ///
    /// # Errors
    /// The first snapshot cannot be stored.
    pub async fn started<O: Outside<Clock = C>>(
        &mut self,
        outside: &O,
        starting: Starting<O::Journal>,
    ) -> Result<Journal<O::Journal>, Error> {
        let Starting { journal, groups, .. } = starting;
        let memory = self.memory.as_mut().expect("it was there to start from");
        groups.iter().flatten().for_each(|event| apply(&mut memory.state, event));
        memory.position = journal.position();
        if !memory.has_snapshot {
            // Before anything is accepted, so that a journal that is deleted is always missed.
            let bytes = snapshot::encode(&memory.state, memory.position);
            let stored = snapshot::store(outside.snapshots(), &bytes, memory.position).await;
            stored.map_err(|e| Error::Unavailable(e.to_string()))?;
            memory.has_snapshot = true;
        }
        Ok(journal)
    }
}

impl<J: JournalStream> Starting<J> {
    /// Writes it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn write(&mut self) -> Result<(), Error> {
        let now = self.journal.stream().clock().wall();
        self.journal.append(self.term, now, &self.groups).await.map(drop)
    }

    /// Tries again and again while the journal cannot be written, and tells why not each time.
    ///
    /// # Errors
    /// Another leads, or what is stored is not what was read.
    pub async fn write_at_last(
        &mut self,
        leadership: &Leadership<J::Clock>,
        mut unwritable: impl FnMut(String),
    ) -> Result<(), Error> {
        let clock = self.journal.stream().clock().clone();
        let mut role = leadership.watch();
        let mut pause = PAUSE_MIN;
        let write = async {
            loop {
                clock.sleep(pause).await;
                match self.write().await {
                    Err(Error::Unwritable(again)) => {
                        warn!(reason = again, "the journal still cannot be written");
                        unwritable(again);
                    }
                    written => return written,
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        tokio::select! {
            biased;
            _ = role.wait_for(|role| *role == Role::Standby) => {
                Err(Error::Fenced { sequence: 0 })
            }
            written = write => {
                if written.is_ok() {
                    info!("the journal can be written again");
                }
                written
            }
        }
    }
}
