//! A host: attempts run here, whatever becomes of the agent, until the host dies. What really ran is told
//! to the oracle.
//!
//! A simulated program is in its command: `run MILLIS FAIL_PERMILLE IGNORES_SIGTERM`.

mod keeper;

use std::collections::BTreeMap;

use windrow_agent::core::StartPlan;
use windrow_agent::executor::{AttemptKey, ExecutorEvent, Fence, StopSignal};
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;
use windrow_common::wire::lease::TaskSpec;

use crate::net::{Net, Node, Timer};
use crate::random::mix;

/// What a program does.
#[derive(Clone, Copy, Debug)]
struct Program {
    millis: u64,
    /// Of a thousand attempts.
    fails: u64,
    ignores_sigterm: bool,
}

#[derive(Clone, Debug)]
struct Run {
    number: u64,
    program: Program,
    started_at: Option<Timestamp>,
    job: windrow_common::ids::JobId,
    attempt: u32,
    child: u32,
    /// The agent or the keeper has asked it to end.
    is_asked: bool,
    /// The keeper has ended it.
    is_fenced: bool,
    ended: Option<ExecutorEvent>,
}

/// The host.
pub struct Host {
    node: Node,
    /// Number of its life: timers of attempts of an earlier one do not count.
    pub life: u32,
    index: u8,
    runs: BTreeMap<AttemptKey, Run>,
    starts: u64,
    /// When the keeper ends what runs.
    fence: Option<Fence>,
    is_watching: bool,
}

impl Host {
    /// With nothing running.
    pub fn new(index: u8) -> Self {
        Self {
            node: Node::Host(index),
            life: 0,
            index,
            runs: BTreeMap::new(),
            starts: 0,
            fence: None,
            is_watching: false,
        }
    }

    /// What the executor still knows: what runs, and what has ended and was not forgotten.
    pub fn known(&self) -> Vec<(AttemptKey, Option<Timestamp>)> {
        self.runs.iter().map(|(key, run)| (*key, run.started_at)).collect()
    }

    /// The ends that nobody took yet.
    pub fn ends(&self) -> Vec<ExecutorEvent> {
        self.runs.values().filter_map(|run| run.ended.clone()).collect()
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.runs.values().filter(|run| run.ended.is_none()).count()
    }

    /// The host dies with all that runs on it.
    pub fn die(&mut self, net: &mut Net) {
        self.life += 1;
        (self.fence, self.is_watching) = (None, false);
        net.oracle.on_disk_lost(self.index);
        for (key, run) in std::mem::take(&mut self.runs) {
            if run.ended.is_none() {
                net.oracle.on_attempt_over(net.now, self.index, key, None);
            }
        }
    }

    /// Starts an attempt; or the end of one that the keeper does not let start.
    pub fn start(
        &mut self,
        net: &mut Net,
        (plan, agent): (&StartPlan, &Name),
        capacity: (u64, u64),
        now: Timestamp,
    ) -> Option<ExecutorEvent> {
        self.starts += 1;
        let program = program(&plan.spec);
        let run = Run {
            number: self.starts,
            program,
            started_at: None,
            job: plan.lease.job,
            attempt: plan.lease.attempt,
            child: plan.key.child,
            is_asked: false,
            is_fenced: false,
            ended: None,
        };
        if self.is_too_late(net) {
            return Some(self.refuse(net, plan.key, run, now));
        }
        net.trace.note(net.now, plan.key.lease.0, || {
            format!("{:?} starts {:?}: {program:?}", self.node, plan.key)
        });
        net.oracle.on_attempt(net.now, (self.index, agent), plan, capacity);
        let delay = net.random.within(0, 15);
        net.timer(self.node, self.life, delay, Timer::Begins(plan.key, self.starts));
        self.runs.insert(plan.key, run);
        None
    }

    /// Signals an attempt.
    pub fn stop(&mut self, net: &mut Net, key: AttemptKey, signal: StopSignal) {
        let Some(run) = self.runs.get_mut(&key).filter(|run| run.ended.is_none()) else { return };
        run.is_asked = true;
        if signal == StopSignal::Terminate && run.program.ignores_sigterm {
            return net.inject("program ignores SIGTERM");
        }
        let delay = net.random.within(0, 80);
        net.timer(self.node, self.life, delay, Timer::Dies(key, run.number, signal));
    }

    /// What the executor need not know any more.
    pub fn forget(&mut self, key: AttemptKey) {
        if self.runs.get(&key).is_some_and(|run| run.ended.is_some()) {
            self.runs.remove(&key);
        }
    }

    /// Something is due; what the agent, if it runs, is told of it.
    pub fn on_timer(
        &mut self,
        net: &mut Net,
        timer: &Timer,
        now: Timestamp,
    ) -> Option<ExecutorEvent> {
        match timer {
            Timer::Begins(key, number) => self.begin(net, *key, *number, now),
            Timer::Ends(key, number) => {
                let code = self.runs.get(key).map(exit_code)?;
                self.end(net, *key, *number, code, now)
            }
            Timer::Dies(key, number, StopSignal::Terminate) => {
                self.end(net, *key, *number, 143, now)
            }
            Timer::Dies(key, number, StopSignal::Kill) => self.end(net, *key, *number, 137, now),
            Timer::Watchdog => {
                self.watch(net);
                None
            }
            _ => None,
        }
    }

    fn begin(
        &mut self,
        net: &mut Net,
        key: AttemptKey,
        number: u64,
        now: Timestamp,
    ) -> Option<ExecutorEvent> {
        let run = self.runs.get_mut(&key).filter(|run| run.number == number)?;
        if run.ended.is_some() {
            return None;
        }
        run.started_at = Some(now);
        let delay = run.program.millis + net.random.within(0, run.program.millis / 4);
        net.timer(self.node, self.life, delay, Timer::Ends(key, number));
        Some(ExecutorEvent::Started { key, at: now })
    }

    fn end(
        &mut self,
        net: &mut Net,
        key: AttemptKey,
        number: u64,
        exit_code: i32,
        now: Timestamp,
    ) -> Option<ExecutorEvent> {
        let run = self.runs.get_mut(&key).filter(|run| run.number == number)?;
        if run.ended.is_some() {
            return None;
        }
        let node = self.node;
        net.trace.note(net.now, key.lease.0, || format!("{node:?}: {key:?} ends with {exit_code}"));
        net.oracle.on_attempt_over(net.now, self.index, key, Some(exit_code));
        let event = match run.is_fenced {
            true => keeper::fenced(key, now),
            false => ExecutorEvent::Exited {
                key,
                at: now,
                exit_code,
                out_of_memory: false,
                reason: None,
                containers: Vec::new(),
            },
        };
        run.ended = Some(event.clone());
        Some(event)
    }
}

fn exit_code(run: &Run) -> i32 {
    let id = run.job.to_string();
    let seed = id.bytes().fold(u64::from(run.attempt), |sum, b| mix(sum ^ u64::from(b)));
    let draw = mix(seed ^ u64::from(run.child) << 20) % 1000;
    i32::from(draw < run.program.fails)
}

fn program(spec: &TaskSpec) -> Program {
    let words = &spec.containers[0].command;
    let number = |index: usize| words.get(index).and_then(|w| w.parse().ok()).unwrap_or(0);
    Program { millis: number(1), fails: number(2), ignores_sigterm: number(3) > 0 }
}
