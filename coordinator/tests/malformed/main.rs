//! Malformed input for every decoder of the coordinator that faces the network: whatever arrives is
//! refused or taken, with bounded memory, and never a panic. Faults 20 and 21.
//!
//! The inputs are recorded messages and requests of every operation, mutated: bits flipped, cut off,
//! doubled, with lengths that promise gigabytes, nested very deep.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must say so")]

mod mutation;

use std::path::Path;
use std::time::Duration;

use mutation::each_mutation;
use sha2::{Digest, Sha256};
use windrow_common::codec::{Encoding, from_msgpack};
use windrow_common::ids::JobId;
use windrow_common::subjects::Subjects;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Beat, Register, ReportMessage};
use windrow_coordinator::actor::{Actor, Body, Input, Now, Settings, Submission, Turn};
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::{Command, State, apply, decide, invariants};
use windrow_coordinator::shell::journal::chain::{Entry, Position, VERSION};
use windrow_coordinator::shell::snapshot;

fn golden(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read(root.join(path)).unwrap()
}

const NOW: Now = Now { wall: Timestamp(1_700_000_000_000), monotonic: Duration::from_secs(9) };

/// With an environment, a queue and a definition, so that good requests are taken.
fn actor() -> Actor {
    let mut state = State::default();
    let limits = Limits { array_size: 1000, ..Limits::default() };
    let term = decide(&state, &limits, &Command::StartTerm, NOW.wall).unwrap();
    term.events.iter().for_each(|event| apply(&mut state, event));
    let mut last = 0;
    let new_id = Box::new(move || {
        last += 1;
        JobId::from_u128(last)
    });
    let settings = Settings { limits, ..Settings::new(Subjects::new("c".parse().unwrap())) };
    let mut actor = Actor::new(state, settings, new_id, NOW);
    for (operation, request) in &requests()[..3] {
        let effects = turn(&mut actor, ask(operation, request.clone(), Encoding::Json));
        assert!(matches!(effects[0], Body::Answer(Ok(_))), "{operation}: {:?}", effects[0]);
    }
    actor
}

/// Takes one input; what is answered. The state keeps its invariants and the journal can be read.
fn turn(actor: &mut Actor, input: Input) -> Vec<Body> {
    let turn: Turn = actor.turn([input], NOW);
    let effects = actor.stored(turn, NOW);
    invariants::check(actor.state()).unwrap();
    effects.replies.into_iter().map(|reply| reply.body).collect()
}

fn ask(operation: &str, payload: Vec<u8>, encoding: Encoding) -> Input {
    let (operation, reply) = (operation.to_owned(), Some("inbox".to_owned()));
    Input::Request { operation, payload: payload.into(), encoding, reply }
}

/// A good request of every kind that reads something large or nested, and the plain ones.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("requests.txt").lines();
    let split = |line: &'static str| line.split_once(' ').unwrap();
    lines.map(split).map(|(operation, json)| (operation, json.as_bytes().to_vec())).collect()
}

#[test]
fn malformed_requests_are_answered() {
    let requests = requests();
    let packed = |json: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        windrow_common::codec::to_msgpack(&value)
    };
    let json = requests.iter().map(|(_, request)| request.clone());
    let inputs: Vec<Vec<u8>> = json.chain(requests.iter().map(|(_, r)| packed(r))).collect();
    let fresh = actor;
    let (mut actor, mut taken, mut refused) = (fresh(), 0, 0);
    each_mutation(&inputs, |which, bytes| {
        let (operation, _) = requests[which % requests.len()];
        let is_json = which < requests.len();
        let encoding = if is_json { Encoding::Json } else { Encoding::MessagePack };
        if actor.state().jobs.len() > 200 {
            actor = fresh();
        }
        match &turn(&mut actor, ask(operation, bytes.to_vec(), encoding))[..] {
            [Body::Answer(Err(error))] => {
                assert!(!error.message.is_empty() && error.message.len() < 4096, "{error:?}");
                refused += 1;
            }
            [_] => taken += 1,
            other => panic!("{} answers", other.len()),
        }
    });
    // Both kinds were there, so neither side is a formality.
    assert!(taken > 200 && refused > 1000, "{taken} taken, {refused} refused");
}

#[test]
fn malformed_submissions_are_taken_or_kept_as_dead_letters() {
    let submissions: Vec<Vec<u8>> =
        requests().into_iter().filter(|(o, _)| *o == "SubmitJob").map(|(_, r)| r).collect();
    let (mut actor, mut sequence) = (actor(), 0);
    each_mutation(&submissions, |_, bytes| {
        sequence += 1;
        let submission = Submission {
            sequence,
            published: NOW.wall,
            subject: "c.submit.q".to_owned(),
            payload: bytes.to_vec().into(),
            encoding: Encoding::Json,
            message_id: Some(sequence.to_string()),
            reply_to: None,
        };
        let turn = actor.turn([Input::Submission(Box::new(submission))], NOW);
        assert!(!turn.groups.is_empty(), "it is noted, so it is not taken twice");
        for letter in actor.stored(turn, NOW).dead {
            assert_eq!(letter.payload, bytes, "kept as it came");
        }
    });
}

#[test]
fn malformed_messages_of_agents_are_refused() {
    let names = ["register-1", "beat-1", "report-1"];
    let inputs = names.map(|name| golden(&format!("common/golden/{name}.msgpack")));
    let mut actor = actor();
    let (mut read, mut sequence) = (0, 0);
    each_mutation(&inputs, |which, bytes| {
        let agent = "a".parse().unwrap();
        let reply = "inbox".to_owned();
        let input = match which {
            0 => from_msgpack::<Register>(bytes)
                .map(|request| Input::Register { request: Box::new(request), reply }),
            1 => from_msgpack::<Beat>(bytes).map(|beat| Input::Beat { agent, beat }),
            _ => from_msgpack::<ReportMessage>(bytes).map(|message| {
                sequence += 1;
                Input::Report { sequence, message }
            }),
        };
        if let Ok(input) = input {
            read += 1;
            turn(&mut actor, input);
        }
    });
    assert!(read > 200, "{read} could be read");
}

#[test]
fn malformed_journal_messages_are_refused() {
    // A stored message is the chain value and the entry; the chain value is right here, as whoever
    // could write to the stream could compute it.
    let events = rmp_serde::from_slice(&golden("coordinator/golden/journal-1.msgpack")).unwrap();
    let entry = Entry { version: VERSION, term: 1, nonce: 7, at: NOW.wall, events };
    let inputs = [rmp_serde::to_vec(&entry).unwrap()];
    let start = Position::default();
    let mut read = 0;
    each_mutation(&inputs, |_, body| {
        let chain: [u8; 32] =
            Sha256::new().chain_update(start.chain).chain_update(body).finalize().into();
        let message = [&chain[..], body].concat();
        read += u32::from(start.check(1, &message).is_ok());
    });
    assert!(read > 0);
}

#[test]
fn malformed_snapshots_are_refused() {
    let mut actor = actor();
    for (operation, request) in &requests()[3..8] {
        turn(&mut actor, ask(operation, request.clone(), Encoding::Json));
    }
    let whole = snapshot::encode(actor.state(), Position::default());
    // Half written, or damaged: the hash tells. Only coordinators may write to the bucket.
    each_mutation(std::slice::from_ref(&whole), |_, bytes| {
        assert!(snapshot::decode(bytes).is_err() || bytes == whole);
    });
}
