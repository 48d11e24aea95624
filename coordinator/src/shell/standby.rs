//! Standing by: follows the journal, so that the state is warm when the lease becomes free.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};
use windrow_common::ids::Name;

use super::election::Role;
use super::event_stream;
use super::inputs::Input;
use super::journal::Error;
use super::journal::follow::{Follower, tail};
use super::leader::{Coordinator, Session};
use super::memory::Memory;

/// How often a standby says that it is there, and looks whether silence is right.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a journal that is not the one remembered is left to its leader, who can put it right.
const PATIENCE: Duration = Duration::from_secs(15);

impl Coordinator<'_> {
    /// Stands by until this coordinator has the lease; `false` when it is to stop.
    pub(super) async fn stand_by(&mut self, session: &mut Session) -> Result<bool, Error> {
        self.remember(session).await?;
        let mut role = self.leadership.watch();
        let mut follower = Follower::new(session.streams.journal.clone());
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost_since = None;
        let name: Option<Name> = self.leadership.name().parse().ok();
        let subject = name.map(|name| session.subjects.standby(&name));
        info!(name = self.leadership.name(), "ready to take over");
        loop {
            let memory = self.memory.as_mut().expect("remembered above");
            self.leadership.set_ready(Some((memory.state.term, memory.position)));
            let (is_lost, at) = (memory.lost.is_some(), memory.position);
            if *role.borrow_and_update() == Role::Leader {
                return Ok(true);
            }
            tokio::select! {
                _ = role.changed() => {}
                () = self.stop.cancelled() => return Ok(false),
                input = session.inputs.recv() => {
                    if let Some(Input::ReaderFailed(reason)) = input {
                        return Err(Error::Unavailable(reason));
                    }
                }
                next = follower.next(at), if !is_lost => match next {
                    Ok((entry, position)) => memory.take(&entry, position, true),
                    // It may have been put back: looked at before anything else is thought of it.
                    Err(e @ Error::Damaged(_)) => match tail(&session.streams.journal, at).await {
                        Ok(_) => return Err(e),
                        Err(Error::RolledBack(what)) => memory.lost = Some(what),
                        Err(other) => return self.forget(other),
                    },
                    Err(e) => return Err(e),
                },
                _ = tick.tick() => {
                    let looked = match is_lost {
                        true => tail(&session.streams.journal, at).await.map(drop),
                        false => follower.look_behind(at).await,
                    };
                    match looked {
                        Ok(()) => (memory.lost, lost_since) = (None, None),
                        Err(Error::RolledBack(what)) => {
                            let since = *lost_since.get_or_insert_with(Instant::now);
                            self.on_lost(what, since)?;
                        }
                        Err(other) => return self.forget(other),
                    }
                    self.look_around(session, subject.as_deref()).await;
                }
            }
        }
    }

    /// Sees to it that there is a memory that the journal agrees with, or one that has what it lost.
    async fn remember(&mut self, session: &Session) -> Result<(), Error> {
        let streams = &session.streams;
        if let Some(memory) = &mut self.memory {
            match tail(&streams.journal, memory.position).await {
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
            let (bucket, journal) = (&streams.snapshots, &streams.journal);
            let mut memory = Memory::load(bucket, journal, None, self.recover).await?;
            // Events are published after the journal has what they follow from.
            let told = event_stream::published_before(&streams.events).await?;
            let last = memory.position.sequence;
            if told > last && memory.lost.is_none() {
                let what = format!(
                    "its last message is {last}, and events tell of message {told}: messages {} to {told} are gone",
                    last + 1
                );
                match self.recover {
                    true => memory.lost = Some(what),
                    false => return Err(Error::Damaged(what)),
                }
            }
            self.memory = Some(memory);
        }
        Ok(())
    }

    /// The journal is not the one that was read. Whoever gets the lease puts it right; if another that
    /// leads does not, it has gone on without what is remembered here.
    fn on_lost(&mut self, what: String, since: Instant) -> Result<(), Error> {
        let memory = self.memory.as_mut().expect("it was followed");
        if memory.lost.is_none() {
            error!(what, "ALARM: the journal was put back or deleted");
        }
        memory.lost = Some(what);
        match self.leadership.other_leader() {
            Some(leader) if since.elapsed() > PATIENCE => {
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

    /// Says that it is there, and drops the changes that the leader has published.
    async fn look_around(&mut self, session: &Session, subject: Option<&str>) {
        if let Some(subject) = subject {
            session.client.publish(subject.to_owned(), Default::default()).await.ok();
        }
        // Not knowing it costs memory only.
        if let (Some(memory), Ok(sequence)) =
            (&mut self.memory, event_stream::published_before(&session.streams.events).await)
        {
            memory.published_before(sequence);
        }
    }
}
