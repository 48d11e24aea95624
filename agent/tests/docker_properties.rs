//! Properties of containers, each with its effect in a real engine.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene shall fail")]

#[path = "support/docker.rs"]
mod support;

use std::fs;

use support::{IMAGE_WITH_COMMAND, World, shell, skipped};
use windrow_agent::executor::StopSignal;
use windrow_common::wire::container::{
    ContainerSpec, Device, LinuxParameters, LogDriver, Secret, Tmpfs, Ulimit,
};
use windrow_common::wire::lease::{IpcMode, PidMode, TaskSpec};

fn linux(linux: LinuxParameters, script: &str) -> ContainerSpec {
    ContainerSpec { linux, ..shell(script) }
}

#[tokio::test]
async fn an_image_brings_its_command_and_keeps_its_entry_point() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let of = |command: &[&str]| ContainerSpec {
        image: Some(IMAGE_WITH_COMMAND.to_owned()),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..shell("")
    };
    let (own, given) = (world.start(of(&[])).await, world.start(of(&["given"])).await);
    assert_eq!(world.exit(own).await, (0, false));
    assert_eq!(world.exit(given).await, (0, false));
    assert_eq!(world.log(own), "entry own command\n");
    assert_eq!(world.log(given), "entry given\n");
}

#[tokio::test]
async fn limits_and_file_systems_are_as_asked() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let parameters = LinuxParameters {
        init: Some(false),
        shared_memory_mib: Some(7),
        tmpfs: vec![Tmpfs { target: "/t".into(), size_mib: 3, options: vec!["noexec".into()] }],
        max_swap_mib: Some(8),
        swappiness: Some(10),
        ..LinuxParameters::default()
    };
    let script = "ulimit -n; ulimit -Hn; echo $$; df -m /dev/shm | tail -1; df -m /t | tail -1; \
                  mount | grep ' /t '";
    let limits = vec![Ulimit { name: "nofile".into(), soft: 64, hard: 128 }];
    let key = world.start(ContainerSpec { ulimits: limits, ..linux(parameters, script) }).await;
    assert_eq!(world.exit(key).await, (0, false));
    let log = world.log(key);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..3], ["64", "128", "1"], "limits, and no init process before the program");
    let size = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    assert_eq!((size(lines[3]), size(lines[4])), (Some("7".into()), Some("3".into())), "{log}");
    assert!(lines[5].contains("noexec"), "{log}");
    let host = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}}";
    assert_eq!(world.setting(key, host), format!("{} {} 512", 16 << 20, 24 << 20));

    // Without a word about it there is an init process, and no swap.
    let key = world.start(shell("echo $$")).await;
    assert_eq!(world.exit(key).await, (0, false));
    assert_ne!(world.log(key), "1\n");
    let swap = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}";
    assert_eq!(world.setting(key, swap), format!("{0} {0}", 16 << 20));
}

#[tokio::test]
async fn devices_are_shown_and_missing_ones_named() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let device = |source: &str| LinuxParameters {
        devices: vec![Device {
            source: source.to_owned(),
            target: "/dev/mine".to_owned(),
            read: true,
            write: true,
            mknod: false,
        }],
        ..LinuxParameters::default()
    };
    let key = world.start(linux(device("/dev/null"), "echo x > /dev/mine && ls /dev/mine")).await;
    assert_eq!(world.exit(key).await, (0, false));
    assert_eq!(world.log(key), "/dev/mine\n");
    assert_eq!(world.setting(key, "{{(index .HostConfig.Devices 0).CgroupPermissions}}"), "rw");
    let reason = world.failure(linux(device("/dev/no-such-device"), "true")).await;
    assert!(reason.contains("/dev/no-such-device"), "{reason}");
    // A GPU where there is no NVIDIA runtime.
    let gpus = vec![vec!["GPU-1".to_owned()]];
    let key = world.start_with(TaskSpec::single(shell("true")), gpus).await;
    let reason = world.start_failure(key).await;
    assert!(reason.contains("could not select device driver"), "{reason}");
}

#[tokio::test]
async fn secrets_reach_the_program_and_nothing_else() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let file = world.directory.path().join("key");
    fs::write(&file, "s3cret\n").unwrap();
    let secrets = |from: String| ContainerSpec {
        secrets: vec![Secret { name: "KEY".into(), from }],
        ..shell("echo ${#KEY}; [ $KEY = s3cret ]")
    };
    let key = world.start(secrets(format!("file:{}", file.display()))).await;
    assert_eq!(world.exit(key).await, (0, false));
    assert_eq!(world.log(key), "6\n");
    assert!(!world.setting(key, "{{.Config.Labels}}").contains("s3cret"));
    let reason = world.failure(secrets("file:/no/such/file".into())).await;
    let wanted =
        "ResourceInitializationError: unable to pull secrets: `KEY` from `file:/no/such/file`";
    assert!(reason.starts_with(wanted), "{reason}");
    assert_eq!(world.containers().len(), 1, "nothing is left of what did not start");
}

#[tokio::test]
async fn the_hosts_processes_memory_and_network_can_be_shared() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let spec = TaskSpec {
        pid: Some(PidMode::Host),
        ipc: Some(IpcMode::Host),
        host_network: true,
        ..TaskSpec::single(shell("cat /proc/1/comm; hostname"))
    };
    let key = world.start_task(spec).await;
    assert_eq!(world.exit(key).await, (0, false));
    let host = fs::read_to_string("/proc/1/comm").unwrap();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(world.log(key), host + &name);
    assert_eq!(world.setting(key, "{{.HostConfig.IpcMode}}"), "host");
}

#[tokio::test]
async fn a_container_has_its_own_time_to_stop() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let deaf = ContainerSpec {
        stop_timeout_seconds: Some(1),
        linux: LinuxParameters { init: Some(false), ..LinuxParameters::default() },
        ..shell("trap '' TERM; echo up; while :; do sleep 0.1; done")
    };
    let key = world.start(deaf).await;
    world.logged(key, "up").await;
    world.executor.stop(key, StopSignal::Terminate).await;
    assert_eq!(world.exit(key).await, (137, false));
}

#[tokio::test]
async fn output_goes_through_another_log_driver_too() {
    if skipped() {
        return;
    }
    let mut world = World::new();
    let driver = |name: &str, options: &[(&str, &str)]| ContainerSpec {
        log_driver: Some(LogDriver {
            name: name.to_owned(),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }),
        ..shell("echo hello")
    };
    let key = world.start(driver("gelf", &[("gelf-address", "udp://127.0.0.1:9")])).await;
    assert_eq!(world.exit(key).await, (0, false));
    assert_eq!(world.log(key), "hello\n");
    let reason = world.failure(driver("no-such-driver", &[])).await;
    assert!(reason.contains("no-such-driver"), "{reason}");
}
