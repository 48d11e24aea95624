//! When the containers of one attempt start and stop: pure, without engine or clock.
//!
//! A container starts when those that it depends on are far enough. When an essential one ends, when
//! a dependency can no longer be met, or when somebody asks for it, the others are stopped: those
//! that depend on others first, each by SIGTERM and, after its own time-out, SIGKILL.
//!
//! ```text
//! waiting --dependencies met--> running --exit--> ended
//!    |                            '--SIGTERM--> stopping --time-out: SIGKILL--> ended
//!    '--the attempt ends: never started
//! ```

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::ContainerEnd;
use windrow_common::wire::container::Condition;

use crate::core::OUT_OF_MEMORY;
use crate::executor::StopSignal;

/// Pause before a SIGKILL is sent once more.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// What has to be known of a container to start and stop it in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) essential: bool,
    /// By their place in the attempt.
    pub(super) depends_on: Vec<(usize, Condition)>,
    /// How long others wait for it to get far enough.
    pub(super) start_timeout: Option<Duration>,
    pub(super) stop_timeout: Duration,
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Running { since: Timestamp, health: Health, stopping: Stopping },
    Ended(Exit),
}

impl Stage {
    pub(super) fn running(since: Timestamp) -> Self {
        Self::Running { since, health: Health::Unknown, stopping: Stopping::No }
    }
}

/// What its image's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Unknown,
    Good,
    Bad,
    /// The image has no check.
    Unchecked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    No,
    Terminated { kill_at: Timestamp },
    Killed { again_at: Timestamp },
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) at: Timestamp,
    pub(super) code: i32,
    pub(super) out_of_memory: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Start(usize),
    Signal(usize, StopSignal),
    /// Until something happens, or this time.
    Wait(Option<Timestamp>),
    Over,
}

/// How the whole attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) at: Timestamp,
    pub(super) exit_code: i32,
    pub(super) out_of_memory: bool,
    pub(super) reason: Option<String>,
    /// Each container; none for an attempt of only one.
    pub(super) containers: Vec<ContainerEnd>,
}

/// The containers of an attempt.
#[derive(Debug)]
pub(super) struct Life {
    members: Vec<Member>,
    stages: Vec<Stage>,
    /// Why those that did not start did not.
    failures: Vec<Option<String>>,
    stop: Option<StopSignal>,
    /// Why the attempt failed without an essential container that did.
    failure: Option<String>,
}

impl Life {
    pub(super) fn new(members: Vec<Member>, stages: Vec<Stage>) -> Self {
        let failures = vec![None; members.len()];
        Self { members, stages, failures, stop: None, failure: None }
    }

    /// Whether somebody asked for its end, or it is ending as a whole.
    pub(super) fn is_stopping(&self) -> bool {
        let is_signalled = |stage: &Stage| matches!(stage, Stage::Running { stopping, .. } if *stopping != Stopping::No);
        self.stop.is_some() || self.failure.is_some() || self.stages.iter().any(is_signalled)
    }

    pub(super) fn running(&self) -> Vec<usize> {
        let running = |i: &usize| matches!(self.stages[*i], Stage::Running { .. });
        (0..self.stages.len()).filter(running).collect()
    }

