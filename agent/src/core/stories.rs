//! Stories about the core: one world, one agent, told step by step.

mod contact;
mod needs;

use std::collections::BTreeMap;
use std::time::Duration;

use windrow_common::ids::{JobId, LeaseId};
use windrow_common::time::{Moment, Timestamp};
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{EndCause, Ended, Held as WireHeld, Report, SelfFence, Session};
use windrow_common::wire::container::ContainerSpec;
use windrow_common::wire::lease::{Lease, Order, OrderMessage, Stop, TaskSpec};

use super::held::{Held, Record};
use super::outbox::CONFIRM_TIMEOUT;
use super::{Core, Input, Observed, Settings};
use crate::executor::{AttemptKey, ExecutorEvent, StopSignal};

const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const BACKLOG_LIMIT: Duration = Duration::from_secs(2);

/// An agent of four cores, the journal it wrote, and the executor's side of things.
struct World {
    core: Core,
    now: Moment,
    journal: Vec<Record>,
    session: u64,
    /// Of the last message in the stream of orders.
    last_place: u64,
    /// What the executor runs, and when each started.
    running: BTreeMap<AttemptKey, Timestamp>,
    started: Vec<AttemptKey>,
    stops: Vec<(AttemptKey, StopSignal)>,
    wants_registration: bool,
    self_fence: Option<SelfFence>,
}

impl World {
    fn new() -> Self {
        let now = Moment { wall: Timestamp(1_000_000), monotonic: Duration::from_secs(500) };
        let mut world = Self {
            core: Core::new(settings(), Held::default(), now),
            now,
            journal: Vec::new(),
            session: 0,
            last_place: 0,
            running: BTreeMap::new(),
            started: Vec::new(),
            stops: Vec::new(),
            wants_registration: false,
            self_fence: None,
        };
        world.register(Vec::new());
        world
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        let output = self.core.take_output();
        self.journal.extend(output.records);
        self.stops.extend(output.stops);
        self.wants_registration |= output.register;
        let starts: Vec<_> = output.starts.iter().map(|plan| plan.key).collect();
        let used = starts.len() + self.running.len();
        assert!(used <= 4, "more runs than fits");
        self.started.extend(&starts);
        for key in starts {
            assert!(self.running.insert(key, self.now.wall).is_none(), "an attempt starts once");
            self.observe(ExecutorEvent::Started { key, at: self.now.wall });
        }
        let mut again = Held::default();
        self.journal.iter().for_each(|record| again.apply(record));
        assert_eq!(&again.leases, &self.core.held().leases, "the journal gives the same state");
    }

    fn observe(&mut self, event: ExecutorEvent) {
        self.handle(Input::Observed(vec![Observed { event, log_bytes: 7 }]));
    }

    fn exit(&mut self, key: AttemptKey, exit_code: i32) {
        assert!(self.running.remove(&key).is_some(), "{key:?} runs");
        let at = self.now.wall;
        self.observe(ExecutorEvent::Exited {
            key,
            at,
            exit_code,
            out_of_memory: false,
            reason: None,
            containers: Vec::new(),
        });
    }

    /// Registers anew and gives back what the agent said it holds.
    fn register(&mut self, fenced: Vec<WireHeld>) -> Vec<WireHeld> {
        let held = self.core.begin_registration(self.now);
        self.wants_registration = false;
        self.accept(fenced);
        held
    }

    /// The coordinator accepts a registration.
    fn accept(&mut self, fenced: Vec<WireHeld>) {
        self.session += 1;
        self.handle(Input::Registered(Session {
            session: self.session,
            term: 1,
            stream: String::new(),
            consumer: String::new(),
            heartbeat_millis: 1000,
            fenced,
            self_fence: self.self_fence,
        }));
    }

    fn order_as(&mut self, session: u64, term: u64, orders: Vec<Order>) {
        self.last_place += 1;
        self.order_at(self.last_place, session, term, orders);
    }

    fn order_at(&mut self, place: u64, session: u64, term: u64, orders: Vec<Order>) {
        let specs = vec![(spec().digest(), spec())];
        let version = wire::VERSION;
        let message = OrderMessage { version, term, session, specs, orders };
        self.handle(Input::Orders(vec![(place, message)]));
    }

    fn order(&mut self, order: Order) {
        self.order_as(self.session, 1, vec![order]);
    }

