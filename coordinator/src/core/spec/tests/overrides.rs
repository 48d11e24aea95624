//! What a submission changes of its definition.

use proptest::prelude::*;
use serde_json::{Value, json};
use windrow_common::api::definitions::ContainerProperties;
use windrow_common::units::Resources;

use super::{definition, needs, resolved, task};
use crate::core::spec::*;

#[test]
fn overrides_that_do_not_fit_the_definition_are_refused() {
    let one = definition(json!({"command": ["x"]}), json!({}));
    let several = task(json!([{"name": "a"}]), json!({}));
    let ecs = |containers: Value| json!({"ecsPropertiesOverride": {"taskProperties": [{"containers": containers}]}});
    for (definition, request, part) in [
        (&one, ecs(json!([])), "needs a job definition with ecsProperties"),
        (
            &several,
            json!({"containerOverrides": {"command": ["x"]}}),
            "needs a job definition with containerProperties",
        ),
        (&several, ecs(json!([{"name": "b"}])), "no container named `b`"),
        (&several, ecs(json!([{"name": "a"}, {"name": "a"}])), "names the container `a` twice"),
        (
            &several,
            json!({"ecsPropertiesOverride": {"taskProperties": [{}, {}]}}),
            "one element, got 2",
        ),
        (
            &one,
            json!({"containerOverrides": {"command": ["a", ""]}}),
            "Command field cannot have empty strings",
        ),
        (
            &one,
            json!({"containerOverrides": {"vcpus": 2}}),
            "does not override resourceRequirements of type VCPU",
        ),
        (&one, json!({"containerOverrides": {"instanceType": "c5"}}), "multi-node"),
        (
            &one,
            json!({"containerOverrides": {"environment": [{"name": "AWS_BATCH_A"}]}}),
            "reserved",
        ),
        (&one, json!({"eksPropertiesOverride": {"podProperties": {}}}), "Kubernetes"),
    ] {
        let message = resolved(definition, request.clone()).unwrap_err().message;
        assert!(message.contains(part), "{request}: {message}");
    }
}

#[test]
fn the_older_form_of_needs_is_overridden_by_either_form() {
    let older =
        definition(json!({"resourceRequirements": [], "vcpus": 1, "memory": 64}), json!({}));
    let run = |overrides: Value| {
        let spec = resolved(&older, json!({"containerOverrides": overrides})).unwrap();
        let Workload::Container(container) = spec.workload else { panic!("one container") };
        (spec.resources, container.vcpus, container.memory)
    };
    assert_eq!(run(json!({})), (Resources::new(1000, 64), Some(1), Some(64)));
    assert_eq!(run(json!({"vcpus": 2, "memory": 8})), (Resources::new(2000, 8), Some(2), Some(8)));
    let newer = json!({"resourceRequirements": [{"type": "VCPU", "value": "0.5"}]});
    assert_eq!(
        run(newer),
        (Resources::new(500, 64), None, Some(64)),
        "what is shown is what holds"
    );
}

#[test]
fn the_requests_timeout_and_retries_replace_the_definitions_wholly() {
    let definition = definition(
        json!({}),
        json!({"timeout": {"attemptDurationSeconds": 9}, "retryStrategy": {"attempts": 3,
            "evaluateOnExit": [{"onExitCode": "1", "action": "EXIT"}]}}),
    );
    let spec =
        resolved(&definition, json!({"retryStrategy": {"attempts": 2}, "timeout": {}})).unwrap();
    assert_eq!((spec.timeout_seconds, spec.retry.attempts_max), (None, 2));
    assert!(spec.retry.to_api().evaluate_on_exit.is_empty());
    let limits = Limits::aws();
    let error = resolve(&definition, &SubmitJob::default(), &limits).unwrap_err();
    assert_eq!(error.message, "timeout.attemptDurationSeconds must be at least 60, got 9");
}

fn overrides() -> impl Strategy<Value = SubmitJob> {
    let command = prop::collection::vec("[a-c]", 0..3);
    let pairs = prop::collection::vec(("[A-C]", "[x-z]?"), 0..4);
    let needs = prop::collection::vec(
        (prop::sample::select(vec!["VCPU", "MEMORY", "GPU"]), 4..9_u32),
        0..4,
    );
    let older = (prop::option::of(1..3_u32), prop::option::of(4..9_u32));
    (command, pairs, needs, older).prop_map(|(command, pairs, needs, (vcpus, memory))| {
        let mut overrides = json!({
            "command": command,
            "environment": pairs.iter().map(|(n, v)| json!({"name": n, "value": v})).collect::<Vec<_>>(),
            "resourceRequirements":
                needs.iter().map(|(k, v)| json!({"type": k, "value": v.to_string()})).collect::<Vec<_>>(),
        });
        if let Some(vcpus) = vcpus {
            overrides["vcpus"] = json!(vcpus);
        }
        if let Some(memory) = memory {
            overrides["memory"] = json!(memory);
        }
        serde_json::from_value(json!({"containerOverrides": overrides})).unwrap()
    })
}

fn base() -> impl Strategy<Value = Workload> {
    let older = json!({"vcpus": 1, "memory": 4, "environment": [{"name": "A", "value": "x"}]});
    let newer = json!({"resourceRequirements": needs("1", "4"), "command": ["x"]});
    let read =
        |value: &Value| serde_json::from_value::<ContainerProperties>(value.clone()).unwrap();
    prop::sample::select(vec![read(&older), read(&newer), ContainerProperties::default()])
        .prop_map(|container| Workload::Container(container.into()))
}

proptest! {
    #[test]
    fn the_same_overrides_a_second_time_change_nothing(base in base(), request in overrides()) {
        let once = merge::merge(base, &request, Platform::Ec2);
        if let Ok(once) = once {
            let twice = merge::merge(once.clone(), &request, Platform::Ec2).unwrap();
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn no_settings_panic(text in "\\PC{0,12}", number in any::<u32>()) {
        let definition = definition(
            json!({"user": text, "image": text, "resourceRequirements": needs(&text, &number.to_string()),
                "secrets": [{"name": text, "valueFrom": text}], "command": ["Ref::", text],
                "ulimits": [{"name": "core", "softLimit": number, "hardLimit": -1}]}),
            json!({"platformCapabilities": [text]}),
        );
        let _ = resolved(&definition, json!({}));
    }
}
