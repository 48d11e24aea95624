//! An agent's process: the real core, and around it a model of its shell. The host and the disk live on
//! when the process dies.

mod reports;

use std::time::Duration;

use bytes::Bytes;
use windrow_agent::core::held::{Held, Record};
use windrow_agent::core::{Core, Input, Observed, Output, Settings};
use windrow_agent::executor::ExecutorEvent;
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{Beat, Control, Executor, Register, RegisterReply, Session};
use windrow_common::wire::lease::OrderMessage;

use crate::bus::Delivery;
use crate::coordinator::{HEARTBEAT, millis, moment, wall};
use crate::host::Host;
use crate::names;
use crate::net::{Answer, Message, Net, Node, Op, Timer};

/// How long a registration may go unanswered.
const REGISTER_TIMEOUT: u64 = 5_000;

/// What an agent is like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub cpus: u32,
    pub memory: u32,
    /// Its name's number: a clone has another's.
    pub name: u8,
}

/// An agent with its host.
pub struct Agent {
    node: Node,
    index: u8,
    kind: Kind,
    /// Number of the process.
    pub life: u32,
    pub clock_offset: i64,
    pub host: Host,
    /// What it has written to its disk.
    disk: Vec<Vec<Record>>,
    process: Option<Process>,
    /// Steps until it dies in the middle of something.
    dies_in: Option<u32>,
    /// It tells everything twice, and things of leases it never had.
    pub lies: bool,
    /// Its host is gone for good.
    pub is_gone: bool,
    /// It does not get to run: messages and timers wait.
    is_frozen: bool,
    held_up: Vec<Wakeup>,
}

/// Something that came while the process was frozen.
enum Wakeup {
    Message(Message),
    Timer(Timer),
    Event(ExecutorEvent),
}

struct Process {
    core: Core,
    boot: u64,
    /// Number of the registration under way, and whether it was sent.
    registration: u64,
    asked: Option<bool>,
    tries: u32,
    accepted_before: bool,
    /// The consumer that is read.
    consumer: Option<String>,
    /// A report message that is not stored yet: its token, session, content and tries.
    report: Option<(u64, u64, Bytes, u32)>,
    pauses: bool,
    beats: u64,
    /// The first report message of the session before, and that of this one.
    first_reports: [Option<Bytes>; 2],
    deadline: u64,
    armed: Option<Duration>,
    closing: bool,
}

