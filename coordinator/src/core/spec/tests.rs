//! Rules of definitions and overrides, one by one.

mod overrides;
mod tasks;

use serde_json::{Value, json};
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Architecture, Executor};
use windrow_common::wire::container::{Mount, VolumeSource};

use super::*;

/// `base` with the fields of `changes` over it.
fn with(mut base: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

fn needs(vcpus: &str, memory: &str) -> Value {
    json!([{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": memory}])
}

/// A definition of one container of an image, with these settings and these fields beside them.
fn definition(container: Value, beside: Value) -> RegisterJobDefinition {
    let base = json!({"image": "busybox", "resourceRequirements": needs("1", "2048")});
    let properties = with(base, &container);
    let whole =
        json!({"jobDefinitionName": "d", "type": "container", "containerProperties": properties});
    serde_json::from_value(with(whole, &beside)).unwrap()
}

/// A definition of several containers, each with an image and needs if it says nothing else.
fn task(containers: Value, settings: Value) -> RegisterJobDefinition {
    let containers = containers.as_array().unwrap().iter().map(|one| {
        with(json!({"image": "busybox", "resourceRequirements": needs("0.5", "512")}), one)
    });
    let task = with(json!({"containers": containers.collect::<Vec<_>>()}), &settings);
    let whole = json!({"type": "container", "ecsProperties": {"taskProperties": [task]}});
    serde_json::from_value(whole).unwrap()
}

fn resolved(definition: &RegisterJobDefinition, request: Value) -> Result<JobSpec, ApiError> {
    let request: SubmitJob = serde_json::from_value(request).unwrap();
    check_definition(definition, &Limits::default())?;
    resolve(definition, &request, &Limits::default())
}

fn refusal(definition: &RegisterJobDefinition) -> String {
    check_definition(definition, &Limits::default()).unwrap_err().message
}

#[test]
fn every_setting_of_a_container_reaches_the_task() {
    let definition = definition(
        json!({
            "command": ["run", "Ref::input"],
            "user": "1000:users", "privileged": true, "readonlyRootFilesystem": true,
            "environment": [{"name": "A", "value": ""}],
            "secrets": [{"name": "S", "valueFrom": "env:TOKEN"}, {"name": "F", "valueFrom": "file:/run/s"}],
            "resourceRequirements": [
                {"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "64"}, {"type": "GPU", "value": "2"}],
            "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": -1}],
            "volumes": [
                {"name": "host", "host": {"sourcePath": "/srv"}}, {"name": "own", "host": {}},
                {"name": "nfs", "efsVolumeConfiguration": {"fileSystemId": "nas.example", "rootDirectory": "/a"}}],
            "mountPoints": [
                {"sourceVolume": "host", "containerPath": "/h", "readOnly": true},
                {"sourceVolume": "nfs", "containerPath": "/n"}],
            "linuxParameters": {
                "initProcessEnabled": true, "sharedMemorySize": 64, "maxSwap": 8, "swappiness": 10,
                "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec"]}],
                "devices": [{"hostPath": "/dev/fuse", "permissions": ["READ"]}]},
            "logConfiguration": {"logDriver": "syslog", "options": {"tag": "x"}},
            "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
            "jobRoleArn": "arn:aws:iam::1:role/r", "workingDirectory": "/w"
        }),
        json!({"parameters": {"input": "a"}, "timeout": {"attemptDurationSeconds": 5}}),
    );
    let spec = resolved(&definition, json!({"parameters": {"input": "b"}})).unwrap();
    let [container] = &*spec.task.containers else { panic!("one container") };
    assert_eq!(container.command, ["run", "b"]);
    assert_eq!(spec.resources, Resources::new(250, 64).with_gpu(2));
    assert_eq!((spec.executor, spec.architecture), (Executor::Docker, Some(Architecture::Arm64)));
    assert_eq!(spec.timeout_seconds, Some(5));
    assert_eq!(container.user.as_deref(), Some("1000:users"));
    assert_eq!(container.working_directory.as_deref(), Some("/w"));
    assert!(container.privileged && container.readonly_root && container.essential);
    assert_eq!(container.environment, [("A".to_owned(), String::new())]);
    assert_eq!(container.secrets[1].from, "file:/run/s");
    assert_eq!((container.ulimits[0].soft, container.ulimits[0].hard), (10, -1));
    assert_eq!(spec.task.volumes[0].source, VolumeSource::Host("/srv".into()));
    assert_eq!(spec.task.volumes[1].source, VolumeSource::Shared);
    let VolumeSource::Nfs { server, path, .. } = &spec.task.volumes[2].source else { panic!() };
    assert_eq!((server.as_str(), path.as_str()), ("nas.example", "/a"));
    let nfs = Mount { volume: "nfs".into(), target: "/n".into(), read_only: false };
    assert_eq!(container.mounts[1], nfs);
    let linux = &container.linux;
    assert_eq!((linux.init, linux.shared_memory_mib), (Some(true), Some(64)));
    assert_eq!((linux.max_swap_mib, linux.swappiness), (Some(8), Some(10)));
    assert_eq!((linux.tmpfs[0].size_mib, &*linux.tmpfs[0].options[0]), (1, "noexec"));
    let device = &linux.devices[0];
    assert_eq!((device.target.as_str(), device.read, device.write), ("/dev/fuse", true, false));
    assert_eq!(container.log_driver.as_ref().unwrap().name, "syslog");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let secret = |from: &str| json!({"secrets": [{"name": "S", "valueFrom": from}]});
    for (settings, part) in [
        (json!({"resourceRequirements": []}), "vCPU is not provided."),
        (
            json!({"resourceRequirements": [{"type": "VCPU", "value": "1"}]}),
            "Memory is not provided.",
        ),
        (json!({"resourceRequirements": needs("x", "4")}), "VCPU must be"),
        (json!({"resourceRequirements": needs("1", "3")}), "at least 4 MiB, got 3"),
        (json!({"resourceRequirements": needs("1", "4.5")}), "MEMORY must be"),
        (json!({"resourceRequirements": [{"type": "GPU", "value": "0.5"}]}), "GPU must be"),
        (json!({"resourceRequirements": [{"type": "DISK", "value": "1"}]}), "VCPU, MEMORY or GPU"),
        (json!({"vcpus": 2}), "vcpus and resourceRequirements say different things"),
        (json!({"image": "white space"}), "container image"),
        (json!({"user": "a b"}), "User 'a b' does not match regex"),
        (json!({"user": "a:b:c"}), "does not match regex"),
        (json!({"environment": [{"name": "AWS_BATCH_X"}]}), "reserved"),
        (json!({"environment": [{"name": "a=b"}]}), "must not be empty or contain"),
        (secret("arn:aws:secretsmanager:eu-west-1:1:secret:x"), "env:NAME"),
        (secret("file:relative"), "env:NAME"),
        (
            json!({"secrets": [{"name": "A", "valueFrom": "env:A"}, {"name": "A", "valueFrom": "env:B"}]}),
            "another variable",
        ),
    ] {
        let message = refusal(&definition(settings.clone(), json!({})));
        assert!(message.contains(part), "{settings}: {message}");
    }
}

#[test]
fn surroundings_that_cannot_be_are_refused() {
    let volume = |what: Value| json!({"volumes": [with(json!({"name": "v"}), &what)]});
    let efs = |what: Value| {
        volume(json!({"efsVolumeConfiguration": with(json!({"fileSystemId": "fs-1"}), &what)}))
    };
    for (settings, part) in [
        (
            json!({"ulimits": [{"name": "files", "softLimit": 1, "hardLimit": 1}]}),
            "no ulimit `files`",
        ),
        (
            json!({"ulimits": [{"name": "core", "softLimit": 2, "hardLimit": 1}]}),
            "at most hardLimit",
        ),
        (json!({"linuxParameters": {"swappiness": 101}}), "from 0 to 100"),
        (json!({"linuxParameters": {"devices": [{"hostPath": "fuse"}]}}), "hostPath"),
        (
            json!({"linuxParameters": {"devices": [{"hostPath": "/dev/x", "permissions": ["RW"]}]}}),
            "READ, WRITE or MKNOD",
        ),
        (
            json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}}),
            "at least 1 MiB",
        ),
        (
            json!({"mountPoints": [{"sourceVolume": "no", "containerPath": "/x"}]}),
            "no volume named `no`",
        ),
        (volume(json!({"host": {"sourcePath": "relative"}})), "absolute path"),
        (volume(json!({"name": "a b"})), "name of a volume"),
        (
            volume(json!({"s3filesVolumeConfiguration": {"fileSystemArn": "arn"}})),
            "s3filesVolumeConfiguration",
        ),
        (efs(json!({"transitEncryption": "ENABLED"})), "plain NFS"),
        (efs(json!({"authorizationConfig": {"accessPointId": "fsap-1"}})), "plain NFS"),
        (efs(json!({"rootDirectory": "x"})), "rootDirectory"),
        (json!({"logConfiguration": {"logDriver": "awsfirelens"}}), "log driver `awsfirelens`"),
        (
            json!({"logConfiguration": {"logDriver": "syslog", "secretOptions": [{"name": "a", "valueFrom": "b"}]}}),
            "secretOptions",
        ),
        (
            json!({"repositoryCredentials": {"credentialsParameter": "arn"}}),
            "repositoryCredentials",
        ),
        (json!({"instanceType": "c5.large"}), "multi-node"),
        (
            json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2019_CORE"}}),
            "must be LINUX",
        ),
        (json!({"runtimePlatform": {"cpuArchitecture": "SPARC"}}), "X86_64 or ARM64"),
        (
            json!({"networkConfiguration": {"assignPublicIp": "ENABLED"}}),
            "networkConfiguration not applicable for EC2.",
        ),
        (
            json!({"ephemeralStorage": {"sizeInGiB": 30}}),
            "ephemeralStorage not applicable for EC2.",
        ),
        (
            json!({"fargatePlatformConfiguration": {"platformVersion": "LATEST"}}),
            "not applicable for EC2.",
        ),
    ] {
        let message = refusal(&definition(settings.clone(), json!({})));
        assert!(message.contains(part), "{settings}: {message}");
    }
}

