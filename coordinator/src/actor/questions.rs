//! Questions that the state alone does not answer: the actor adds what only it knows.

use windrow_common::api::ApiError;
use windrow_common::codec::Encoding;
use windrow_common::ids::Name;

use super::requests::{self, Asked, Question, Told};
use super::{Actor, Body, Input, Now, Reply};
use crate::scheduler::explain::Hearing;
use crate::view;
use crate::view::history::{Answer, Shelved};

/// Heartbeats in a row that an agent may miss before it is said to be silent.
const BEATS_MISSED_MAX: u32 = 3;

impl Actor {
    /// Answers a question without a turn; a request that would change something is refused with this.
    /// Whatever else arrives is dropped: its sender repeats it.
    pub fn read_only(&mut self, input: Input, refusal: &ApiError, now: Now) -> Option<Reply> {
        let Input::Request { operation, payload, encoding, reply: Some(to) } = input else {
            return None;
        };
        let (state, new_id) = (&self.state, &mut self.new_id);
        let asked = requests::ask(state, &operation, encoding, &payload, now.wall, new_id);
        let told = match asked {
            Ok(Asked::Command(_)) => Err(refusal.clone()),
            Ok(Asked::Told(told)) => Ok(told),
            Ok(Asked::Question(question)) => self.answer(&question, encoding, now),
            Err(refused) => Err(refused),
        };
        Some(Reply { to, encoding, body: Body::from(told) })
    }

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
            Question::Audit => return Ok(Told::Audit),
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