impl Agent {
    /// A host whose agent does not run yet.
    pub fn new(index: u8, kind: Kind) -> Self {
        Self {
            node: Node::Agent(index),
            index,
            kind,
            life: 0,
            clock_offset: 0,
            host: Host::new(index),
            disk: Vec::new(),
            process: None,
            dies_in: None,
            lies: false,
            is_gone: false,
            is_frozen: false,
            held_up: Vec::new(),
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its name and the session it is in, if the process runs.
    pub fn session(&self) -> Option<(windrow_common::ids::Name, Option<u64>)> {
        let process = self.process.as_ref()?;
        Some((self.name(), process.core.session().map(|session| session.session)))
    }

    /// What it believes to hold: leases.
    pub fn held(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.core.held().leases.len())
    }

    /// Starts the process, with what the disk has.
    pub fn start(&mut self, net: &mut Net) {
        if self.is_gone {
            return;
        }
        self.life += 1;
        self.dies_in = None;
        let (now, at) = (moment(net.now, self.clock_offset), wall(net.now, self.clock_offset));
        net.trace.note(net.now, 31, || format!("{:?} starts", self.node));
        let mut held = Held::default();
        self.disk.iter().flatten().for_each(|record| held.apply(record));
        let mut core = Core::new(self.settings(), held, now);
        let missing = core.adopt(&self.host.known(), now);
        self.process = Some(Process {
            core,
            boot: net.random.number(),
            registration: 0,
            asked: None,
            tries: 0,
            accepted_before: false,
            consumer: None,
            report: None,
            pauses: false,
            beats: 0,
            first_reports: [None, None],
            deadline: 0,
            armed: None,
            closing: false,
        });
        net.connect(self.node);
        let reason = "the attempt ended while its agent was away";
        let lost = missing.into_iter();
        let lost = lost.map(|key| ExecutorEvent::Lost { key, at, reason: reason.to_owned() });
        let events: Vec<_> = lost.chain(self.host.ends()).collect();
        self.carry_out(net);
        self.on_events(net, events);
    }

    fn settings(&self) -> Settings {
        Settings {
            resources: self.resources(),
            gpus: Vec::new(),
            stop_timeout: Duration::from_secs(3),
            backlog_limit: Duration::from_secs(5),
        }
    }

    fn resources(&self) -> Resources {
        Resources::new(self.kind.cpus * 1000, self.kind.memory)
    }

    /// Kills the process; its attempts go on.
    pub fn kill(&mut self, net: &mut Net) {
        net.trace.note(net.now, 32, || format!("{:?} is killed", self.node));
        self.life += 1;
        self.process = None;
        self.is_frozen = false;
        self.held_up.clear();
        net.hang_up(self.node);
    }

    /// It stands still, as after SIGSTOP; what it has started goes on.
    pub fn freeze(&mut self) {
        self.is_frozen = self.process.is_some();
    }

    /// It goes on, with all that has come meanwhile.
    pub fn thaw(&mut self, net: &mut Net) {
        self.is_frozen = false;
        for wakeup in std::mem::take(&mut self.held_up) {
            match wakeup {
                Wakeup::Message(message) => self.on_message(net, message),
                Wakeup::Timer(timer) => self.on_timer(net, &timer),
                Wakeup::Event(event) => self.on_events(net, vec![event]),
            }
        }
    }

    /// It dies after so many steps more.
    pub fn die_in(&mut self, steps: u32) {
        self.dies_in = Some(steps);
    }

    /// The host dies. Its disk may have lost what was written last, or everything.
    pub fn lose_host(&mut self, net: &mut Net, disk_is_lost: bool) {
        net.trace.note(net.now, 33, || format!("host of {:?} dies", self.node));
        if self.process.is_some() {
            self.kill(net);
        }
        self.host.die(net);
        if disk_is_lost {
            self.disk.clear();
        } else {
            let lost = net.random.index(self.disk.len().min(4) + 1);
            self.disk.truncate(self.disk.len() - lost);
        }
    }

    /// It does not die in the middle of something.
    pub fn spare(&mut self) {
        self.dies_in = None;
    }

    /// Whether it was told to stop.
    pub fn is_closing(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.closing)
    }

    /// What it is like.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Takes the disk of another, as a copied machine does.
    pub fn copy_disk(&mut self, of: &Self) {
        self.disk.clone_from(&of.disk);
    }

    /// It is told to stop, with its jobs: the host goes away after this time.
    pub fn close(&mut self, net: &mut Net, grace: Duration) {
        if let Some(process) = &mut self.process {
            process.closing = true;
            self.decide(net, Input::Close(grace));
        }
    }

