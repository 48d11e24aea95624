//! Members of CloudWatch Logs' requests. Pure.

use serde_json::{Map, Value};

use super::page::{EVENTS_MAX, Times};
use super::{GROUP, invalid, not_found};
use crate::error::AwsError;

/// A request's members.
#[derive(Clone, Debug)]
pub(super) struct Request {
    members: Map<String, Value>,
}

impl Request {
    /// Reads a body. No body is a request without members.
    pub(super) fn parse(body: &[u8]) -> Result<Self, AwsError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { members: Map::new() });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members }),
            Ok(_) => Err(AwsError::serialization("the body must be a JSON object")),
            Err(error) => Err(AwsError::serialization(format!("the body is not JSON: {error}"))),
        }
    }

    /// A member that is there and not null.
    fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text, not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, AwsError> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(invalid(format!(
                "1 validation error detected: Value '' at '{name}' failed to satisfy constraint: Member must \
                 have length greater than or equal to 1"
            ))),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(invalid(format!("'{name}' must be a string, got `{other}`"))),
        }
    }

    /// A text that may be empty.
    pub(super) fn any_text(&self, name: &str) -> Result<&str, AwsError> {
        match self.member(name) {
            Some(Value::String(text)) if text.is_empty() => Ok(""),
            _ => Ok(self.text(name)?.unwrap_or_default()),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, AwsError> {
        self.text(name)?.ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must \
                 not be null"
            ))
        })
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, AwsError> {
        match self.member(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(invalid(format!("'{name}' must be true or false, got `{other}`"))),
        }
    }

    /// A time in milliseconds since the epoch.
    fn time(&self, name: &str) -> Result<Option<i64>, AwsError> {
        let Some(value) = self.member(name) else { return Ok(None) };
        match value.as_i64() {
            Some(time) if time >= 0 => Ok(Some(time)),
            Some(_) | None => Err(invalid(format!(
                "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member \
                 must have value greater than or equal to 0"
            ))),
        }
    }

    pub(super) fn times(&self) -> Result<Times, AwsError> {
        let times = Times { start: self.time("startTime")?, end: self.time("endTime")? };
        match (times.start, times.end) {
            (Some(start), Some(end)) if start > end => {
                Err(invalid(format!("endTime {end} must not be before startTime {start}")))
            }
            _ => Ok(times),
        }
    }

    /// How many are wanted at most; without the member, `max`.
    pub(super) fn limit(&self, max: usize) -> Result<usize, AwsError> {
        let Some(value) = self.member("limit") else { return Ok(max) };
        let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
        match limit {
            Some(limit) if (1..=max).contains(&limit) => Ok(limit),
            Some(_) | None => {
                let (bound, end) = match value.as_f64() {
                    Some(number) if number > 1.0 => ("less", max),
                    Some(_) | None => ("greater", 1),
                };
                Err(invalid(format!(
                    "1 validation error detected: Value '{value}' at 'limit' failed to satisfy constraint: \
                     Member must have value {bound} than or equal to {end}"
                )))
            }
        }
    }

    /// As many events as are wanted.
    pub(super) fn events_limit(&self) -> Result<usize, AwsError> {
        self.limit(EVENTS_MAX)
    }

    /// Texts, at least one and at most `max` if any.
    pub(super) fn texts(&self, name: &str, max: usize) -> Result<Option<Vec<&str>>, AwsError> {
        let wrong = |what: String| {
            invalid(format!("'{name}' must be a list of 1 to {max} strings, {what}"))
        };
        match self.member(name) {
            None => Ok(None),
            Some(Value::Array(items)) if (1..=max).contains(&items.len()) => {
                let text = |item: &'_ Value| item.as_str().is_some_and(|text| !text.is_empty());
                if let Some(item) = items.iter().find(|item| !text(item)) {
                    return Err(wrong(format!("got `{item}` in it")));
                }
                Ok(Some(items.iter().filter_map(Value::as_str).collect()))
            }
            Some(Value::Array(items)) => Err(wrong(format!("got {}", items.len()))),
            Some(other) => Err(wrong(format!("got `{other}`"))),
        }
    }

    /// Checks that the request is about the only group there is.
    pub(super) fn check_group(&self) -> Result<(), AwsError> {
        let name = match (self.text("logGroupName")?, self.text("logGroupIdentifier")?) {
            (Some(name), None) => name,
            (None, Some(identifier)) => group_name(identifier),
            (Some(_), Some(_)) => {
                return Err(invalid("give logGroupName or logGroupIdentifier, not both"));
            }
            (None, None) => return Err(invalid("give logGroupName or logGroupIdentifier")),
        };
        if name == GROUP { Ok(()) } else { Err(not_found("group")) }
    }
}