#[test]
fn a_definition_has_one_kind_of_properties() {
    let pods = definition(json!({}), json!({"eksProperties": {"podProperties": {}}}));
    assert!(refusal(&pods).contains("Kubernetes"));
    let two = definition(json!({}), json!({"ecsProperties": {"taskProperties": []}}));
    assert!(refusal(&two).contains("not both"));
    assert!(refusal(&RegisterJobDefinition::default()).contains("needs containerProperties"));
    let unknown = definition(json!({}), json!({"platformCapabilities": ["LAMBDA"]}));
    assert!(refusal(&unknown).contains("EC2, FARGATE or MANAGED_INSTANCES"));
}

#[test]
fn empty_settings_are_absent_ones() {
    let empty = definition(
        json!({
            "user": "", "volumes": [], "mountPoints": [], "ulimits": [], "secrets": [], "environment": [],
            "linuxParameters": {"devices": [], "tmpfs": []}, "networkConfiguration": {},
            "runtimePlatform": {}, "repositoryCredentials": {}, "instanceType": ""
        }),
        json!({"eksProperties": {}}),
    );
    assert!(
        resolved(&empty, json!({"eksPropertiesOverride": {}, "ecsPropertiesOverride": {}})).is_ok()
    );
}

#[test]
fn a_plain_process_is_refused_what_only_a_container_has() {
    let process = |changes: Value| {
        let settings = with(json!({"image": "", "command": ["true"]}), &changes);
        definition(settings, json!({}))
    };
    let limits = json!({"user": "nobody", "ulimits": [{"name": "core", "softLimit": 0, "hardLimit": 0}],
        "secrets": [{"name": "S", "valueFrom": "env:S"}], "logConfiguration": {"logDriver": "awslogs"}});
    let spec = resolved(&process(limits), json!({})).unwrap();
    assert_eq!(spec.executor, Executor::Process);
    for (changes, field) in [
        (json!({"privileged": true}), "privileged"),
        (json!({"readonlyRootFilesystem": true}), "readonlyRootFilesystem"),
        (json!({"volumes": [{"name": "v"}]}), "volumes"),
        (json!({"linuxParameters": {"initProcessEnabled": true}}), "linuxParameters"),
        (json!({"logConfiguration": {"logDriver": "journald"}}), "logConfiguration"),
    ] {
        let message = refusal(&process(changes));
        assert!(message.contains(field) && message.contains("needs an image"), "{message}");
    }
    let late = definition(json!({"image": "", "command": []}), json!({}));
    assert!(
        check_definition(&late, &Limits::default()).is_ok(),
        "a submission may bring a command"
    );
    assert!(resolved(&late, json!({})).unwrap_err().message.contains("needs a command"));
}