    /// A step of the process: it may die here.
    fn dies(&mut self, net: &mut Net) -> bool {
        match &mut self.dies_in {
            Some(0) => {
                net.inject("agent dies between two steps");
                self.kill(net);
                let delay = net.random.within(50, 20_000);
                net.timer(self.node, self.life, delay, Timer::Start);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn decide(&mut self, net: &mut Net, input: Input) {
        let now = moment(net.now, self.clock_offset);
        if let Some(process) = &mut self.process {
            process.core.handle(input, now);
            self.carry_out(net);
        }
    }

    /// Carries out what the core wants, in its order. Whether the process lives on.
    fn carry_out(&mut self, net: &mut Net) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Output { records, starts, stops, forgets, register, .. } = process.core.take_output();
        let fence = process.core.must_end_by();
        if !records.is_empty() {
            if self.dies(net) {
                return false;
            }
            for record in &records {
                if let Record::Forgotten { lease, children } = record {
                    net.oracle.on_forgotten(*lease, children);
                }
            }
            self.disk.push(records);
            self.compact();
        }
        let capacity = (u64::from(self.kind.cpus) * 1000, u64::from(self.kind.memory));
        let (name, at) = (self.name(), wall(net.now, self.clock_offset));
        // Before anything starts.
        self.host.keep(net, fence);
        let mut refused = Vec::new();
        for plan in &starts {
            if self.dies(net) {
                return false;
            }
            refused.extend(self.host.start(net, (plan, &name), capacity, at));
        }
        for (key, signal) in stops {
            self.host.stop(net, key, signal);
        }
        for key in forgets {
            self.host.forget(key);
        }
        if register {
            self.leave_session(net);
            self.want_registration(net);
        }
        self.send_reports(net);
        self.arm(net);
        self.on_events(net, refused);
        self.is_running()
    }

    /// Writes its disk anew when that has grown.
    fn compact(&mut self) {
        if let Some(process) = &self.process
            && self.disk.len() > 200
        {
            self.disk = vec![process.core.held().to_records()];
        }
    }

    fn arm(&mut self, net: &mut Net) {
        let (node, life) = (self.node, self.life);
        let now = Duration::from_millis(net.now);
        let Some(process) = &mut self.process else { return };
        let next = process.core.next_deadline();
        if next == process.armed {
            return;
        }
        process.armed = next;
        process.deadline += 1;
        if let Some(at) = next {
            let delay = millis(at.saturating_sub(now));
            net.timer(node, life, delay, Timer::Deadline(process.deadline));
        }
    }

    fn on_events(&mut self, net: &mut Net, events: Vec<ExecutorEvent>) {
        if events.is_empty() {
            return;
        }
        let observed = events.into_iter().map(|event| Observed { event, log_bytes: 0 });
        self.decide(net, Input::Observed(observed.collect()));
    }

    /// A timer of the host.
    pub fn on_host_timer(&mut self, net: &mut Net, timer: &Timer) {
        let now = wall(net.now, self.clock_offset);
        let event = self.host.on_timer(net, timer, now);
        if self.is_frozen {
            return self.held_up.extend(event.map(Wakeup::Event));
        }
        if self.process.is_some() {
            self.on_events(net, event.into_iter().collect());
        }
    }

    /// A timer of the process.
    pub fn on_timer(&mut self, net: &mut Net, timer: &Timer) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Timer(timer.clone()));
        }
        match timer {
            Timer::Tick => self.beat(net),
            Timer::Deadline(number) => {
                let is_newest = self.process.as_ref().is_some_and(|p| p.deadline == *number);
                if is_newest {
                    if let Some(process) = &mut self.process {
                        process.armed = None;
                    }
                    self.decide(net, Input::Tick);
                    self.arm(net);
                }
            }
            Timer::Register(number) => self.register(net, *number),
            Timer::RegisterTimeout(number) if self.is_current(*number) => {
                let tries = self.process.as_ref().map_or(0, |process| process.tries);
                let delay = back_off(net, tries);
                self.register_later(net, delay, tries + 1);
            }
            Timer::Report(session) => {
                if let Some(process) = &mut self.process
                    && process.core.session().is_some_and(|s| s.session == *session)
                {
                    process.pauses = false;
                    self.repeat_report(net);
                    self.send_reports(net);
                }
            }
            Timer::Wake(number) => {
                let is_current = |s: &Session| s.session == *number;
                let process = self.process.as_ref();
                if process.and_then(|p| p.core.session()).is_some_and(is_current) {
                    self.decide(net, Input::SessionLost);
                }
            }
            Timer::Unanswered(token) => self.on_report_answer(net, *token, &Answer::TimedOut),
            _ => {}
        }
    }

    /// Something has reached it.
    pub fn on_message(&mut self, net: &mut Net, message: Message) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Message(message));
        }
        match message {
            Message::Connected => {
                net.send(self.node, Op::Subscribe(names::subjects().control(&self.name())));
                net.send(self.node, Op::Subscribe(format!("{}.*", self.inbox())));
                let Some(process) = &mut self.process else { return };
                let spread = if process.accepted_before { net.random.within(0, 500) } else { 0 };
                self.register_later(net, spread, 0);
            }
            // It goes on, and registers when it is connected again.
            Message::Disconnected => {}
            Message::Plain { subject, payload, .. } => self.on_plain(net, &subject, &payload),
            Message::Answer { token, answer } => self.on_report_answer(net, token, &answer),
            Message::Delivered { consumer, deliveries } => {
                if self.process.as_ref().is_some_and(|p| p.consumer.as_ref() == Some(&consumer)) {
                    self.on_orders(net, &consumer, &deliveries);
                }
            }
            Message::PullEnded { consumer } => {
                let Some(process) = &self.process else { return };
                if process.consumer.as_ref() == Some(&consumer)
                    && let Some(session) = process.core.session()
                {
                    let delay = net.random.within(100, 200);
                    net.timer(self.node, self.life, delay, Timer::Wake(session.session));
                }
            }
        }
    }

    fn name(&self) -> windrow_common::ids::Name {
        names::agent(self.kind.name)
    }

    fn inbox(&self) -> String {
        format!("inbox.{}-{}", self.index, self.life)
    }

    fn is_current(&self, number: u64) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|p| p.registration == number && p.asked.is_some())
    }

    fn want_registration(&mut self, net: &mut Net) {
        if self.process.as_ref().is_some_and(|process| process.asked != Some(true)) {
            let tries = self.process.as_ref().map_or(0, |process| process.tries);
            self.register_later(net, 0, tries);
        }
    }

    fn register_later(&mut self, net: &mut Net, delay: u64, tries: u32) {
        let Some(process) = &mut self.process else { return };
        process.registration += 1;
        (process.asked, process.tries) = (Some(false), tries);
        net.timer(self.node, self.life, delay, Timer::Register(process.registration));
    }

    fn register(&mut self, net: &mut Net, number: u64) {
        if !self.is_current(number) {
            return;
        }
        self.leave_session(net);
        let (clock, agent) = (wall(net.now, self.clock_offset), self.name());
        let (resources, reply) = (self.resources(), format!("{}.{number}", self.inbox()));
        let Some(process) = &mut self.process else { return };
        process.asked = Some(true);
        let held = process.core.begin_registration(moment(net.now, self.clock_offset));
        let (term_seen, lease_seen) = process.core.seen();
        let request = Register {
            version: wire::VERSION,
            agent: agent.clone(),
            boot: process.boot,
            host: format!("host{}", self.index),
            compute_environment: names::name(names::ENVIRONMENT),
            resources,
            executors: vec![Executor::Process],
            architecture: "X86_64".to_owned(),
            agent_version: "0".to_owned(),
            clock,
            held,
            address: None,
            gpus: Vec::new(),
            term_seen,
            lease_seen,
            problems: Vec::new(),
            number,
        };
        let subject = names::subjects().register(&agent);
        let payload = to_msgpack(&request).into();
        net.send(self.node, Op::Publish { subject, reply: Some(reply), payload });
        net.timer(self.node, self.life, REGISTER_TIMEOUT, Timer::RegisterTimeout(number));
    }

    fn on_plain(&mut self, net: &mut Net, subject: &str, payload: &[u8]) {
        if let Some(number) = subject.strip_prefix(&format!("{}.", self.inbox())) {
            let number = number.parse().unwrap_or(0);
            if self.is_current(number)
                && let Ok(reply) = from_msgpack::<RegisterReply>(payload)
            {
                self.on_registered(net, reply);
            }
        } else {
            match from_msgpack(payload) {
                Ok(Control::Register) => self.want_registration(net),
                Ok(Control::Heard { session, term, number }) => {
                    self.decide(net, Input::Heard { session, term, number });
                }
                Err(_) => {}
            }
        }
    }

    fn on_registered(&mut self, net: &mut Net, reply: RegisterReply) {
        let Some(process) = &mut self.process else { return };
        match reply {
            RegisterReply::Accepted(session) => {
                net.trace.note(net.now, session.session, || {
                    format!("{:?} joins, session {}", self.node, session.session)
                });
                (process.asked, process.tries, process.accepted_before) = (None, 0, true);
                process.beats += 1;
                process.first_reports = [process.first_reports[1].take(), None];
                let late = process.first_reports[0].clone().filter(|_| self.lies);
                let (stream, consumer) = (session.stream.clone(), session.consumer.clone());
                process.consumer = Some(consumer.clone());
                if process.beats == 1 {
                    let first = net.random.within(1, millis(HEARTBEAT));
                    net.timer(self.node, self.life, first, Timer::Tick);
                }
                if let Some(payload) = late {
                    net.inject("report of the session before comes late");
                    let subject = names::subjects().report(&self.name());
                    net.send(self.node, Op::Publish { subject, reply: None, payload });
                }
                self.decide(net, Input::Registered(session));
                net.send(self.node, Op::Pull { stream, consumer });
            }
            RegisterReply::Refused { .. } | RegisterReply::Replaced { .. } => {
                let (delay, tries) = (net.random.within(1000, 3000), process.tries + 1);
                self.register_later(net, delay, tries);
                if let RegisterReply::Replaced { .. } = reply {
                    self.decide(net, Input::Replaced);
                }
            }
        }
    }

    fn on_orders(&mut self, net: &mut Net, consumer: &str, deliveries: &[Delivery]) {
        let read = |d: &Delivery| Some((d.sequence, from_msgpack(&d.payload).ok()?));
        let orders: Vec<(u64, OrderMessage)> = deliveries.iter().filter_map(read).collect();
        let now = moment(net.now, self.clock_offset);
        let Some(process) = &mut self.process else { return };
        process.core.handle(Input::Orders(orders), now);
        if !self.carry_out(net) {
            return;
        }
        for delivery in deliveries {
            let (stream, consumer) = (names::LEASES.to_owned(), consumer.to_owned());
            net.send(self.node, Op::Ack { stream, consumer, sequence: delivery.sequence });
        }
    }

    fn leave_session(&mut self, net: &mut Net) {
        let Some(process) = &mut self.process else { return };
        (process.report, process.pauses) = (None, false);
        if let Some(consumer) = process.consumer.take() {
            let stream = names::LEASES.to_owned();
            net.send(self.node, Op::StopPull { stream, consumer });
        }
    }

    fn beat(&mut self, net: &mut Net) {
        let period = millis(HEARTBEAT);
        net.timer(self.node, self.life, period, Timer::Tick);
        let clock = wall(net.now, self.clock_offset);
        let agent = self.name();
        let Some(process) = &mut self.process else { return };
        let Some(session) = process.core.session().map(|session| session.session) else { return };
        let (number, _) = process.core.beat(moment(net.now, self.clock_offset));
        let (waiting, running) = process.core.counts();
        let beat = Beat {
            version: wire::VERSION,
            session,
            clock,
            waiting,
            running,
            last_lease: process.core.held().last_lease,
            last_report: process.core.last_report(),
            load: 0,
            number,
            round_trip_millis: None,
        };
        let (subject, payload) = (names::subjects().beat(&agent), to_msgpack(&beat).into());
        net.send(self.node, Op::Publish { subject, reply: None, payload });
    }
}

fn back_off(net: &mut Net, tries: u32) -> u64 {
    let most = (100u64 << tries.min(6)).min(5_000);
    net.random.within(most / 2, most)
}