    /// A lease by a coordinator of this term.
    fn run_as(&mut self, term: u64, id: u64, count: u32) {
        self.order_as(self.session, term, vec![Order::Run(lease(id, count))]);
    }

    fn run(&mut self, id: u64, count: u32) {
        self.order(Order::Run(lease(id, count)));
    }

    fn advance(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
        self.handle(Input::Tick);
    }

    fn reports(&mut self) -> Vec<Report> {
        let mut all = Vec::new();
        while let Some((_, reports)) = self.core.cut_reports(self.now) {
            all.extend(reports);
        }
        all
    }

    fn ended(&mut self) -> Vec<Ended> {
        let only_ended = |report| match report {
            Report::Ended(ended) => Some(ended),
            Report::Started { .. } | Report::Returned { .. } | Report::Leaving => None,
        };
        self.reports().into_iter().filter_map(only_ended).collect()
    }

    /// The agent is killed and a new one starts; executors know `self.running`.
    fn restart(&mut self) -> Vec<AttemptKey> {
        let mut held = Held::default();
        self.journal.iter().for_each(|record| held.apply(record));
        self.core = Core::new(settings(), held, self.now);
        let known: Vec<_> = self.running.iter().map(|(key, at)| (*key, Some(*at))).collect();
        let missing = self.core.adopt(&known, self.now);
        self.settle();
        missing
    }
}

fn settings() -> Settings {
    Settings {
        resources: Resources::new(4000, 4096).with_gpu(2),
        gpus: vec!["GPU-a".to_owned(), "GPU-b".to_owned()],
        stop_timeout: STOP_TIMEOUT,
        backlog_limit: BACKLOG_LIMIT,
    }
}

fn command(program: &str) -> TaskSpec {
    let command = vec![program.to_owned()];
    TaskSpec::single(ContainerSpec { command, ..ContainerSpec::default() })
}

fn spec() -> TaskSpec {
    command("true")
}

fn lease(id: u64, count: u32) -> Lease {
    Lease {
        id: LeaseId(id),
        job: JobId::from_u128(id.into()),
        array_size: Some(count),
        first: 0,
        count,
        attempt: 1,
        spec: spec().digest(),
        resources: Resources::new(1000, 1),
        timeout_seconds: None,
        queue: "q".parse().unwrap(),
        compute_environment: "ce".parse().unwrap(),
        nodes: None,
    }
}

fn key(lease: u64, child: u32) -> AttemptKey {
    AttemptKey { lease: LeaseId(lease), child }
}

fn held(lease: u64, children: &[(u32, u32)]) -> WireHeld {
    let job = Some(JobId::from_u128(lease.into()));
    WireHeld { lease: LeaseId(lease), children: children.to_vec(), job, lost: Vec::new() }
}

#[test]
fn children_start_in_order_as_they_fit() {
    let mut w = World::new();
    w.run(1, 6);
    assert_eq!(w.started, [key(1, 0), key(1, 1), key(1, 2), key(1, 3)]);
    w.exit(key(1, 1), 0);
    assert_eq!(w.started.last(), Some(&key(1, 4)));
    w.exit(key(1, 4), 0);
    assert_eq!(w.started.last(), Some(&key(1, 5)));
}

#[test]
fn what_does_not_fit_is_passed_by_what_does() {
    let mut w = World::new();
    w.run(1, 3);
    let big = Lease { resources: Resources::new(2000, 1), ..lease(2, 1) };
    w.order(Order::Run(big));
    w.run(3, 1);
    assert_eq!(w.started, [key(1, 0), key(1, 1), key(1, 2), key(3, 0)]);
    w.exit(key(1, 0), 0);
    w.exit(key(1, 1), 0);
    assert_eq!(w.started.last(), Some(&key(2, 0)));
}

#[test]
fn a_short_attempt_is_reported_by_its_end_alone() {
    let mut w = World::new();
    w.run(1, 1);
    w.exit(key(1, 0), 3);
    let reports = w.reports();
    let [Report::Ended(ended)] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!((ended.exit_code, ended.cause), (Some(3), EndCause::Exited));
    assert_eq!((ended.started_at, ended.log_bytes), (Some(w.now.wall), 7));
}

