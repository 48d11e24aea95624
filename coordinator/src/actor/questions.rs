//! Questions that the state alone does not answer: the actor adds what only it knows.

use windrow_common::api::ApiError;
use windrow_common::codec::Encoding;
use windrow_common::ids::Name;

use super::requests::{self, Question, Told};
use super::{Actor, Now};
use crate::scheduler::explain::Hearing;
use crate::view;
use crate::view::history::{Answer, Shelved};

/// Heartbeats in a row that an agent may miss before it is said to be silent.
const BEATS_MISSED_MAX: u32 = 3;

impl Actor {
    /// Answers.
    pub(super) fn answer(
        &self,
        question: &Question,
        encoding: Encoding,
        now: Now,
    ) -> Result<Told, ApiError> {
        let silence = |agent: &Name| self.liveness.silence(agent, now.monotonic);
        let written = match question {
            Question::Agents => {
                let heard = |agent: &Name| view::Heard {
                    before_millis: silence(agent).and_then(|s| u64::try_from(s.as_millis()).ok()),
                    skew_millis: self.liveness.skew_millis(agent),
                };
                encoding.write(&view::list_agents(&self.state, heard))
            }
            Question::Cluster => {
                let mut statistics = view::statistics(&self.state);
                statistics.cluster = self.settings.subjects.prefix().to_string();
                statistics.version = env!("CARGO_PKG_VERSION").to_owned();
                return Ok(Told::Cluster(Box::new(statistics)));
            }
            Question::Plan(request) => encoding.write(&view::plan_job(
                &self.state,
                &self.settings.limits,
                request,
                now.wall,
            )?),
            Question::Why(request) => {
                let hearing = Hearing {
                    silence: &silence,
                    late: self.settings.heartbeat * BEATS_MISSED_MAX,
                    lease_ttl: self.liveness.ttl(),
                };
                if let Some(question) = Shelved::explain(&self.state, request, now.wall) {
                    return Ok(Told::Shelved(Box::new(question)));
                }
                let answer = view::explain_job(&self.state, request, now.wall, hearing)?;
                let answer = Answer::Explained(Box::new(answer));
                return Ok(requests::now_or_later(&self.state, encoding, answer));
            }
        };
        Ok(Told::Now(written.into()))
    }
}
