//! Takes out of documents and texts what may be secret, so that they can be shown to others: values of
//! environment variables and parameters, arguments of commands, whatever is named like a secret, and
//! credentials in addresses.

use serde_json::Value;

/// Stands where something was taken out.
pub(crate) const REDACTED: &str = "[redacted]";
/// What names of secrets contain, in lower case without separators.
const SECRET_WORDS: [&str; 6] =
    ["secret", "password", "token", "credential", "privatekey", "accesskey"];

/// Redacts an answer of the API.
pub(crate) fn value(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => {
            for (key, field) in fields {
                match key.as_str() {
                    "environment" => each_value_of_pairs(field),
                    "command" => arguments(field),
                    "parameters" => leaves(field),
                    name if is_secret(name) => leaves(field),
                    _ => self::value(field),
                }
            }
        }
        Value::String(text) => *text = addresses(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let name = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// All texts and numbers, however deep.
fn leaves(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(leaves),
        Value::Object(fields) => fields.values_mut().for_each(leaves),
        Value::String(_) | Value::Number(_) => *value = REDACTED.into(),
        Value::Null | Value::Bool(_) => {}
    }
}

/// `[{"name": ..., "value": ...}]`: the names stay.
fn each_value_of_pairs(pairs: &mut Value) {
    for pair in pairs.as_array_mut().into_iter().flatten() {
        if let Some(value) = pair.get_mut("value") {
            leaves(value);
        }
    }
}

/// The program stays.
fn arguments(command: &mut Value) {
    command.as_array_mut().into_iter().flatten().skip(1).for_each(leaves);
}

/// Redacts a log or a configuration, line by line.
pub(crate) fn text(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    for line in text.lines() {
        redacted.push_str(&setting(&addresses(line)));
        redacted.push('\n');
    }
    redacted
}

/// `password: x`, `token = "x"`: the name stays.
fn setting(line: &str) -> String {
    let Some((name, value)) = line.split_once([':', '=']) else { return line.to_owned() };
    let is_name = name.trim().chars().all(|c| c.is_alphanumeric() || "._-\"".contains(c));
    if is_name && is_secret(name) && !value.trim().is_empty() {
        let separator = &line[name.len()..=name.len()];
        return format!("{name}{separator} {REDACTED}");
    }
    line.to_owned()
}

/// `nats://user:password@host`: the host stays.
fn addresses(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        redacted.push_str(before);
        let is_end = |c: char| c.is_whitespace() || "/\"'`,;<>".contains(c);
        let end = after.find(is_end).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                redacted.push_str(REDACTED);
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_secret_goes_and_what_explains_stays() {
        let mut job = json!({
            "jobName": "a",
            "container": {
                "command": ["train", "--key", "CANARY"],
                "environment": [{ "name": "KEY", "value": "CANARY" }],
                "secrets": [{ "name": "DB", "valueFrom": "file:/CANARY" }],
                "logConfiguration": { "options": { "splunk-token": "CANARY", "tag": "t" } },
            },
            "parameters": { "input": "CANARY", "deep": { "er": ["CANARY", 7] } },
            "retryStrategy": { "attempts": 3 },
            "note": "see nats://me:CANARY@host:4222/x and nats://CANARY@h",
        });
        value(&mut job);
        let shown = job.to_string();
        assert!(!shown.contains("CANARY") && !shown.contains('7'), "{shown}");
        assert_eq!(job["container"]["command"][0], "train");
        assert_eq!(job["container"]["environment"][0]["name"], "KEY");
        assert_eq!(job["container"]["logConfiguration"]["options"]["tag"], "t");
        assert_eq!(job["retryStrategy"]["attempts"], 3);
        assert_eq!(job["note"], "see nats://[redacted]@host:4222/x and nats://[redacted]@h");
    }

    #[test]
    fn logs_and_configurations_lose_their_secrets_only() {
        let log = "INFO connected to nats://u:CANARY@h:4222, nats://h2\n  password: CANARY\n\
                   token = \"CANARY\"\nlisten: \"127.0.0.1:4222\"\nINFO token: read from a file";
        let shown = text(log);
        assert!(!shown.contains("CANARY"), "{shown}");
        assert!(shown.contains("listen: \"127.0.0.1:4222\"") && shown.contains("nats://h2"));
        assert!(shown.contains("  password: [redacted]\ntoken = [redacted]\n"), "{shown}");
        assert!(shown.contains("INFO token: read from a file"), "{shown}");
    }
}