#[test]
fn children_that_wait_too_long_go_back() {
    let mut w = World::new();
    w.run(1, 6);
    w.reports();
    assert_eq!(w.core.next_deadline(), Some(w.now.monotonic + BACKLOG_LIMIT));
    w.advance(BACKLOG_LIMIT);
    let returned =
        Report::Returned { lease: LeaseId(1), job: lease(1, 6).job, children: vec![(4, 2)] };
    assert_eq!(w.reports(), [returned]);
    assert_eq!(w.core.counts(), (0, 4));
    w.exit(key(1, 0), 0);
    assert_eq!(w.started.len(), 4, "what was handed back does not start");
}

#[test]
fn children_too_big_for_this_host_go_back_at_once() {
    let mut w = World::new();
    w.order(Order::Run(Lease { resources: Resources::new(5000, 1), ..lease(1, 2) }));
    assert!(matches!(w.reports().as_slice(), [Report::Returned { .. }]));
}

#[test]
fn stopping_waiting_children_reports_them_without_a_start() {
    let mut w = World::new();
    w.run(1, 6);
    w.reports();
    w.order(Order::Stop(Stop { lease: LeaseId(1), children: vec![(4, 100)] }));
    let ended = w.ended();
    assert_eq!(ended.iter().map(|e| e.child).collect::<Vec<_>>(), [4, 5]);
    for one in ended {
        assert_eq!((one.cause, one.exit_code, one.started_at), (EndCause::Stopped, None, None));
    }
    assert!(w.stops.is_empty());
    assert_eq!(w.core.counts(), (0, 4));
    w.advance(BACKLOG_LIMIT);
    assert_eq!(w.reports(), [], "nothing of the lease waits");
}

#[test]
fn stopping_running_children_asks_then_kills() {
    let mut w = World::new();
    w.run(1, 1);
    w.order(Order::Stop(Stop { lease: LeaseId(1), children: vec![(0, 1)] }));
    assert_eq!(w.stops, [(key(1, 0), StopSignal::Terminate)]);
    w.advance(STOP_TIMEOUT - Duration::from_millis(1));
    assert_eq!(w.stops.len(), 1);
    w.advance(Duration::from_millis(1));
    assert_eq!(w.stops[1], (key(1, 0), StopSignal::Kill));
    w.exit(key(1, 0), 137);
    let ended = w.ended();
    assert_eq!((ended[0].cause, ended[0].exit_code), (EndCause::Stopped, Some(137)));
    assert_eq!(w.core.next_deadline(), Some(w.now.monotonic + CONFIRM_TIMEOUT), "no timer is left");
}

#[test]
fn a_time_limit_ends_an_attempt() {
    let mut w = World::new();
    w.order(Order::Run(Lease { timeout_seconds: Some(60), ..lease(1, 1) }));
    w.advance(Duration::from_secs(59));
    assert!(w.stops.is_empty());
    w.advance(Duration::from_secs(1));
    assert_eq!(w.stops, [(key(1, 0), StopSignal::Terminate)]);
    w.exit(key(1, 0), 143);
    let ended = w.ended();
    assert_eq!(ended[0].cause, EndCause::TimedOut);
    assert_eq!(ended[0].reason.as_deref(), Some("Job attempt duration exceeded timeout"));
}

#[test]
fn a_drained_agent_takes_nothing_new() {
    let mut w = World::new();
    w.run(1, 5);
    w.reports();
    w.order(Order::Drain);
    w.run(2, 1);
    let reports = w.reports();
    assert!(
        matches!(reports.as_slice(), [Report::Returned { .. }, Report::Returned { .. }]),
        "{reports:?}"
    );
    assert_eq!(w.started.len(), 4);
}

#[test]
fn repeated_and_old_orders_are_ignored() {
    let mut w = World::new();
    w.run(5, 1);
    w.run(5, 1);
    w.run(4, 1);
    w.order_as(w.session, 0, vec![Order::Run(lease(6, 1))]);
    w.order_as(w.session - 1, 1, vec![Order::Run(lease(6, 1))]);
    assert_eq!(w.started, [key(5, 0)]);
    w.exit(key(5, 0), 0);
    w.reports();
    w.order(Order::Confirm { upto: 9 });
    w.run(5, 1);
    w.restart();
    w.register(Vec::new());
    w.order_as(w.session - 1, 1, vec![Order::Run(lease(5, 1))]);
    assert_eq!(w.started, [key(5, 0)], "also after it is forgotten, and after a restart");
    w.run(2, 1);
    assert_eq!(w.started[1..], [key(2, 0)], "a cluster set up anew counts from the start");
}

