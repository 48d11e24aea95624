//! Turns of an actor, as the shell takes them.

mod shelving;

use std::time::Duration;

use windrow_common::api::OPERATIONS;
use windrow_common::codec::{Encoding, from_msgpack};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::subjects::{Subjects, lease_shard};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{Beat, Executor, Register};
use windrow_common::wire::lease::{Order, OrderMessage};

use super::archiving::Keep;
use super::{Actor, Body, Effects, Input, Now, Settings, requests};
use crate::core::limits::Limits;
use crate::core::{Command, State, apply, decide};

const BEAT: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(30);

struct Story {
    actor: Actor,
    now: Now,
}

impl Story {
    fn new() -> Self {
        let now = Now { wall: Timestamp(1_000_000), monotonic: Duration::from_secs(5) };
        let limits = Limits::default();
        let mut state = State::default();
        let term = decide(&state, &limits, &Command::StartTerm, now.wall).unwrap();
        term.events.iter().for_each(|event| apply(&mut state, event));
        let mut last = 0;
        let new_id = Box::new(move || {
            last += 1;
            JobId::from_u128(last)
        });
        let keep = Keep { jobs: 2, ..Keep::default() };
        let subjects = Subjects::new("c".parse().unwrap());
        let settings = Settings { finished: keep, ..Settings::new(subjects) };
        Self { actor: Actor::new(state, settings, new_id, now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { wall: self.now.wall.plus(time), monotonic: self.now.monotonic + time };
    }

    fn turn(&mut self, input: Input) -> Effects {
        let turn = self.actor.turn([input], self.now);
        self.actor.stored(turn, self.now)
    }

    /// The answer to a request.
    fn ask(&mut self, operation: &str, request: &str) -> serde_json::Value {
        let mut effects = self.turn(Input::Request {
            operation: operation.to_owned(),
            payload: request.to_owned().into(),
            encoding: Encoding::Json,
            reply: Some("inbox".to_owned()),
        });
        let Body::Answer(Ok(answer)) = effects.replies.remove(0).body else { panic!() };
        serde_json::from_slice(&answer).unwrap()
    }

    fn cluster(&mut self) -> u64 {
        self.ask(
            "CreateComputeEnvironment",
            r#"{"computeEnvironmentName":"e","type":"UNMANAGED"}"#,
        );
        let queue = r#"{"jobQueueName":"q","priority":1,
            "computeEnvironmentOrder":[{"order":1,"computeEnvironment":"e"}]}"#;
        self.ask("CreateJobQueue", queue);
        let definition = r#"{"jobDefinitionName":"d","type":"container","containerProperties":{
            "command":["true"],"resourceRequirements":[
            {"type":"VCPU","value":"1"},{"type":"MEMORY","value":"100"}]}}"#;
        self.ask("RegisterJobDefinition", definition);
        self.register()
    }

    fn register(&mut self) -> u64 {
        let request = Register {
            version: wire::VERSION,
            agent: agent(),
            boot: 1,
            host: "h".into(),
            compute_environment: "e".parse().unwrap(),
            resources: Resources::new(1000, 1000),
            executors: vec![Executor::Process],
            architecture: "X86_64".into(),
            agent_version: "0".into(),
            clock: self.now.wall,
            held: Vec::new(),
            address: None,
            gpus: Vec::new(),
            term_seen: 0,
            lease_seen: LeaseId(0),
            problems: Vec::new(),
            number: 0,
        };
        let input = Input::Register { request: Box::new(request), reply: "inbox".into() };
        let effects = self.turn(input);
        effects.registered[0].outcome.as_ref().unwrap().0
    }

    fn submit(&mut self) -> Effects {
        let request = r#"{"jobName":"j","jobQueue":"q","jobDefinition":"d"}"#;
        self.turn(Input::Request {
            operation: "SubmitJob".to_owned(),
            payload: request.into(),
            encoding: Encoding::Json,
            reply: Some("inbox".to_owned()),
        })
    }

    fn beat(&mut self, session: u64, last_lease: u64) -> Effects {
        let beat = Beat {
            version: wire::VERSION,
            session,
            clock: self.now.wall,
            waiting: 0,
            running: 0,
            last_lease: LeaseId(last_lease),
            last_report: 0,
            load: 0,
            number: 0,
            round_trip_millis: None,
        };
        self.turn(Input::Beat { agent: agent(), beat })
    }
}

fn agent() -> Name {
    "a".parse().unwrap()
}

#[test]
fn a_submission_is_answered_and_its_order_sent_in_one_turn() {
    let mut story = Story::new();
    story.cluster();
    let effects = story.submit();
    assert_eq!(effects.replies.len(), 1);
    let (subject, payload) = &effects.messages[0];
    assert_eq!(*subject, format!("c.lease.{}.e.a", lease_shard(&agent())));
    let message: OrderMessage = from_msgpack(payload).unwrap();
    assert!(matches!(message.orders[0], Order::Run(_)), "{message:?}");
}

#[test]
fn what_a_refused_submission_message_held_goes_to_the_dead_letters() {
    let mut story = Story::new();
    story.cluster();
    let submission = super::Submission {
        published: windrow_common::time::Timestamp(1),
        sequence: 1,
        subject: "c.submit.q".into(),
        payload: "no JSON".into(),
        encoding: Encoding::Json,
        message_id: None,
        reply_to: Some("inbox".into()),
    };
    let effects = story.turn(Input::Submission(Box::new(submission)));
    assert_eq!(effects.dead[0].payload, "no JSON");
    assert!(matches!(effects.replies[0].body, Body::Answer(Err(_))));
}