#[test]
fn fargate_definitions_obey_fargates_rules() {
    let fargate =
        |settings: Value| definition(settings, json!({"platformCapabilities": ["FARGATE"]}));
    let size = |vcpus, memory| fargate(json!({"resourceRequirements": needs(vcpus, memory)}));
    for (vcpus, memory) in [
        ("0.25", "512"),
        ("0.5", "4096"),
        ("1", "8192"),
        ("4", "30720"),
        ("16", "122880"),
        ("32", "249856"),
    ] {
        assert!(resolved(&size(vcpus, memory), json!({})).is_ok(), "{vcpus} {memory}");
    }
    for (vcpus, memory, part) in [
        ("0.3", "512", "VCPU for Fargate"),
        ("0.25", "1536", "512, 1024, 2048"),
        ("8", "17408", "MEMORY for Fargate"),
    ] {
        let message = refusal(&size(vcpus, memory));
        assert!(message.contains(part), "{message}");
    }
    for (settings, message) in [
        (
            json!({"vcpus": 1}),
            "vcpus is not applicable for Fargate. Use resource requirements instead.",
        ),
        (json!({"privileged": true}), "privileged is not applicable for Fargate."),
        (
            json!({"ulimits": [{"name": "core", "softLimit": 0, "hardLimit": 0}]}),
            "ulimits is not applicable for Fargate.",
        ),
        (
            json!({"linuxParameters": {"sharedMemorySize": 8}}),
            "linuxParameters other than initProcessEnabled is not applicable for Fargate.",
        ),
        (
            json!({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]}),
            "volumes.host.sourcePath is not applicable for Fargate.",
        ),
        (
            json!({"ephemeralStorage": {"sizeInGiB": 20}}),
            "ephemeralStorage.sizeInGiB must be from 21 to 200, got 20",
        ),
        (
            json!({"fargatePlatformConfiguration": {"platformVersion": "1.3.0"},
            "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}),
            "EFS is supported for Fargate platform version 1.4.0",
        ),
    ] {
        assert_eq!(refusal(&fargate(settings)), message);
    }
    let fine = fargate(json!({
        "linuxParameters": {"initProcessEnabled": true, "devices": []}, "ephemeralStorage": {"sizeInGiB": 21},
        "networkConfiguration": {"assignPublicIp": "ENABLED"}, "volumes": [{"name": "v"}],
    }));
    let error = resolved(&fine, json!({"containerOverrides": {"vcpus": 1}})).unwrap_err();
    assert_eq!(
        error.message,
        "vcpus is not applicable for Fargate. Use resource requirements instead."
    );
    assert!(resolved(&fine, json!({})).is_ok());
}