#[test]
fn a_drained_agent_takes_work_again_when_told() {
    let mut w = World::new();
    w.order(Order::Drain);
    w.run(5, 1);
    assert!(w.started.is_empty());
    w.order(Order::Undrain);
    w.run(6, 1);
    assert_eq!(w.started, [key(6, 0)]);
}

#[test]
fn a_drain_that_comes_again_does_not_undo_what_was_said_after_it() {
    let mut w = World::new();
    w.order(Order::Drain);
    w.order(Order::Undrain);
    w.order_at(1, w.session, 1, vec![Order::Drain]);
    w.run(5, 1);
    assert_eq!(w.started, [key(5, 0)]);
    w.order(Order::Drain);
    w.order_at(2, w.session, 1, vec![Order::Undrain]);
    w.run(6, 1);
    assert_eq!(w.started, [key(5, 0)]);
    // A stream that was lost counts from the start, in a new session.
    w.register(Vec::new());
    w.order_at(1, w.session, 1, vec![Order::Drain]);
    w.run(7, 1);
    assert_eq!(w.started, [key(5, 0)]);
}

#[test]
fn confirmed_results_are_forgotten_and_others_are_sent_again() {
    let mut w = World::new();
    w.run(1, 3);
    w.exit(key(1, 0), 0);
    assert_eq!(w.reports().len(), 3, "one end, two starts");
    w.exit(key(1, 1), 0);
    assert_eq!(w.reports().len(), 1);
    w.order(Order::Confirm { upto: 3 });
    assert_eq!(w.register(Vec::new()), [held(1, &[(1, 2)])]);
    let (first, reports) = w.core.cut_reports(w.now).unwrap();
    assert_eq!((first, reports.len()), (1, 2), "the start of 2 and the end of 1, numbered anew");
    w.order(Order::Confirm { upto: 2 });
    assert_eq!(w.register(Vec::new()), [held(1, &[(2, 1)])]);
}

#[test]
fn silence_leads_to_a_new_registration() {
    let mut w = World::new();
    w.run(1, 1);
    w.reports();
    w.advance(CONFIRM_TIMEOUT);
    assert!(w.wants_registration);
    assert!(w.core.session().is_none());
}

#[test]
fn a_lease_with_an_unknown_spec_is_not_taken() {
    let mut w = World::new();
    let unknown = command("false");
    w.order(Order::Run(Lease { spec: unknown.digest(), ..lease(1, 1) }));
    assert!(w.wants_registration);
    assert_eq!(w.register(Vec::new()), []);
}

#[test]
fn fenced_children_are_killed_and_never_reported() {
    let mut w = World::new();
    w.run(1, 6);
    w.exit(key(1, 0), 0);
    w.stops.clear();
    w.register(vec![held(1, &[(0, u32::MAX)])]);
    let killed = [1, 2, 3, 4].map(|child| (key(1, child), StopSignal::Kill));
    assert_eq!(w.stops, killed);
    assert_eq!(w.reports(), []);
    w.run(2, 1);
    assert_eq!(w.started.len(), 5, "what is killed uses the host until it is gone");
    for child in [1, 2, 3, 4] {
        w.exit(key(1, child), 137);
    }
    assert_eq!(w.started.last(), Some(&key(2, 0)));
    assert!(w.ended().is_empty());
}

/// Fault 49 of ARCHITECTURE.md in the core.
#[test]
fn an_agent_whose_name_another_has_kills_all_it_holds_and_reports_nothing() {
    let mut w = World::new();
    w.run(1, 6);
    w.exit(key(1, 0), 0);
    w.stops.clear();
    w.core.begin_registration(w.now);
    w.handle(Input::Replaced);
    let killed = [1, 2, 3, 4].map(|child| (key(1, child), StopSignal::Kill));
    assert_eq!(w.stops, killed);
    for child in [1, 2, 3, 4] {
        w.exit(key(1, child), 137);
    }
    assert_eq!(w.core.counts(), (0, 0));
    assert_eq!(w.register(Vec::new()), [], "nothing is held when it is welcome again");
    assert_eq!(w.reports(), []);
    w.run(2, 1);
    assert_eq!(w.started.last(), Some(&key(2, 0)));
}

