//! Between AWS's form of a request or answer and ours. Pure.
//!
//! Requests keep their members: those that are ours work over HTTP as well. Answers lose what AWS's model
//! does not have, as some clients refuse what they do not know.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value};

use crate::error::AwsError;
use crate::operations::{Operation, Repeat};
use crate::routes::Route;

/// Headers that hold a submission's idempotency key.
const KEY_HEADERS: [&str; 2] = ["x-windrow-idempotency-key", "idempotency-key"];
/// SDKs give each call an id, which is the same when they send it again.
const INVOCATION_HEADER: &str = "amz-sdk-invocation-id";

/// A request as the cluster takes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) content: Value,
    /// Whether the client, when it sends the same again, sends the same key with it.
    pub(crate) is_repeatable: bool,
}

/// Makes a request of what came. `principal` tells callers' own keys apart; `fresh` is for a request
/// that has no key.
///
/// # Errors
/// The body is not a JSON object; there are two different keys.
pub(crate) fn request(
    route: &Route,
    headers: &HeaderMap,
    body: &[u8],
    principal: &str,
    fresh: &str,
) -> Result<Request, AwsError> {
    let mut content = object(body)?;
    if let Some(arn) = &route.resource_arn {
        content.insert("resourceArn".to_owned(), arn.as_str().into());
    }
    if !route.tag_keys.is_empty() {
        content.insert("tagKeys".to_owned(), route.tag_keys.clone().into());
    }
    let invocation = header(headers, INVOCATION_HEADER)?;
    let is_repeatable = match route.operation.repeat {
        Repeat::Safe => true,
        Repeat::Never => false,
        Repeat::Key => {
            let given = key(headers, &content)?;
            let is_repeatable = given.is_some() || invocation.is_some();
            let key = given.unwrap_or_else(|| match invocation {
                Some(invocation) => format!("sdk:{principal}:{invocation}"),
                None => format!("http:{fresh}"),
            });
            // What is not text stays, to be refused.
            if content.get("idempotencyKey").is_none_or(Value::is_string) {
                content.insert("idempotencyKey".to_owned(), key.into());
            }
            is_repeatable
        }
        Repeat::Token => {
            let is_given = content.get("clientToken").is_some_and(|token| token != "");
            if !is_given {
                let token = invocation.unwrap_or(fresh);
                content.insert("clientToken".to_owned(), token.into());
            }
            is_given || invocation.is_some()
        }
    };
    Ok(Request { content: Value::Object(content), is_repeatable })
}

/// The body's members. No body is an empty object; a member that is null is absent.
fn object(body: &[u8]) -> Result<Map<String, Value>, AwsError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut members)) => {
            drop_nulls(&mut members);
            Ok(members)
        }
        Ok(_) => Err(AwsError::serialization("the body must be a JSON object")),
        Err(error) => Err(AwsError::serialization(format!("the body is not JSON: {error}"))),
    }
}

fn drop_nulls(members: &mut Map<String, Value>) {
    members.retain(|_, value| !value.is_null());
    members.values_mut().for_each(drop_nulls_within);
}

