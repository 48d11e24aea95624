//! Standing by: follows the journal, so that the state is warm when the lease becomes free.

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::election::Role;
use super::journal::Error;
use super::journal::follow::{Follower, tail};
use super::memory::Memory;
use super::outside::{Clock, Outside};
use super::phases::{DEFERENCE, Phases};

/// How often a standby says that it is there, and looks whether silence is right.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a journal that is not the one remembered is left to its leader, who can put it right.
const PATIENCE: Duration = Duration::from_secs(15);

impl<C: Clock> Phases<C> {
    /// Stands by until this coordinator has the lease; `false` when it is to stop. `failed` tells that the
    /// connection is lost.
    ///
    /// # Errors
    /// The journal is damaged, or cannot be read: it is to start over.
    pub async fn stand_by<O: Outside<Clock = C>>(
        &mut self,
        outside: &O,
        failed: impl Future<Output = String>,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        let mut failed = pin!(failed);
        // At once, as others may be about to take over with less.
        self.announce(outside).await;
        self.remember(outside).await?;
        let mut role = self.leadership.watch();
        let (journal, clock) = (outside.journal(), outside.clock());
        let mut follower = Follower::new(journal.clone());
        let mut lost_since = None;
        info!(name = self.leadership.name(), "ready to take over");
        let mut better_since = None;
        let mut look = pin!(clock.sleep(Duration::ZERO));
        loop {
            let memory = self.memory.as_mut().expect("remembered above");
            let (is_lost, at) = (memory.lost.is_some(), memory.position);
            // What anybody remembers is not given up while there is hope that it takes over.
            if self.leadership.knows_better(at.sequence) {
                let since = *better_since.get_or_insert(clock.elapsed());
                self.has_waited = clock.elapsed() >= since + DEFERENCE;
            } else {
                (better_since, self.has_waited) = (None, false);
            }
            self.missing.take_if(|(_, upto)| at.sequence >= *upto);
            let is_missing =
                self.missing.is_some_and(|(since, _)| clock.elapsed() < since + DEFERENCE);
            let is_ready = (better_since.is_none() || self.has_waited) && !is_missing;
            self.leadership.set_ready(is_ready.then_some((memory.state.term, at)));
            // Not as one that led before it was cut off, and has not looked since.
            let leads = *role.borrow_and_update() == Role::Leader;
            if leads && self.leadership.is_certain() {
                return Ok(true);
            }
            tokio::select! {
                // In this order, and not at random, so that a simulation can be repeated.
                biased;
                () = stop.cancelled() => return Ok(false),
                reason = &mut failed => return Err(Error::Unavailable(reason)),
                _ = role.changed() => {}
                () = &mut look => {
                    look.set(clock.sleep(LOOK_EVERY));
                    outside.announce(self.leadership.name(), at).await;
                    let looked = match is_lost {
                        true => tail(journal, at).await.map(drop),
                        false => follower.look_behind(at).await,
                    };
                    match looked {
                        Ok(()) => (memory.lost, lost_since) = (None, None),
                        Err(Error::RolledBack(what)) => {
                            let since = *lost_since.get_or_insert(clock.elapsed());
                            self.on_lost(what, clock.elapsed().saturating_sub(since))?;
                        }
                        Err(other) => return self.forget(other),
                    }
                    self.forget_published(outside).await;
                }
                next = follower.next(at), if !is_lost => match next {
                    Ok((entry, position)) => memory.take(&entry, position, true),
                    // It may have been put back: looked at before anything else is thought of it.
                    Err(e @ Error::Damaged(_)) => match tail(journal, at).await {
                        Ok(_) => return Err(e),
                        Err(Error::RolledBack(what)) => memory.lost = Some(what),
                        Err(other) => return self.forget(other),
                    },
                    Err(e) => return Err(e),
                },
            }
        }
    }

    /// Sees to it that there is a memory that the journal agrees with, or one that has what it lost.
    async fn remember<O: Outside<Clock = C>>(&mut self, outside: &O) -> Result<(), Error> {
        let (bucket, journal, clock) = (outside.snapshots(), outside.journal(), outside.clock());
        if let Some(memory) = &mut self.memory {
            match tail(journal, memory.position).await {
                // What could not be stored did not happen.
                Ok(_) if memory.pending.is_some() => self.memory = None,
                Ok(_) => memory.lost = None,
                Err(Error::RolledBack(what)) => {
                    error!(what, "ALARM: the journal was put back or deleted");
                    memory.lost = Some(what);
                }
                Err(Error::Trimmed(_)) => self.memory = None,
                Err(other) => return Err(other),
            }
        }
        if self.memory.is_none() {
            // In no condition to lead until it has read everything.
            self.leadership.set_ready(None);
            // Events are published after the journal has what they follow from; so this comes first.
            let told = outside.told_before().await.map_err(Error::Unavailable)?;
            let loaded = Memory::load(bucket, journal, None, self.recover).await;
            if let Err(Error::Damaged(what)) = &loaded {
                self.hope(clock, 0, what).await?;
            }
            let mut memory = loaded?;
            let last = memory.position.sequence;
            if told > last && memory.lost.is_none() {
                let what = format!(
                    "its last message is {last}, and events tell of message {told}: messages {} to {told} are gone",
                    last + 1
                );
                if !self.recover {
                    self.hope(clock, last, &what).await?;
                    return Err(Error::Damaged(what));
                }
                memory.lost = Some(what);
            }
            self.memory = Some(memory);
        }
        Ok(())
    }

    /// Waits for a sign of one that knows the journal further than this, and so can put it right.
    ///
    /// # Errors
    /// There is one: it is to be looked at again.
    async fn hope(&self, clock: &C, sequence: u64, what: &str) -> Result<(), Error> {
        clock.sleep(LOOK_EVERY * 2).await;
        match self.leadership.knows_better(sequence) {
            true => Err(Error::Unavailable(format!(
                "another coordinator remembers what is missing: {what}"
            ))),
            false => Ok(()),
        }
    }

    /// The journal is not the one that was read. Whoever gets the lease puts it right; if another that
    /// leads does not, it has gone on without what is remembered here.
    fn on_lost(&mut self, what: String, since: Duration) -> Result<(), Error> {
        let memory = self.memory.as_mut().expect("it was followed");
        if memory.lost.is_none() {
            error!(what, "ALARM: the journal was put back or deleted");
        }
        memory.lost = Some(what);
        match self.leadership.other_leader() {
            Some(leader) if since > PATIENCE => {
                let upto = memory.position.sequence;
                error!(
                    leader = leader.holder,
                    upto,
                    "ALARM: the leader goes on with another history; what only this standby knows is given up"
                );
                self.forget(Error::Trimmed(upto)).map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Starts over without what was read, if the journal has moved on.
    fn forget(&mut self, error: Error) -> Result<bool, Error> {
        if let Error::Trimmed(upto) = error {
            warn!(upto, "the journal begins later now; reading the snapshot");
            self.memory = None;
        }
        Err(error)
    }

    async fn announce<O: Outside<Clock = C>>(&self, outside: &O) {
        if let Some(memory) = &self.memory {
            outside.announce(self.leadership.name(), memory.position).await;
        }
    }

    /// Drops the changes that the leader has published. Not knowing it costs memory only.
    async fn forget_published<O: Outside<Clock = C>>(&mut self, outside: &O) {
        if let (Some(memory), Ok(sequence)) = (&mut self.memory, outside.told_before().await) {
            memory.published_before(sequence);
        }
    }
}
