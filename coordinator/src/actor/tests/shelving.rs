//! Finished jobs leave the state page by page, and come back when something names them.

use std::sync::Arc;

use super::*;
use crate::actor::Submission;
use crate::actor::archiving::Batch;
use crate::core::shelf::{PageId, Record};

/// Five jobs that were cancelled, of which two stay; and the page with the three others.
fn shelved() -> (Story, Vec<String>, PageId, Arc<Vec<Record>>) {
    let mut story = Story::new();
    story.cluster();
    // It keeps the one agent.
    story.submit();
    let request = r#"{"jobName":"j","jobQueue":"q","jobDefinition":"d"}"#;
    let ids: Vec<String> = (0..5)
        .map(|_| story.ask("SubmitJob", request)["jobId"].as_str().unwrap().to_owned())
        .collect();
    // All in one turn, so that one page has all that are too many.
    let cancel = |id: &String| Input::Request {
        operation: "CancelJob".into(),
        payload: format!(r#"{{"jobId":"{id}","reason":"r"}}"#).into(),
        encoding: Encoding::Json,
        reply: None,
    };
    let turn = story.actor.turn(ids.iter().map(cancel).collect::<Vec<_>>(), story.now);
    let effects = story.actor.stored(turn, story.now);
    let Some(Batch::Page(page, records)) = effects.to_history else { panic!("{effects:?}") };
    assert_eq!(records.len(), 3);
    let effects = story.turn(Input::Tick);
    assert!(effects.to_history.is_none(), "one at a time");
    assert_eq!(story.actor.state().jobs.len(), 6, "not before it is stored");
    story.turn(Input::PageStored(page, records.clone()));
    assert_eq!(story.actor.state().jobs.len(), 3);
    (story, ids, page, records)
}

#[test]
fn a_request_that_names_a_shelved_job_waits_until_it_is_loaded() {
    let (mut story, ids, page, records) = shelved();
    let mut effects = story.turn(Input::Request {
        operation: "RerunJob".into(),
        payload: format!(r#"{{"jobId":"{}"}}"#, ids[0]).into(),
        encoding: Encoding::Json,
        reply: Some("inbox".into()),
    });
    assert!(effects.replies.is_empty());
    let load = effects.loads.remove(0);
    assert_eq!(load.pages, [(page, vec![ids[0].parse().unwrap()])]);
    let records = records.iter().filter(|record| record.id.to_string() == ids[0]).cloned();
    let then = Box::new(load.then);
    let effects = story.turn(Input::Loaded { records: records.collect(), then });
    let Body::Answer(Ok(answer)) = &effects.replies[0].body else { panic!("{effects:?}") };
    assert!(String::from_utf8_lossy(answer).contains("jobId"), "{answer:?}");
    // Too many again, now that it is back.
    assert!(matches!(effects.to_history, Some(Batch::Page(..))), "{effects:?}");
}

#[test]
fn a_submission_that_waits_for_a_shelved_job_waits_too() {
    let (mut story, ids, ..) = shelved();
    let depends_on = format!(r#"[{{"jobId":"{}"}}]"#, ids[1]);
    let payload = format!(r#"{{"jobName":"j","jobDefinition":"d","dependsOn":{depends_on}}}"#);
    let submission = Submission {
        sequence: 7,
        published: Timestamp(1_000_000),
        subject: "c.submit.q".into(),
        payload: payload.into(),
        encoding: Encoding::Json,
        message_id: None,
        reply_to: Some("inbox".into()),
    };
    let effects = story.turn(Input::Submission(Box::new(submission.clone())));
    assert_eq!(effects.loads[0].submission(), Some(7));
    assert!(effects.dead.is_empty() && !story.actor.state().submissions.contains(&7));
    // The history has lost it: the submission is told so.
    let then = Box::new(Input::Submission(Box::new(submission)));
    let effects = story.turn(Input::Loaded { records: Vec::new(), then });
    assert!(effects.dead[0].reason.contains("does not exist"), "{effects:?}");
    assert!(story.actor.state().submissions.contains(&7));
}

#[test]
fn a_question_about_a_shelved_job_is_answered_from_its_page() {
    let (mut story, ids, page, records) = shelved();
    let mut effects = story.turn(Input::Request {
        operation: "DescribeJobs".into(),
        payload: format!(r#"{{"jobs":["{}","{}"]}}"#, ids[4], ids[2]).into(),
        encoding: Encoding::Json,
        reply: Some("inbox".into()),
    });
    let Body::Shelved(mut question) = effects.replies.remove(0).body else { panic!() };
    assert_eq!(question.next_page(), Some(page));
    question.take(Some(records.to_vec()));
    assert_eq!(question.next_page(), None);
    let answer = question.answer().unwrap().finish(Vec::new());
    let answer = requests::write_about(Encoding::Json, &answer);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["jobs"][0]["jobId"], ids[4].as_str());
    assert_eq!(answer["jobs"][1]["statusReason"], "r");
}