#[test]
fn a_refused_submission_keeps_its_dead_letter_when_the_coordinator_dies_before_it_is_sent() {
    let mut story = Story::new();
    story.cluster();
    let published = |sequence, definition: &str, key: Option<&str>| {
        let payload = format!(r#"{{"jobName":"j","jobQueue":"q","jobDefinition":"{definition}"}}"#);
        Input::Submission(Box::new(super::Submission {
            published: Timestamp(1),
            sequence,
            subject: "c.submit.q".into(),
            payload: payload.into(),
            encoding: Encoding::Json,
            message_id: key.map(str::to_owned),
            reply_to: None,
        }))
    };
    let all = || {
        let of = [(1, "unknown", Some("bad")), (2, "d", Some("good")), (3, "unknown", None)];
        of.map(|(sequence, definition, key)| published(sequence, definition, key))
    };
    // Stored, and nothing of it given out.
    let turn = story.actor.turn(all(), story.now);
    assert_eq!(turn.dead.len(), 2);
    let (state, settings) = (story.actor.state().clone(), story.actor.settings.clone());
    story.actor = Actor::new(state, settings, Box::new(JobId::generate), story.now);
    let turn = story.actor.turn(all(), story.now);
    let dead: Vec<_> = turn.dead.iter().map(|letter| letter.payload.clone()).collect();
    // What has no key may have been accepted.
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].windows(7).any(|part| part == b"unknown"));
    assert_eq!(story.actor.state().jobs.len(), 1, "and nothing is submitted twice");
}

#[test]
fn a_turn_that_ends_early_keeps_no_agent_for_a_job_that_is_gone() {
    let mut story = Story::new();
    story.cluster();
    let request = r#"{"jobName":"j","jobQueue":"q","jobDefinition":"d",
        "timeout":{"attemptDurationSeconds":60}}"#;
    // The first fills the agent, which is then kept for the second.
    (0..2).for_each(|_| drop(story.ask("SubmitJob", request)));
    assert_eq!(story.actor.state().reservations.len(), 1);
    let job = story.actor.state().reservations.values().next().unwrap().job;
    story.actor.settings.turn_steps = 0;
    story.turn(Input::Request {
        operation: "CancelJob".to_owned(),
        payload: format!(r#"{{"jobId":"{job}","reason":"not needed"}}"#).into(),
        encoding: Encoding::Json,
        reply: None,
    });
    assert!(story.actor.state().reservations.is_empty());
    crate::core::invariants::check(story.actor.state()).unwrap();
}

#[test]
fn an_agent_that_does_not_see_its_leases_is_asked_to_register() {
    let mut story = Story::new();
    let session = story.cluster();
    story.submit();
    for _ in 0..5 {
        story.pass(BEAT);
        assert!(story.beat(session, 0).register.is_empty());
    }
    story.pass(BEAT);
    assert!(story.beat(session, 0).register.contains(&agent()));
    // One that has seen them is not.
    assert!(story.beat(session, 1).register.is_empty());
    story.pass(TTL / 2);
    assert!(story.beat(session, 1).register.is_empty());
}

#[test]
fn an_agent_of_an_earlier_session_is_asked_to_register() {
    let mut story = Story::new();
    let session = story.cluster();
    assert!(story.beat(session, 0).register.is_empty());
    assert!(story.register() > session);
    assert!(story.beat(session, 0).register.contains(&agent()));
}

#[test]
fn a_silent_agent_is_lost_and_a_new_actor_gives_it_time_again() {
    let mut story = Story::new();
    let session = story.cluster();
    story.submit();
    story.turn(Input::Tick);
    let state = story.actor.state().clone();
    let lost = |story: &mut Story| {
        story.pass(BEAT);
        story.turn(Input::Tick);
        story.actor.state().agents[&agent()].leases.is_empty()
    };
    let beats = (1..100).find(|_| lost(&mut story)).unwrap();
    assert_eq!(beats, 16, "the first look after the lease time");
    assert!(story.beat(session, 1).register.contains(&agent()));

    let settings = story.actor.settings.clone();
    story.actor = Actor::new(state, settings, Box::new(JobId::generate), story.now);
    let effects = story.turn(Input::Tick);
    assert!(effects.register.contains(&agent()), "asked at once");
    let beats = (1..100).find(|_| lost(&mut story)).unwrap();
    assert_eq!(beats, 16);
}

#[test]
fn heartbeats_are_answered_where_agents_stop_their_jobs_themselves() {
    let mut story = Story::new();
    let session = story.cluster();
    let heard = |effects: &Effects| effects.messages.iter().any(|(to, _)| to.ends_with(".control"));
    assert!(!heard(&story.beat(session, 0)), "nobody needs it");
    let policy = r#"{"computeEnvironment":"e","disconnect":{"stopAfterSeconds":20}}"#;
    let effects = story.turn(Input::Request {
        operation: "UpdateComputeEnvironment".to_owned(),
        payload: policy.into(),
        encoding: Encoding::Json,
        reply: None,
    });
    assert!(effects.register.contains(&agent()), "something else is to be agreed");
    assert!(!heard(&story.beat(session, 0)), "it is not agreed yet");
    let session = story.register();
    assert!(heard(&story.beat(session, 0)));
}

#[test]
fn every_operation_of_the_api_is_answered() {
    let mut story = Story::new();
    let mut is_unknown = |operation: &str| {
        let mut effects = story.turn(Input::Request {
            operation: operation.to_owned(),
            payload: "{}".into(),
            encoding: Encoding::Json,
            reply: Some("inbox".to_owned()),
        });
        let Some(reply) = effects.replies.pop() else { return false };
        matches!(reply.body, Body::Answer(Err(error)) if error.message.contains("no operation"))
    };
    assert!(is_unknown("SubmitServiceWork"));
    let unknown: Vec<_> = OPERATIONS.iter().filter(|operation| is_unknown(operation)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
