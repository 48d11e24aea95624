//! Jobs published to the submission stream: a SubmitJob in JSON or MessagePack on `P.submit.QUEUE`.

use windrow_common::api::ApiError;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::codec::Encoding;
use windrow_common::time::Timestamp;

use super::{Actor, Body, DeadLetter, Input, Load, Reply, Submission, requests};
use crate::core::{Answer, Command};

impl Actor {
    pub(super) fn on_submission(
        &mut self,
        submission: Box<Submission>,
        now: Timestamp,
        is_loaded: bool,
    ) {
        let (sequence, published) = (submission.sequence, submission.published);
        let queue = self.settings.subjects.parse_submit(&submission.subject).unwrap_or_default();
        let answer = match read(queue, &submission) {
            Ok(request) => {
                let request = Box::new(request);
                let id = (self.new_id)();
                let command = Command::SubmitFromStream { sequence, published, id, request };
                let pages = match is_loaded {
                    false => self.pages_for(&command.jobs(&self.state)),
                    true => Vec::new(),
                };
                if !pages.is_empty() {
                    self.turn.loads.push(Load { pages, then: Input::Submission(submission) });
                    return;
                }
                self.decide(&command, now)
            }
            Err(error) => self
                .decide(&Command::SubmissionUnreadable { sequence, published }, now)
                .map(|_| Answer::Refused(error)),
        };
        self.answer_submission(*submission, answer);
    }

    fn answer_submission(&mut self, submission: Submission, answer: Result<Answer, ApiError>) {
        let result = match answer {
            Ok(Answer::Refused(error)) | Err(error) => {
                self.turn.dead.push(DeadLetter {
                    source: "submit",
                    subject: submission.subject,
                    payload: submission.payload,
                    reason: error.message.clone(),
                });
                Err(error)
            }
            Ok(answer) => Ok(requests::write_answer(Encoding::Json, &answer)),
        };
        if let Some(to) = submission.reply_to.filter(|to| is_plain_subject(to)) {
            let body = Body::Answer(result);
            self.turn.replies.push(Reply { to, encoding: Encoding::Json, body });
        }
    }
}

/// A subject we may publish to: no wildcards, no empty tokens, nothing of the server's own.
fn is_plain_subject(subject: &str) -> bool {
    let token = |t: &str| !t.is_empty() && t != "*" && t != ">" && !t.contains(char::is_whitespace);
    subject.len() <= 256 && !subject.starts_with('$') && subject.split('.').all(token)
}

fn read(queue: &str, submission: &Submission) -> Result<SubmitJob, ApiError> {
    let Submission { encoding, payload, .. } = submission;
    let mut request: SubmitJob = requests::read("SubmitJob", *encoding, payload)?;
    if request.job_queue.is_empty() {
        queue.clone_into(&mut request.job_queue);
    } else if crate::core::arn::plain(&request.job_queue) != queue {
        let named: String = request.job_queue.chars().take(200).collect();
        return Err(ApiError::invalid(format!(
            "jobQueue `{named}` in the message differs from queue `{queue}` in its subject"
        )));
    }
    if request.idempotency_key.is_none() {
        request.idempotency_key.clone_from(&submission.message_id);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8], message_id: Option<&str>) -> Submission {
        Submission {
            published: Timestamp(0),
            sequence: 1,
            subject: String::new(),
            payload: payload.to_vec().into(),
            encoding: Encoding::Json,
            message_id: message_id.map(str::to_owned),
            reply_to: None,
        }
    }

    #[test]
    fn the_queue_comes_from_the_subject_and_the_key_from_the_message_id() {
        let request = read("q", &message(br#"{"jobName":"a"}"#, Some("abc"))).unwrap();
        assert_eq!(
            (request.job_queue.as_str(), request.idempotency_key.as_deref()),
            ("q", Some("abc"))
        );
        let packed = message(&windrow_common::codec::to_msgpack(&request), Some("abc"));
        let packed = Submission { encoding: Encoding::MessagePack, ..packed };
        assert_eq!(read("q", &packed).unwrap(), request);
        let packed = Submission { payload: br#"{"jobName":"a"}"#.to_vec().into(), ..packed };
        assert!(read("q", &packed).is_err());
        assert!(read("q", &message(br#"{"jobQueue":"other"}"#, None)).is_err());
        assert!(read("q", &message(b"\xff", None)).is_err());
        let error = read("q", &message(br#"{"jobNam":"a"}"#, None)).unwrap_err();
        assert!(error.message.contains("jobNam"));
    }

    #[test]
    fn replies_go_to_plain_subjects_only() {
        assert!(is_plain_subject("_INBOX.abc.1"));
        for bad in ["", "a..b", "a.*", "a.>", "$JS.API.STREAM.DELETE.X", "a b"] {
            assert!(!is_plain_subject(bad), "{bad}");
        }
    }
}
