//! While the journal cannot be written nothing can happen: questions are answered, everything else is
//! refused with the reason, and whoever asked may ask again. Reports, registrations and submissions
//! wait in their streams and at the agents; jobs run on. The first write that succeeds ends it.

use std::sync::Mutex;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windrow_common::api::resources::Alarm;
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::time::{Timestamp, wall_clock};

use super::event_loop::{Outlet, send_answer};
use super::history::History;
use super::inputs::{self, Input};
use super::journal::Error;
use super::leader::Session;
use super::leadership::Leadership;
use super::nats::NatsJournal;
use super::phases::Starting;
use crate::actor::{self, Actor, Body, Now, Reply};

/// What it takes to answer.
pub(super) struct ReadOnly<'a> {
    pub(super) actor: Actor,
    pub(super) outlet: &'a mut Outlet,
    pub(super) history: &'a History,
    pub(super) leadership: &'a Leadership,
    pub(super) stop: &'a CancellationToken,
    pub(super) epoch: Instant,
}

impl ReadOnly<'_> {
    /// Answers questions until the term is written.
    ///
    /// # Errors
    /// Another leads, the connection fails, or it is to stop.
    pub(super) async fn run(
        &mut self,
        session: &mut Session,
        starting: &mut Starting<NatsJournal>,
        reason: String,
    ) -> Result<(), Error> {
        let since = wall_clock();
        let reason = Mutex::new(reason);
        let set_reason = |new| *reason.lock().expect("nobody panics with it") = new;
        let (client, subjects) = (session.client.clone(), session.subjects.clone());
        let mut reader = tokio::task::JoinSet::new();
        let requests = inputs::read_requests(client, subjects, session.sender.clone());
        inputs::spawn(&mut reader, "requests", session.sender.clone(), requests);
        let write = starting.write_at_last(self.leadership, set_reason);
        tokio::pin!(write);
        loop {
            tokio::select! {
                written = &mut write => return written,
                () = self.stop.cancelled() => {
                    return Err(Error::Unavailable("stopping".to_owned()));
                }
                input = session.inputs.recv() => match input {
                    Some(Input::Actor(input)) => {
                        let why = reason.lock().expect("nobody panics with it").clone();
                        self.answer(input, since, &why).await;
                    }
                    Some(Input::ReaderFailed(reason)) => return Err(Error::Unavailable(reason)),
                    Some(Input::Submission(..) | Input::Loaded(..)) | None => {}
                },
            }
        }
    }

    async fn answer(&mut self, input: actor::Input, since: Timestamp, why: &str) {
        let refusal = ApiError::new(
            ErrorKind::Unavailable,
            format!("the journal cannot be written, so nothing can be changed: {why}"),
        )
        .hint("repeat it when there is space again; questions are answered meanwhile");
        let now = Now { wall: wall_clock(), monotonic: self.epoch.elapsed() };
        let Some(Reply { to, encoding, body }) = self.actor.read_only(input, &refusal, now) else {
            return;
        };
        let body = match body {
            Body::Cluster(mut statistics) => {
                let text =
                    format!("the journal cannot be written, only questions are answered: {why}");
                statistics.alarms.push(Alarm { at: since, text, ..Alarm::default() });
                Body::Cluster(statistics)
            }
            other @ (Body::Answer(_) | Body::Later(_) | Body::Shelved(_) | Body::Audit) => other,
        };
        // One that is cut off knows too little.
        if self.leadership.is_certain() {
            let reply = Reply { to, encoding, body };
            send_answer(self.outlet, self.history, self.leadership, 0, reply).await;
        }
    }
}