#[test]
fn fencing_a_part_leaves_the_rest() {
    let mut w = World::new();
    w.run(1, 6);
    w.register(vec![held(1, &[(0, 1), (4, 1)])]);
    let started = w.reports().into_iter().map(|report| match report {
        Report::Started { child, .. } => child,
        Report::Ended(_) | Report::Returned { .. } | Report::Leaving => panic!("{report:?}"),
    });
    assert_eq!(started.collect::<Vec<_>>(), [1, 2, 3]);
    w.exit(key(1, 0), 137);
    assert_eq!(w.started.last(), Some(&key(1, 5)), "child 4 never starts");
    assert_eq!(w.register(Vec::new()), [held(1, &[(1, 3), (5, 1)])]);
}

#[test]
fn a_restarted_agent_knows_what_it_held() {
    let mut w = World::new();
    w.run(1, 6);
    w.exit(key(1, 0), 0);
    w.order(Order::Stop(Stop { lease: LeaseId(1), children: vec![(1, 1)] }));
    w.stops.clear();
    // Child 2 is gone with its keeper; 1, 3 and 4 still run; 5 waits.
    w.running.remove(&key(1, 2));
    assert_eq!(w.restart(), [key(1, 2)]);
    assert!(w.stops.iter().all(|(stopped, _)| *stopped == key(1, 1)), "{:?}", w.stops);
    let at = w.now.wall;
    let reason = "gone".to_owned();
    w.observe(ExecutorEvent::Lost { key: key(1, 2), at, reason });
    assert_eq!(w.started.last(), Some(&key(1, 5)), "its place is free again");
    let without_result = vec![(1, 2)];
    let expected = WireHeld { lost: without_result, ..held(1, &[(0, 6)]) };
    assert_eq!(w.register(Vec::new()), [expected]);
    let ended = w.ended();
    assert_eq!(ended.len(), 2);
    assert_eq!((ended[0].child, ended[0].cause), (0, EndCause::Exited));
    assert_eq!((ended[1].child, ended[1].cause), (2, EndCause::HostLost));
    w.exit(key(1, 1), 143);
    assert_eq!(w.ended()[0].cause, EndCause::Stopped);
}

#[test]
fn what_the_journal_does_not_know_is_killed() {
    let mut w = World::new();
    w.running.insert(key(9, 9), w.now.wall);
    w.restart();
    assert_eq!(w.stops, [(key(9, 9), StopSignal::Kill)]);
    w.register(Vec::new());
    w.exit(key(9, 9), 137);
    assert_eq!(w.reports(), []);
}

#[test]
fn a_stopping_agent_gives_everything_back() {
    let mut w = World::new();
    w.run(1, 5);
    w.reports();
    w.order(Order::Confirm { upto: 4 });
    w.handle(Input::Close(Duration::from_secs(10)));
    assert_eq!(w.stops.len(), 4);
    w.advance(Duration::from_secs(10));
    assert_eq!(w.stops.len(), 8, "killed in the end");
    assert!(!w.core.is_idle());
    for child in 0..4 {
        w.exit(key(1, child), 137);
    }
    let reports = w.reports();
    assert!(matches!(reports[0], Report::Returned { .. }));
    for report in &reports[1..5] {
        let Report::Ended(ended) = report else { panic!("{report:?}") };
        assert_eq!((ended.cause, ended.exit_code), (EndCause::HostLost, None));
        assert_eq!(ended.reason.as_deref(), Some("agent stopped"));
    }
    assert_eq!(reports[5..], [Report::Leaving]);
    assert!(w.core.is_idle());
}

#[test]
fn a_failed_start_is_reported_and_frees_its_place() {
    let mut w = World::new();
    w.run(1, 5);
    w.running.remove(&key(1, 0));
    let (at, reason) = (w.now.wall, "x".repeat(300));
    w.observe(ExecutorEvent::StartFailed { key: key(1, 0), at, reason });
    assert_eq!(w.started.last(), Some(&key(1, 4)));
    let ended = w.ended();
    assert_eq!((ended[0].cause, ended[0].exit_code), (EndCause::StartFailed, None));
    assert_eq!(ended[0].started_at, None);
    assert_eq!(ended[0].reason.as_ref().map(String::len), Some(255));
}
