//! The bytes of every wire type stay readable: each golden file was written by some version of this
//! program, and this one must read it as the same value.
//!
//! A new field with a default keeps old files readable. To add an example, write it here and run
//! with `UPDATE_GOLDEN=1`; existing files are never rewritten.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Debug;
use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{
    Beat, ContainerEnd, Control, EndCause, Ended, Executor, Gpu, Held, Problem, Register,
    RegisterReply, Report, ReportMessage, SelfFence, Session,
};
use windrow_common::wire::container::{
    Condition, ContainerSpec, Device, LinuxParameters, LogDriver, Mount, Secret, Tmpfs, Ulimit,
    Volume, VolumeSource,
};
use windrow_common::wire::lease::{
    IpcMode, Lease, Nodes, Order, OrderMessage, PidMode, Stop, TaskSpec,
};

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, value: &T) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, to_msgpack(value)).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(from_msgpack::<T>(&bytes).unwrap(), *value, "{file}");
    assert_eq!(from_msgpack::<T>(&to_msgpack(value)).unwrap(), *value, "{file}: round trip");
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn job() -> JobId {
    JobId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)
}

fn task() -> TaskSpec {
    let container = ContainerSpec {
        depends_on: vec![("data".into(), Condition::Healthy)],
        start_timeout_seconds: Some(30),
        stop_timeout_seconds: Some(5),
        image: Some("busybox:1".into()),
        command: vec!["sh".into(), "-c".into(), "true".into()],
        environment: vec![("A".into(), "1".into())],
        secrets: vec![Secret { name: "KEY".into(), from: "file:/etc/key".into() }],
        user: Some("1000:1000".into()),
        working_directory: Some("/data".into()),
        mounts: vec![Mount { volume: "v".into(), target: "/data".into(), read_only: true }],
        readonly_root: true,
        resources: Resources::new(1500, 256).with_gpu(1),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: -1 }],
        linux: LinuxParameters {
            init: Some(false),
            shared_memory_mib: Some(16),
            tmpfs: vec![Tmpfs { target: "/t".into(), size_mib: 8, options: vec!["ro".into()] }],
            max_swap_mib: Some(64),
            swappiness: Some(10),
            devices: vec![Device {
                source: "/dev/fuse".into(),
                target: "/dev/fuse".into(),
                read: true,
                write: true,
                mknod: false,
            }],
        },
        log_driver: Some(LogDriver {
            name: "syslog".into(),
            options: vec![("tag".into(), "t".into())],
        }),
        ..ContainerSpec::default()
    };
    let nfs = VolumeSource::Nfs { server: "s".into(), path: "/".into(), options: "ro".into() };
    let data = ContainerSpec { name: "data".into(), essential: false, ..ContainerSpec::default() };
    TaskSpec {
        containers: vec![container, data],
        volumes: vec![
            Volume { name: "v".into(), source: VolumeSource::Host("/srv".into()) },
            Volume { name: "w".into(), source: VolumeSource::Shared },
            Volume { name: "x".into(), source: nfs },
        ],
        host_network: true,
        ipc: Some(IpcMode::Task),
        pid: Some(PidMode::Host),
    }
}

#[test]
fn orders() {
    let spec = task();
    let lease = Lease {
        id: LeaseId(7),
        job: job(),
        array_size: Some(100),
        first: 10,
        count: 5,
        attempt: 2,
        spec: spec.digest(),
        resources: Resources::new(1500, 256),
        timeout_seconds: Some(60),
        queue: name("q"),
        compute_environment: name("e"),
        nodes: Some(Nodes { count: 4, main: 1, main_address: Some("10.0.0.7".into()) }),
    };
    let orders = vec![
        Order::Run(lease),
        Order::Stop(Stop { lease: LeaseId(6), children: vec![(1, 2), (9, 1)] }),
        Order::Confirm { upto: 41 },
        Order::Drain,
        Order::Undrain,
    ];
    let specs = vec![(spec.digest(), spec)];
    check("order-1.msgpack", &OrderMessage { version: 1, term: 3, session: 12, specs, orders });
}

