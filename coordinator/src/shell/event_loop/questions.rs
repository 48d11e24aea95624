//! Questions that the state alone does not answer: the loop adds what only it knows.

use tokio::time::Instant;
use windrow_common::api::ApiError;
use windrow_common::codec::Encoding;
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::{EventLoop, resident_bytes};
use crate::scheduler::explain::Hearing;
use crate::shell::requests::{self, Question, Told};
use crate::view;
use crate::view::history::Answer;

/// Heartbeats in a row that an agent may miss before it is said to be silent.
const BEATS_MISSED_MAX: u32 = 3;

impl EventLoop {
    /// Answers.
    pub(super) fn answer(
        &self,
        question: &Question,
        encoding: Encoding,
        now: Timestamp,
    ) -> Result<Told, ApiError> {
        let instant = Instant::now();
        let silence = |agent: &Name| self.liveness.silence(agent, instant);
        let written = match question {
            Question::Agents => {
                let heard = |agent: &Name| u64::try_from(silence(agent)?.as_millis()).ok();
                encoding.write(&view::list_agents(&self.state, heard))
            }
            Question::Cluster => {
                let mut statistics = view::statistics(&self.state);
                statistics.cluster = self.outlet.cluster.to_string();
                statistics.version = env!("CARGO_PKG_VERSION").to_owned();
                statistics.journal_sequence = self.journal.position().sequence;
                statistics.memory_bytes = resident_bytes();
                encoding.write(&statistics)
            }
            Question::Plan(request) => {
                encoding.write(&view::plan_job(&self.state, &self.limits, request, now)?)
            }
            Question::Why(request) => {
                let hearing = Hearing {
                    silence: &silence,
                    late: self.heartbeat * BEATS_MISSED_MAX,
                    lease_ttl: self.liveness.ttl(),
                };
                let answer = view::explain_job(&self.state, request, now, hearing)?;
                let answer = Answer::Explained(Box::new(answer));
                return Ok(requests::now_or_later(&self.state, encoding, answer));
            }
        };
        Ok(Told::Now(written.into()))
    }
}