fn drop_nulls_within(value: &mut Value) {
    match value {
        Value::Object(members) => drop_nulls(members),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls_within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The key that the caller gave, in a header or in the body.
fn key(headers: &HeaderMap, content: &Map<String, Value>) -> Result<Option<String>, AwsError> {
    let mut keys = Vec::new();
    for name in KEY_HEADERS {
        keys.extend(header(headers, name)?);
    }
    keys.extend(content.get("idempotencyKey").and_then(Value::as_str));
    keys.retain(|key| !key.is_empty());
    keys.dedup();
    match keys[..] {
        [] => Ok(None),
        [key] => Ok(Some(key.to_owned())),
        [first, second, ..] => Err(AwsError::client(format!(
            "SubmitJob: two idempotency keys, `{first}` and `{second}`"
        ))
        .hint("give one of them")),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AwsError> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| AwsError::client(format!("header `{name}` is not ASCII text")))
}

/// Members of answers that are ours, with the operations in whose answers they are, at any depth.
const OURS: &[(&[&str], &[&str])] = &[
    (
        &["DescribeJobs"],
        &[
            "rerunOf",
            "quotaShareName",
            "preemptionConfiguration",
            "preemptionSummary",
            "maxParallel",
            "logBytes",
            "backoff",
            "workingDirectory",
            "condition",
        ],
    ),
    (&["DescribeJobDefinitions"], &["backoff", "workingDirectory"]),
    (&["ListJobs"], &["jobQueue", "waitCode", "maxParallel"]),
    (&["DescribeJobQueues"], &["activeJobs"]),
    (&["DescribeComputeEnvironments"], &["agents", "totalMilliCpu", "disconnect"]),
    (&["DescribeQuotaShare"], &["used"]),
    (&["ListQuotaShares"], &["used", "tags"]),
    (&["ListJobsByConsumableResource"], &["inUseQuantity"]),
];

/// Members whose own members are named by users.
const USERS_OWN: [&str; 4] = ["tags", "parameters", "options", "labels"];

/// An answer as AWS's model has it.
pub(crate) fn response(operation: Operation, answer: Bytes) -> Bytes {
    let is_of = |(operations, _): &&(&[&str], &[&str])| operations.contains(&operation.name);
    let Some((_, ours)) = OURS.iter().find(is_of) else { return answer };
    let Ok(mut value) = serde_json::from_slice::<Value>(&answer) else { return answer };
    remove(&mut value, ours);
    Bytes::from(value.to_string())
}

fn remove(value: &mut Value, ours: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !ours.contains(&name.as_str()));
            let rest = members.iter_mut().filter(|(name, _)| !USERS_OWN.contains(&name.as_str()));
            rest.for_each(|(_, value)| remove(value, ours));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, ours)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::routes;

    fn submit(headers: &[(&'static str, &'static str)], body: &str) -> Result<Request, AwsError> {
        let route = routes::find(&Method::POST, "/v1/submitjob", None).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        request(&route, &map, body.as_bytes(), "alice", "fresh")
    }

    #[test]
    fn a_submission_that_an_sdk_sends_again_has_the_same_key() {
        let first = submit(&[(INVOCATION_HEADER, "one")], r#"{"jobName": "a"}"#).unwrap();
        assert_eq!(first.content, json!({"jobName": "a", "idempotencyKey": "sdk:alice:one"}));
        assert!(first.is_repeatable);
        let bare = submit(&[], "{}").unwrap();
        assert_eq!(bare.content["idempotencyKey"], "http:fresh");
        assert!(!bare.is_repeatable);
    }

    #[test]
    fn a_key_of_the_callers_own_wins_and_two_are_refused() {
        let headers = [(INVOCATION_HEADER, "one"), ("idempotency-key", "mine")];
        assert_eq!(submit(&headers, "{}").unwrap().content["idempotencyKey"], "mine");
        assert!(submit(&headers, r#"{"idempotencyKey": "mine"}"#).is_ok());
        let error = submit(&headers, r#"{"idempotencyKey": "other"}"#).unwrap_err();
        assert!(error.message.contains("`mine`") && error.message.contains("`other`"));
    }

    #[test]
    fn a_key_that_is_not_text_stays_to_be_refused() {
        assert_eq!(submit(&[], r#"{"idempotencyKey": 7}"#).unwrap().content["idempotencyKey"], 7);
        let route = routes::find(&Method::POST, "/v1/submitservicejob", None).unwrap();
        let token = |body: &[u8]| {
            let read = request(&route, &HeaderMap::new(), body, "alice", "fresh").unwrap();
            read.content["clientToken"].clone()
        };
        assert_eq!(token(br#"{"clientToken": 7}"#), 7);
        assert_eq!(token(br#"{"clientToken": ""}"#), "fresh");
    }

    #[test]
    fn null_is_absent_and_no_body_is_an_empty_object() {
        let read = |body: &str| Value::Object(object(body.as_bytes()).unwrap());
        assert_eq!(read(" \n"), json!({}));
        assert_eq!(read(r#"{"a": null, "b": [{"c": null}]}"#), json!({"b": [{}]}));
        for wrong in ["[]", "1", "{", "\u{feff}{}", "{}x"] {
            let error = object(wrong.as_bytes()).unwrap_err();
            assert_eq!((error.status, error.code), (400, "SerializationException"), "{wrong}");
        }
        assert!(object("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_ours_is_not_shown_but_what_users_named_is() {
        let operation = Operation::find("ListJobs").unwrap();
        let answer = json!({"jobSummaryList": [
            {"jobQueue": "q", "jobId": "1", "tags": {"jobQueue": "mine"}, "waitCode": "CAPACITY"}
        ]});
        let shown: Value =
            serde_json::from_slice(&response(operation, answer.to_string().into())).unwrap();
        let expected = json!({"jobSummaryList": [{"jobId": "1", "tags": {"jobQueue": "mine"}}]});
        assert_eq!(shown, expected);
    }
    /// A request as text, of which a byte was perhaps changed, or the end is missing.
    fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 32, 6, |inner| {
            let members =
                prop::collection::btree_map("[a-zA-Z]{0,12}|idempotencyKey", inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        (value, any::<prop::sample::Index>(), any::<u8>(), 0..4u8).prop_map(
            |(value, at, byte, how)| {
                let mut text = value.to_string().into_bytes();
                let at = at.index(text.len());
                match how {
                    0 => text[at] = byte,
                    1 => text.truncate(at),
                    _ => {}
                }
                text
            },
        )
    }

    fn has_null(value: &Value) -> bool {
        match value {
            Value::Object(members) => {
                members.values().any(|value| value.is_null() || has_null(value))
            }
            Value::Array(items) => items.iter().any(has_null),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    proptest! {
        #[test]
        fn any_body_is_an_object_or_refused(
            body in prop_oneof![nearly_json(), prop::collection::vec(any::<u8>(), 0..200)],
            name in "submitjob|canceljob|listjobs|createjobqueue|submitservicejob",
        ) {
            let route = routes::find(&Method::POST, &format!("/v1/{name}"), None).unwrap();
            match request(&route, &HeaderMap::new(), &body, "alice", "fresh") {
                Ok(read) => {
                    prop_assert!(read.content.is_object() && !has_null(&read.content));
                    // Characters may come escaped, and numbers in another form.
                    prop_assert!(read.content.to_string().len() <= 24 * body.len() + 100);
                }
                Err(error) => prop_assert_eq!(error.status, 400),
            }
        }
    }
}