/// Fault 22.
#[test]
fn registration() {
    let held = vec![Held { lease: LeaseId(5), children: vec![(0, 3)], ..Held::default() }];
    let register = Register {
        version: 1,
        agent: name("host-1"),
        boot: 99,
        host: "host-1.example".into(),
        compute_environment: name("e"),
        resources: Resources::new(8000, 16_000).with_gpu(1),
        executors: vec![Executor::Process, Executor::Docker],
        architecture: "X86_64".into(),
        agent_version: "0.1.0".into(),
        clock: Timestamp(1_700_000_000_000),
        held: held.clone(),
        address: Some("10.0.0.8".into()),
        gpus: vec![Gpu { id: "GPU-1".into(), model: "Model".into(), memory_mib: 40_960 }],
        term_seen: 0,
        lease_seen: LeaseId(0),
        problems: Vec::new(),
        number: 0,
    };
    check("register-1.msgpack", &register);
    let held_2 = Held { job: Some(job()), lost: vec![(1, 2)], ..held[0].clone() };
    let problem = Problem { message: "the disk is full".into(), takes_no_work: true };
    let register = Register {
        held: vec![held_2],
        term_seen: 3,
        lease_seen: LeaseId(9),
        problems: vec![problem],
        ..register
    };
    check("register-2.msgpack", &register);
    check("register-3.msgpack", &Register { number: 7, ..register });
    let session = Session {
        session: 12,
        term: 3,
        stream: "WINDROW_LEASE".into(),
        consumer: "host-1-12".into(),
        heartbeat_millis: 2000,
        fenced: held,
        self_fence: None,
    };
    check("register-accepted-1.msgpack", &RegisterReply::Accepted(session.clone()));
    let self_fence = SelfFence { stop_after_millis: 20_000, kill_after_millis: Some(27_000) };
    let session = Session { self_fence: Some(self_fence), ..session };
    check("register-accepted-2.msgpack", &RegisterReply::Accepted(session));
    check("register-refused-1.msgpack", &RegisterReply::Refused { message: "no such".into() });
    check("register-replaced-1.msgpack", &RegisterReply::Replaced { message: "another".into() });
    check("control-1.msgpack", &Control::Register);
    check("control-2.msgpack", &Control::Heard { session: 12, term: 3, number: 40 });
}

#[test]
fn reports() {
    let ended = Ended {
        lease: LeaseId(7),
        job: job(),
        child: 11,
        started_at: Some(Timestamp(1_700_000_000_000)),
        ended_at: Timestamp(1_700_000_001_000),
        exit_code: Some(137),
        cause: EndCause::OutOfMemory,
        reason: Some("why".into()),
        log_bytes: 1234,
        containers: vec![ContainerEnd {
            name: "side".into(),
            exit_code: Some(1),
            reason: Some("why".into()),
        }],
    };
    let (lease, job) = (LeaseId(7), job());
    let reports = vec![
        Report::Started { lease, job, child: 11, at: Timestamp(1_700_000_000_000) },
        Report::Ended(ended),
        Report::Returned { lease, job, children: vec![(12, 3)] },
        Report::Leaving,
    ];
    let message =
        ReportMessage { version: 1, agent: name("host-1"), session: 12, first: 5, reports };
    check("report-1.msgpack", &message);
    let beat = Beat {
        version: 1,
        session: 12,
        clock: Timestamp(1_700_000_000_000),
        waiting: 3,
        running: 2,
        last_lease: LeaseId(7),
        last_report: 8,
        load: 150,
        number: 0,
        round_trip_millis: None,
    };
    check("beat-1.msgpack", &beat);
    let beat = Beat { number: 41, round_trip_millis: Some(2), ..beat };
    check("beat-2.msgpack", &beat);
}

/// Fault 22: a newer sender knows more fields; and what it says that has no meaning here is an error for
/// the receiver to pass over, never a panic.
#[test]
fn fields_of_the_future_are_ignored() {
    let heard = serde_json::json!({
        "version": 1, "session": 12, "clock": 5, "waiting": 0, "running": 0, "last_lease": 7,
        "last_report": 8, "load": 150, "of_the_future": { "nested": [1, 2] },
    });
    let beat: Beat = from_msgpack(&to_msgpack(&heard)).unwrap();
    assert_eq!((beat.session, beat.number, beat.round_trip_millis), (12, 0, None));
    let hint = serde_json::json!({ "OfTheFuture": { "session": 1 } });
    assert!(from_msgpack::<Control>(&to_msgpack(&hint)).is_err());
}