    /// Since when all have been started; absent while one has not.
    pub(super) fn all_started(&self) -> Option<Timestamp> {
        let since = self.stages.iter().map(|stage| match stage {
            Stage::Waiting => None,
            Stage::Running { since, .. } => Some(*since),
            Stage::Ended(exit) => Some(exit.at),
        });
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Whether none ever ran.
    pub(super) fn never_ran(&self) -> bool {
        self.stages.iter().all(|stage| *stage == Stage::Waiting)
    }

    /// Why the attempt could not go on, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Running ones whose health others wait for.
    pub(super) fn watched(&self) -> Vec<usize> {
        let unknown = |i: &usize| {
            matches!(self.stages[*i], Stage::Running { health: Health::Unknown, .. })
                && self.awaited(*i).any(|condition| condition == Condition::Healthy)
        };
        (0..self.stages.len()).filter(unknown).collect()
    }

    pub(super) fn started(&mut self, i: usize, at: Timestamp) {
        self.stages[i] = Stage::running(at);
    }

    pub(super) fn start_failed(&mut self, i: usize, reason: String) {
        self.failure.get_or_insert_with(|| reason.clone());
        self.failures[i] = Some(reason);
        self.stop.get_or_insert(StopSignal::Terminate);
    }

    pub(super) fn ended(&mut self, i: usize, exit: Exit) {
        self.stages[i] = Stage::Ended(exit);
    }

    pub(super) fn examined(&mut self, i: usize, found: Health) {
        if let Stage::Running { health, .. } = &mut self.stages[i] {
            *health = found;
        }
    }

    /// Somebody wants the attempt to end. A second kill is sent again.
    pub(super) fn stop(&mut self, signal: StopSignal, now: Timestamp) {
        self.stop = match (self.stop, signal) {
            (Some(StopSignal::Kill), _) | (_, StopSignal::Kill) => Some(StopSignal::Kill),
            (Some(StopSignal::Terminate) | None, StopSignal::Terminate) => {
                Some(StopSignal::Terminate)
            }
        };
        for stage in &mut self.stages {
            if let Stage::Running { stopping, .. } = stage
                && signal == StopSignal::Kill
            {
                *stopping = Stopping::Terminated { kill_at: now };
            }
        }
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Step {
        let essential_ended = self
            .members
            .iter()
            .zip(&self.stages)
            .any(|(member, stage)| member.essential && matches!(stage, Stage::Ended(_)));
        if essential_ended {
            self.stop.get_or_insert(StopSignal::Terminate);
        }
        match self.stop {
            None => self.next_start(now),
            Some(signal) => self.next_stop(signal, now),
        }
    }

    fn next_start(&mut self, now: Timestamp) -> Step {
        for i in 0..self.members.len() {
            if self.stages[i] != Stage::Waiting {
                continue;
            }
            match self.dependencies(i) {
                Ok(true) => return Step::Start(i),
                Ok(false) => {}
                Err(reason) => {
                    self.start_failed(i, reason);
                    return self.next(now);
                }
            }
        }
        let limits = (0..self.members.len()).filter_map(|i| Some((self.start_limit(i)?, i)));
        match limits.min() {
            Some((at, i)) if at <= now => {
                let name = &self.members[i].name;
                let reason = format!(
                    "container `{name}` was not far enough for those that depend on it within its startTimeout"
                );
                self.start_failed(i, reason);
                self.next(now)
            }
            limit if self.running().is_empty() => {
                debug_assert!(limit.is_none(), "only running containers have a limit");
                Step::Over
            }
            limit => Step::Wait(limit.map(|(at, _)| at)),
        }
    }

    /// Until when others wait for it.
    fn start_limit(&self, i: usize) -> Option<Timestamp> {
        let Stage::Running { since, .. } = self.stages[i] else { return None };
        self.awaited(i).next()?;
        Some(since.plus(self.members[i].start_timeout?))
    }

    /// The conditions that waiting containers have on it.
    fn awaited(&self, on: usize) -> impl Iterator<Item = Condition> + '_ {
        let waiting = self.members.iter().zip(&self.stages).filter(|(_, s)| **s == Stage::Waiting);
        let all = waiting.flat_map(|(member, _)| member.depends_on.iter());
        all.filter(move |(i, _)| *i == on).map(|(_, condition)| *condition)
    }

    /// Whether everything it depends on is far enough; the error says what never will be.
    fn dependencies(&self, i: usize) -> Result<bool, String> {
        let mut met = true;
        for (on, condition) in &self.members[i].depends_on {
            let (name, other) = (&self.members[i].name, &self.members[*on].name);
            let never =
                |why: &str| Err(format!("container `{name}` cannot start: `{other}` {why}"));
            met &= match (condition, &self.stages[*on]) {
                (_, Stage::Waiting) => false,
                (Condition::Start, Stage::Running { .. } | Stage::Ended(_))
                | (Condition::Complete, Stage::Ended(_))
                | (Condition::Success, Stage::Ended(Exit { code: 0, .. }))
                | (Condition::Healthy, Stage::Running { health: Health::Good, .. }) => true,
                (Condition::Success, Stage::Ended(exit)) => {
                    return never(&format!("exited with {} and SUCCESS was needed", exit.code));
                }
                (Condition::Healthy, Stage::Ended(_)) => {
                    return never("ended before it was healthy");
                }
                (Condition::Healthy, Stage::Running { health: Health::Bad, .. }) => {
                    return never("is not healthy");
                }
                (Condition::Healthy, Stage::Running { health: Health::Unchecked, .. }) => {
                    return never("has an image without a health check");
                }
                (Condition::Complete | Condition::Success, Stage::Running { .. })
                | (Condition::Healthy, Stage::Running { health: Health::Unknown, .. }) => false,
            };
        }
        Ok(met)
    }

    fn next_stop(&mut self, signal: StopSignal, now: Timestamp) -> Step {
        let mut wake: Option<Timestamp> = None;
        for i in self.running() {
            let has_dependents = self.has_running_dependents(i);
            let timeout = self.members[i].stop_timeout;
            let Stage::Running { stopping, .. } = &mut self.stages[i] else { continue };
            let due = match *stopping {
                Stopping::No if signal == StopSignal::Kill => now,
                Stopping::No if has_dependents => continue,
                Stopping::No => {
                    *stopping = Stopping::Terminated { kill_at: now.plus(timeout) };
                    return Step::Signal(i, StopSignal::Terminate);
                }
                Stopping::Terminated { kill_at } => kill_at,
                Stopping::Killed { again_at } => again_at,
            };
            if due <= now {
                *stopping = Stopping::Killed { again_at: now.plus(KILL_AGAIN) };
                return Step::Signal(i, StopSignal::Kill);
            }
            wake = Some(wake.map_or(due, |at| at.min(due)));
        }
        if self.running().is_empty() { Step::Over } else { Step::Wait(wake) }
    }

    fn has_running_dependents(&self, on: usize) -> bool {
        let depends = |i: &usize| self.members[*i].depends_on.iter().any(|(other, _)| *other == on);
        self.running().iter().any(depends)
    }

    /// How it ended, once it is over.
    pub(super) fn outcome(&self, now: Timestamp) -> Outcome {
        let mut exits: Vec<(Exit, &Member)> = Vec::new();
        for (stage, member) in self.stages.iter().zip(&self.members) {
            if let Stage::Ended(exit) = stage {
                exits.push((*exit, member));
            }
        }
        exits.sort_by_key(|(exit, _)| exit.at);
        let at = exits.last().map_or(now, |(exit, _)| exit.at);
        if self.members.len() == 1 && self.failure.is_none() {
            let (code, oom) = exits.first().map_or((1, false), |(e, _)| (e.code, e.out_of_memory));
            let containers = Vec::new();
            return Outcome { at, exit_code: code, out_of_memory: oom, reason: None, containers };
        }
        let failed = exits.iter().find(|(exit, member)| member.essential && exit.code != 0);
        let missing = self.stages.iter().zip(&self.members);
        let missing = missing.filter(|(stage, m)| **stage == Stage::Waiting && m.essential);
        let missing = missing.map(|(_, member)| member).next();
        let (exit_code, reason) = match (&self.failure, failed, missing) {
            (Some(failure), Some((exit, _)), _) => (exit.code, Some(failure.clone())),
            (Some(failure), None, _) => (1, Some(failure.clone())),
            (None, Some((exit, member)), _) => {
                (exit.code, Some(format!("container `{}` exited with {}", member.name, exit.code)))
            }
            (None, None, Some(member)) => {
                (1, Some(format!("container `{}` was never started", member.name)))
            }
            (None, None, None) => (0, None),
        };
        let out_of_memory = failed.is_some_and(|(exit, _)| exit.out_of_memory);
        let ends = (0..self.members.len()).map(|i| self.end_of(i)).collect();
        Outcome { at, exit_code, out_of_memory, reason, containers: ends }
    }

    fn end_of(&self, i: usize) -> ContainerEnd {
        let (exit_code, reason) = match &self.stages[i] {
            Stage::Ended(exit) => {
                (Some(exit.code), exit.out_of_memory.then(|| OUT_OF_MEMORY.to_owned()))
            }
            Stage::Waiting | Stage::Running { .. } => (None, self.failures[i].clone()),
        };
        ContainerEnd { name: self.members[i].name.clone(), exit_code, reason }
    }
}
