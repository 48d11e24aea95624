//! Malformed input for every decoder of the agent: orders, hints and registrations' answers from the
//! network, its own journal, and what travels between it and its keeper. Whatever comes is refused or
//! taken, with bounded memory, and never a panic. Fault 21.

#[path = "../../coordinator/tests/malformed/mutation.rs"]
mod mutation;

use std::path::Path;
use std::time::Duration;

use mutation::each_mutation;
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::ids::{JobId, LeaseId};
use windrow_common::time::{Moment, Timestamp};
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Control, EndCause, Ended, RegisterReply};
use windrow_common::wire::lease::{Order, OrderMessage};

use crate::core::held::{Held, Record};
use crate::core::{Core, Input, Settings};
use crate::executor::{AttemptKey, StopSignal};
use crate::keeper::protocol::{self, Event, Known, Request};
use crate::shell::journal::{Journal, crc32};

const NOW: Moment =
    Moment { wall: Timestamp(1_700_000_000_000), monotonic: Duration::from_secs(9) };

fn golden(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read(root.join("common/golden").join(name)).unwrap()
}

fn core(held: Held) -> Core {
    let settings = Settings {
        resources: Resources::new(4_000, 4_096).with_gpu(1),
        gpus: vec!["GPU-1".to_owned()],
        stop_timeout: Duration::from_secs(5),
        backlog_limit: Duration::from_secs(5),
    };
    let mut core = Core::new(settings, held, NOW);
    core.adopt(&[], NOW);
    core
}

/// All that follows: reports, starts, and what is there a minute later.
fn goes_on(core: &mut Core) {
    for moment in [NOW, NOW.plus(Duration::from_secs(60))] {
        core.handle(Input::Tick, moment);
        core.cut_reports(moment);
        core.take_output();
    }
    core.begin_registration(NOW);
}

#[test]
fn malformed_messages_of_the_coordinator_are_taken_or_ignored() {
    let names = [
        "order-1",
        "control-1",
        "control-2",
        "register-accepted-1",
        "register-accepted-2",
        "register-refused-1",
    ];
    let inputs = names.map(|name| golden(&format!("{name}.msgpack")));
    let good: OrderMessage = from_msgpack(&inputs[0]).unwrap();
    let RegisterReply::Accepted(session) = from_msgpack(&inputs[3]).unwrap() else { panic!() };
    let accepted = Input::Registered;
    let (mut read, mut reported) = (0, 0);
    each_mutation(&inputs, |which, bytes| {
        let mut core = core(Held::default());
        let mut session = session.clone();
        (session.session, session.term) = (good.session, good.term);
        core.handle(accepted(session), NOW);
        let input = match which {
            0 => from_msgpack(bytes).ok().map(|orders| Input::Orders(vec![(1, orders)])),
            1 | 2 => from_msgpack::<Control>(bytes).ok().and_then(|control| match control {
                Control::Register => None,
                Control::Heard { session, term, number } => {
                    Some(Input::Heard { session, term, number })
                }
            }),
            _ => from_msgpack(bytes).ok().and_then(|reply| match reply {
                RegisterReply::Accepted(session) => Some(accepted(session)),
                RegisterReply::Replaced { .. } => Some(Input::Replaced),
                RegisterReply::Refused { .. } => None,
            }),
        };
        let Some(input) = input else { return };
        read += 1;
        core.handle(input, NOW);
        reported += u32::from(core.cut_reports(NOW).is_some());
        goes_on(&mut core);
    });
    assert!(read > 200 && reported > 20, "{read} could be read, {reported} led to reports");
}

/// Facts of a life that holds something of each kind.
fn records() -> Vec<Record> {
    let message: OrderMessage = from_msgpack(&golden("order-1.msgpack")).unwrap();
    let mut records: Vec<Record> =
        message.specs.into_iter().map(|(digest, spec)| Record::Spec(digest, spec)).collect();
    let mut lease = LeaseId(0);
    for order in message.orders {
        if let Order::Run(run) = order {
            lease = run.id;
            records.push(Record::Accepted(run));
        }
    }
    let at = NOW.wall;
    let children = vec![(10, 3)];
    let gpus = vec![(10, vec!["GPU-1".to_owned()])];
    records.push(Record::Highest(lease));
    records.push(Record::Starting { lease, children, at, gpus, monotonic: Some(NOW.monotonic) });
    records.push(Record::Stopping { lease, children: vec![(11, 1)] });
    records.push(Record::Ended(Ended {
        lease,
        job: JobId::from_u128(1),
        child: 10,
        started_at: Some(at),
        ended_at: at,
        exit_code: Some(0),
        cause: EndCause::Exited,
        reason: None,
        log_bytes: 9,
        containers: Vec::new(),
    }));
    records.push(Record::Returned { lease, children: vec![(14, 1)] });
    records
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes()[..], &crc32(payload).to_le_bytes(), payload].concat()
}

#[test]
fn a_malformed_journal_is_refused_or_its_end_is_dropped() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("journal");
    let payload = to_msgpack(&records());
    let halves = records().chunks(3).flat_map(|part| framed(&to_msgpack(&part))).collect();
    // The second is damaged as a disk does it; the first as only a program could, with a right sum.
    let (mut opened, mut refused) = (0, 0);
    each_mutation(&[payload, halves], |which, bytes| {
        let file = if which == 0 { framed(bytes) } else { bytes.to_vec() };
        std::fs::write(&path, file).unwrap();
        match Journal::open(&path) {
            Ok((_, held)) => {
                opened += 1;
                goes_on(&mut core(held));
            }
            Err(error) => {
                assert!(error.to_string().contains("journal"), "{error}");
                refused += 1;
            }
        }
    });
    assert!(opened > 200 && refused > 200, "{opened} opened, {refused} refused");
}

#[test]
fn malformed_frames_between_agent_and_keeper_are_refused() {
    let key = AttemptKey { lease: LeaseId(7), child: 10 };
    let requests =
        [Request::Stop { key, signal: StopSignal::Kill }, Request::Forget { keys: vec![key; 3] }];
    let (at, pid) = (NOW.wall, 77);
    let exited = Event::Exited { key, at, exit_code: 1, out_of_memory: true };
    let known = Known { key, started_at: at, pid, end: Some(exited.clone()) };
    let failed = Event::StartFailed { key, at, reason: "no such file".to_owned() };
    let snapshot = Event::Snapshot { version: protocol::VERSION, attempts: vec![known] };
    let events = [snapshot, Event::Started { key, at, pid }, failed, exited];
    let inputs = [protocol::encode(&requests).unwrap(), protocol::encode(&events).unwrap()];
    let (mut read, mut refused) = (0, 0);
    each_mutation(&inputs, |which, mut bytes| {
        // What a wrong length may allocate is bounded by itself, far above this test's allowance.
        let promised = bytes.first_chunk::<4>().map(|head| protocol::body_length(*head));
        if promised.is_some_and(|length| length.is_ok_and(|length| length > bytes.len())) {
            return;
        }
        let is_read = match which {
            0 => protocol::read::<Request>(&mut bytes).is_ok(),
            _ => protocol::read::<Event>(&mut bytes).is_ok(),
        };
        (read, refused) = (read + u32::from(is_read), refused + u32::from(!is_read));
    });
    assert!(read > 200 && refused > 200, "{read} could be read, {refused} not");
}
