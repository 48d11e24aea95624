//! The forms for programs. Keys and times are those of the API; `schemaVersion` is added.

use serde::Serialize;
use serde_json::{Value, json};

/// Version of the shape of JSON output; rises when a key changes its meaning or goes away.
const SCHEMA_VERSION: u32 = 1;

/// The JSON value of an answer.
pub(super) fn value(response: &impl Serialize) -> Value {
    serde_json::to_value(response).expect("API types have a JSON form")
}

/// One document, indented, with `schemaVersion`.
pub(super) fn document(answer: &Value) -> String {
    let text = serde_json::to_string_pretty(&versioned(answer));
    text.expect("a JSON value has a text") + "\n"
}

/// One line for each thing in the list `key`, or one line for an answer about one thing.
pub(super) fn lines(answer: &Value, key: Option<&str>) -> String {
    let one = std::slice::from_ref(answer);
    let things = key.and_then(|key| answer[key].as_array()).map_or(one, Vec::as_slice);
    things.iter().map(|thing| format!("{}\n", versioned(thing))).collect()
}

fn versioned(answer: &Value) -> Value {
    let mut versioned = json!({ "schemaVersion": SCHEMA_VERSION });
    if let (Some(all), Some(more)) = (versioned.as_object_mut(), answer.as_object()) {
        all.extend(more.clone());
    }
    versioned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lines_carry_the_version() {
        let answer = json!({"jobs": [{"jobId": "a"}, {"jobId": "b"}]});
        let document: Value = serde_json::from_str(&document(&answer)).unwrap();
        assert_eq!(document["schemaVersion"], 1);
        assert_eq!(document["jobs"][1]["jobId"], "b");
        let lines = lines(&answer, Some("jobs"));
        let read: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(read[0], json!({"schemaVersion": 1, "jobId": "a"}));
        assert_eq!(read.len(), 2);
        assert_eq!(super::lines(&json!({}), None).lines().count(), 1);
    }
}
