//! Jobs published to the submission stream: a SubmitJob in JSON or MessagePack on `P.submit.QUEUE`.

use async_nats::HeaderMap;
use async_nats::Subject;
use async_nats::jetstream;
use windrow_common::api::ApiError;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::codec::Encoding;
use windrow_common::ids::JobId;
use windrow_common::streams::HEADER_REPLY_TO;
use windrow_common::time::Timestamp;

use super::{DeadLetter, EventLoop, Reply};
use crate::core::{Answer, Command};
use crate::shell::inputs::encoding;
use crate::shell::requests;

impl EventLoop {
    pub(super) fn on_submission(&mut self, message: jetstream::Message, now: Timestamp) {
        let sequence = match message.info() {
            Ok(info) => info.stream_sequence,
            // Not from the stream: there is nothing to acknowledge.
            Err(_) => return,
        };
        let queue = self.outlet.subjects.parse_submit(&message.subject).unwrap_or_default();
        let request = read(queue, message.headers.as_ref(), &message.payload);
        let answer = match request {
            Ok(request) => {
                let request = Box::new(request);
                let id = JobId::generate();
                self.decide(&Command::SubmitFromStream { sequence, id, request }, now)
            }
            Err(error) => self
                .decide(&Command::SubmissionUnreadable { sequence }, now)
                .map(|_| Answer::Refused(error)),
        };
        self.answer_submission(&message, answer);
        self.turn.acknowledge.push(message);
    }

    fn answer_submission(
        &mut self,
        message: &jetstream::Message,
        answer: Result<Answer, ApiError>,
    ) {
        let result = match answer {
            Ok(Answer::Refused(error)) | Err(error) => {
                self.turn.dead.push(DeadLetter {
                    source: "submit",
                    subject: message.subject.to_string(),
                    payload: message.payload.clone(),
                    reason: error.message.clone(),
                });
                Err(error)
            }
            Ok(answer) => Ok(requests::write_answer(Encoding::Json, &answer)),
        };
        let reply_to = message.headers.as_ref().and_then(|h| h.get(HEADER_REPLY_TO));
        let valid = reply_to.map(|to| to.as_str()).filter(|to| is_plain_subject(to));
        if let Some(to) = valid {
            let to = Subject::from(to.to_owned());
            self.turn.replies.push(Reply { to, encoding: Encoding::Json, result });
        }
    }
}

/// A subject we may publish to: no wildcards, no empty tokens, nothing of the server's own.
fn is_plain_subject(subject: &str) -> bool {
    let token = |t: &str| !t.is_empty() && t != "*" && t != ">" && !t.contains(char::is_whitespace);
    subject.len() <= 256 && !subject.starts_with('$') && subject.split('.').all(token)
}

fn read(queue: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> Result<SubmitJob, ApiError> {
    let mut request: SubmitJob = requests::read("SubmitJob", encoding(headers), payload)?;
    if request.job_queue.is_empty() {
        queue.clone_into(&mut request.job_queue);
    } else if crate::core::arn::plain(&request.job_queue) != queue {
        let named: String = request.job_queue.chars().take(200).collect();
        return Err(ApiError::invalid(format!(
            "jobQueue `{named}` in the message differs from queue `{queue}` in its subject"
        )));
    }
    if request.idempotency_key.is_none() {
        let id = headers.and_then(|h| h.get("Nats-Msg-Id"));
        request.idempotency_key = id.map(|id| id.as_str().to_owned());
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_comes_from_the_subject_and_the_key_from_the_message_id() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "abc");
        let request = read("q", Some(&headers), br#"{"jobName":"a"}"#).unwrap();
        assert_eq!(
            (request.job_queue.as_str(), request.idempotency_key.as_deref()),
            ("q", Some("abc"))
        );
        headers.insert("Content-Type", "application/msgpack");
        let packed = windrow_common::codec::to_msgpack(&request);
        assert_eq!(read("q", Some(&headers), &packed).unwrap(), request);
        assert!(read("q", Some(&headers), br#"{"jobName":"a"}"#).is_err());
        assert!(read("q", None, br#"{"jobQueue":"other"}"#).is_err());
        assert!(read("q", None, b"\xff").is_err());
        assert!(read("q", None, br#"{"jobNam":"a"}"#).unwrap_err().message.contains("jobNam"));
    }

    #[test]
    fn replies_go_to_plain_subjects_only() {
        assert!(is_plain_subject("_INBOX.abc.1"));
        for bad in ["", "a..b", "a.*", "a.>", "$JS.API.STREAM.DELETE.X", "a b"] {
            assert!(!is_plain_subject(bad), "{bad}");
        }
    }
}
