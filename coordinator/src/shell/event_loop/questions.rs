//! Questions that the state alone does not answer: the loop adds what only it knows.

use bytes::Bytes;
use tokio::time::Instant;
use windrow_common::api::ApiError;
use windrow_common::codec::Encoding;
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::{EventLoop, resident_bytes};
use crate::scheduler::explain::Hearing;
use crate::shell::requests::Question;
use crate::view;

/// Heartbeats in a row that an agent may miss before it is said to be silent.
const BEATS_MISSED_MAX: u32 = 3;

impl EventLoop {
    /// Answers.
    pub(super) fn answer(
        &self,
        question: &Question,
        encoding: Encoding,
        now: Timestamp,
    ) -> Result<Bytes, ApiError> {
        let instant = Instant::now();
        let silence = |agent: &Name| self.liveness.silence(agent, instant);
        match question {
            Question::Agents => {
                let heard = |agent: &Name| u64::try_from(silence(agent)?.as_millis()).ok();
                Ok(encoding.write(&view::list_agents(&self.state, heard)).into())
            }
            Question::Cluster => {
                let mut statistics = view::statistics(&self.state);
                statistics.cluster = self.outlet.cluster.to_string();
                statistics.version = env!("CARGO_PKG_VERSION").to_owned();
                statistics.journal_sequence = self.journal.position().sequence;
                statistics.memory_bytes = resident_bytes();
                Ok(encoding.write(&statistics).into())
            }
            Question::Plan(request) => {
                let answer = view::plan_job(&self.state, &self.limits, request, now)?;
                Ok(encoding.write(&answer).into())
            }
            Question::Why(request) => {
                let hearing = Hearing {
                    silence: &silence,
                    late: self.heartbeat * BEATS_MISSED_MAX,
                    lease_ttl: self.liveness.ttl(),
                };
                let answer = view::explain_job(&self.state, request, now, hearing)?;
                Ok(encoding.write(&answer).into())
            }
        }
    }
}