/// The name in a group's ARN, or the name.
pub(super) fn group_name(identifier: &str) -> &str {
    match identifier.split_once(":log-group:") {
        Some((_, name)) => name.strip_suffix(":*").unwrap_or(name),
        None => identifier,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(members: Value) -> Request {
        Request::parse(members.to_string().as_bytes()).unwrap()
    }

    fn code<T>(result: Result<T, AwsError>) -> &'static str {
        result.err().map_or("", |error| error.code)
    }

    #[test]
    fn the_group_is_named_one_way_and_must_be_ours() {
        let arn = "arn:aws:logs:local:000000000000:log-group:/aws/batch/job";
        for members in [
            json!({"logGroupName": GROUP}),
            json!({"logGroupIdentifier": GROUP}),
            json!({"logGroupIdentifier": arn}),
            json!({"logGroupIdentifier": format!("{arn}:*"), "logGroupName": null}),
        ] {
            assert_eq!(request(members.clone()).check_group(), Ok(()), "{members}");
        }
        let other = request(json!({"logGroupName": "/other"})).check_group().unwrap_err();
        assert_eq!(other.code, "ResourceNotFoundException");
        assert_eq!(other.message, "The specified log group does not exist.");
        let both = json!({"logGroupName": GROUP, "logGroupIdentifier": arn});
        for members in [both, json!({}), json!({"logGroupName": ""}), json!({"logGroupName": 3})] {
            assert_eq!(code(request(members).check_group()), "InvalidParameterException");
        }
    }

    #[test]
    fn members_out_of_bounds_are_refused() {
        let wrong =
            request(json!({"limit": 0, "startTime": -1, "flag": "yes", "many": [], "odd": [1]}));
        assert_eq!(code(wrong.limit(50)), "InvalidParameterException");
        assert_eq!(code(wrong.times()), "InvalidParameterException");
        assert_eq!(code(wrong.flag("flag")), "InvalidParameterException");
        assert_eq!(code(wrong.texts("many", 3)), "InvalidParameterException");
        assert_eq!(code(wrong.texts("odd", 3)), "InvalidParameterException");
        assert_eq!(code(wrong.required("missing")), "InvalidParameterException");
        assert_eq!(code(request(json!({"limit": 51})).limit(50)), "InvalidParameterException");
        assert_eq!(code(request(json!({"limit": "5"})).limit(50)), "InvalidParameterException");
        let reversed = request(json!({"startTime": 5, "endTime": 4}));
        assert_eq!(code(reversed.times()), "InvalidParameterException");
        assert_eq!(code(Request::parse(b"[]")), "SerializationException");
        assert_eq!(code(Request::parse(b"{")), "SerializationException");
    }

    #[test]
    fn members_are_read() {
        let good = request(json!({"limit": 50, "flag": true, "texts": ["a", "b"], "pattern": ""}));
        assert_eq!(good.limit(50), Ok(50));
        assert_eq!(request(json!({})).limit(50), Ok(50));
        assert_eq!(good.flag("flag"), Ok(true));
        assert_eq!(good.texts("texts", 2), Ok(Some(vec!["a", "b"])));
        assert_eq!(good.any_text("pattern"), Ok(""));
        assert_eq!(good.any_text("missing"), Ok(""));
    }
}
