//! Jobs of several containers.

use serde_json::json;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Architecture;
use windrow_common::wire::container::Condition;

use super::{refusal, resolved, task, with};

#[test]
fn several_containers_become_one_task() {
    let definition = task(
        json!([
            {"name": "main", "command": ["echo", "Ref::x"], "stopTimeout": 5,
                "dependsOn": [{"containerName": "setup", "condition": "SUCCESS"}],
                "mountPoints": [{"sourceVolume": "shared", "containerPath": "/s"}]},
            {"name": "setup", "essential": false, "command": ["Ref::x"]},
        ]),
        json!({"volumes": [{"name": "shared"}], "ipcMode": "task", "pidMode": "host", "networkMode": "host",
            "runtimePlatform": {"cpuArchitecture": "X86_64"}, "taskRoleArn": "arn"}),
    );
    let overrides = json!([{"name": "setup", "command": ["other", "Ref::x"],
        "environment": [{"name": "A", "value": "1"}],
        "resourceRequirements": [{"type": "MEMORY", "value": "1024"}, {"type": "GPU", "value": "1"}]}]);
    let request = json!({"parameters": {"x": "y"},
        "ecsPropertiesOverride": {"taskProperties": [{"containers": overrides}]}});
    let spec = resolved(&definition, request).unwrap();
    assert_eq!(spec.resources, Resources::new(1000, 1536).with_gpu(1), "the sum of both");
    let [main, setup] = &*spec.task.containers else { panic!("two containers") };
    assert_eq!(main.depends_on, [("setup".to_owned(), Condition::Success)]);
    assert_eq!(
        (&*main.command, main.stop_timeout_seconds),
        (&["echo".into(), "y".into()][..], Some(5))
    );
    assert_eq!(setup.command, ["other", "y"]);
    assert_eq!(setup.environment, [("A".to_owned(), "1".to_owned())]);
    assert!(main.essential && !setup.essential && spec.task.host_network);
    assert_eq!(spec.architecture, Some(Architecture::X86_64));
}

#[test]
fn several_containers_that_cannot_be_are_refused() {
    let on = |name: &str, condition: &str| json!([{"containerName": name, "condition": condition}]);
    let main = json!({"name": "main"});
    for (containers, settings, part) in [
        (json!([]), json!({}), "1 to 100 containers, got 0"),
        (json!([{"name": "a"}, {"name": "a"}]), json!({}), "two containers are named `a`"),
        (json!([{}, {}]), json!({}), "two containers are named `default`"),
        (json!([{"name": "a b"}]), json!({}), "the name of a container"),
        (
            json!([{"name": "a", "essential": false}]),
            json!({}),
            "at least one container must be essential",
        ),
        (json!([{"name": "a", "image": ""}]), json!({}), "container `a`: image is required"),
        (
            json!([{"name": "a", "resourceRequirements": []}]),
            json!({}),
            "container `a`: vCPU is not provided.",
        ),
        (
            json!([main, {"name": "a", "dependsOn": on("main", "COMPLETE")}]),
            json!({}),
            "not essential, `main` is",
        ),
        (
            json!([main, {"name": "a", "dependsOn": on("none", "START")}]),
            json!({}),
            "no other container named `none`",
        ),
        (
            json!([{"name": "a", "dependsOn": on("a", "START")}]),
            json!({}),
            "no other container named `a`",
        ),
        (
            json!([main, {"name": "a", "dependsOn": on("main", "READY")}]),
            json!({}),
            "START, COMPLETE, SUCCESS or HEALTHY",
        ),
        (
            json!([{"name": "a", "dependsOn": on("b", "START")}, {"name": "b", "dependsOn": on("a", "START")}]),
            json!({}),
            "in a circle",
        ),
        (json!([{"name": "a", "startTimeout": 1}]), json!({}), "startTimeout must be at least 2"),
        (
            json!([{"name": "a", "firelensConfiguration": {"type": "fluentd"}}]),
            json!({}),
            "firelensConfiguration",
        ),
        (json!([main]), json!({"ipcMode": "all"}), "ipcMode is host, task or none"),
        (json!([main]), json!({"pidMode": "none"}), "pidMode is host or task"),
        (json!([main]), json!({"networkMode": "awsvpc"}), "networkMode is host"),
        (
            json!([main]),
            json!({"platformVersion": "LATEST"}),
            "platformVersion not applicable for EC2.",
        ),
    ] {
        let message = refusal(&task(containers.clone(), settings));
        assert!(message.contains(part), "{containers}: {message}");
    }
    let two = json!({"ecsProperties": {"taskProperties": [{}, {}]}});
    let two = with(json!({"type": "container"}), &two);
    assert!(refusal(&serde_json::from_value(two).unwrap()).contains("one element, got 2"));
}
