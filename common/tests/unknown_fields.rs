//! Nothing that a request says is dropped: a field that is not known is refused, at every depth.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::jobs::SubmitJob;

/// Objects that are maps of the user's own keys, or refused as a whole whatever they hold.
const OPEN: [&str; 5] = ["parameters", "tags", "options", "eksProperties", "eksPropertiesOverride"];

fn container() -> Value {
    json!({
        "environment": [{"name": "A"}], "secrets": [{"name": "S"}],
        "resourceRequirements": [{"type": "GPU"}], "ulimits": [{"name": "core"}],
        "mountPoints": [{"sourceVolume": "v"}], "repositoryCredentials": {},
        "linuxParameters": {"devices": [{"hostPath": "/d"}], "tmpfs": [{"size": 1}]},
        "logConfiguration": {"options": {"a": "b"}, "secretOptions": [{"name": "S"}]},
    })
}

fn task() -> Value {
    let mut one = container();
    one["dependsOn"] = json!([{"condition": "START"}]);
    one["firelensConfiguration"] = json!({"options": {"a": "b"}});
    let volumes = json!([{
        "host": {}, "efsVolumeConfiguration": {"authorizationConfig": {}},
        "s3filesVolumeConfiguration": {}}]);
    json!({"taskProperties": [{
        "containers": [one], "volumes": volumes, "ephemeralStorage": {"sizeInGiB": 30},
        "networkConfiguration": {}, "runtimePlatform": {}}]})
}

fn definition() -> Value {
    let mut single = container();
    single["fargatePlatformConfiguration"] = json!({});
    let strategy = json!({"evaluateOnExit": [{"action": "EXIT"}]});
    let consumables = json!({"consumableResourceList": [{"quantity": 1}]});
    json!({
        "containerProperties": single, "ecsProperties": task(), "eksProperties": {"podProperties": {}},
        "parameters": {"a": "b"}, "tags": {"a": "b"}, "timeout": {}, "retryStrategy": strategy,
        "consumableResourceProperties": consumables,
    })
}

fn submission() -> Value {
    let overrides = json!({
        "environment": [{"name": "A"}], "resourceRequirements": [{"type": "GPU"}]});
    let containers = json!([overrides]);
    json!({
        "containerOverrides": overrides, "arrayProperties": {}, "dependsOn": [{"jobId": "x"}],
        "ecsPropertiesOverride": {"taskProperties": [{"containers": containers}]},
        "eksPropertiesOverride": {"podProperties": {}}, "parameters": {"a": "b"}, "timeout": {},
    })
}

/// Pointers to all objects within a value but those that are open.
fn objects(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.to_owned());
            let closed = fields.iter().filter(|(key, _)| !OPEN.contains(&key.as_str()));
            closed.for_each(|(key, value)| objects(value, &format!("{path}/{key}"), found));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn every_object_refuses_an_unknown_field<T: DeserializeOwned>(whole: &Value, least: usize) {
    assert!(serde_json::from_value::<T>(whole.clone()).is_ok());
    let mut paths = Vec::new();
    objects(whole, "", &mut paths);
    assert!(paths.len() >= least, "{paths:?}");
    for path in paths {
        let mut changed = whole.clone();
        changed.pointer_mut(&path).unwrap()["noSuchField"] = json!(1);
        let error = serde_json::from_value::<T>(changed).err();
        let error = error.unwrap_or_else(|| panic!("{path} takes a field that is not known"));
        assert!(error.to_string().contains("noSuchField"), "{path}: {error}");
    }
}

#[test]
fn unknown_fields_of_definitions_are_refused() {
    every_object_refuses_an_unknown_field::<RegisterJobDefinition>(&definition(), 40);
}

#[test]
fn unknown_fields_of_submissions_are_refused() {
    every_object_refuses_an_unknown_field::<SubmitJob>(&submission(), 12);
}
