//! Which faults a seed has, and the questions and stops that come at bad moments.

use super::{Ask, Fault, LEADER, Step};
use crate::net::{Cut, Weather};
use crate::random::Random;

/// Questions about each moment that is dangerous for answers.
const QUESTIONS: u32 = 30;
/// Kinds of faults that a seed can have.
const KINDS: usize = 20;

impl Fault {
    /// The same, where it is for whoever leads.
    pub fn against(self, leader: u8) -> Self {
        let of = |index: u8| if index == LEADER { leader } else { index };
        match self {
            Self::KillCoordinator(index, delay) => Self::KillCoordinator(of(index), delay),
            Self::CoordinatorDiesIn(index, steps) => Self::CoordinatorDiesIn(of(index), steps),
            Self::CoordinatorDiesBusy(index) => Self::CoordinatorDiesBusy(of(index)),
            Self::FreezeCoordinator(index, delay) => Self::FreezeCoordinator(of(index), delay),
            Self::CutCoordinator(index, cut, delay) => Self::CutCoordinator(of(index), cut, delay),
            Self::CoordinatorClock(index, jump) => Self::CoordinatorClock(of(index), jump),
            other => other,
        }
    }
}

pub(super) fn storm(random: &mut Random, most: u64) -> Weather {
    let mut rate = |most: u64| if random.chance(500) { random.within(1, most) } else { 0 };
    let (lost, refused, unanswered, doubled) = (rate(most * 2), rate(most), rate(most), rate(most));
    Weather { latency: 10, lost, refused, unanswered, doubled }
}

pub(super) fn faults(
    random: &mut Random,
    calm_at: u64,
    coordinators: u8,
    agents: u8,
) -> Vec<(u64, Fault)> {
    let chosen: Vec<usize> = (0..KINDS).filter(|_| random.chance(250)).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for _ in 0..random.within(1, 10) {
        let kind = chosen[random.index(chosen.len())];
        let at = random.within(2_000, calm_at - 1_000);
        let coordinator = match random.chance(600) {
            true => LEADER,
            false => u8::try_from(random.index(coordinators.into())).expect("small"),
        };
        let agent = u8::try_from(random.index(agents.into())).expect("small");
        faults.push((at, fault(random, kind, coordinator, agent)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Agents that cannot be heard for longer than their policy has it.
pub(super) fn silences(random: &mut Random, calm_at: u64, agents: u8) -> Vec<(u64, Fault)> {
    let count = random.within(0, 4);
    let silence = |_| {
        let at = random.within(3_000, calm_at - 5_000);
        let agent = u8::try_from(random.index(agents.into())).expect("small");
        let delay = random.within(5_000, 40_000);
        let cut = Cut { to_server: random.chance(700), to_node: true };
        let silences = [
            Fault::KillAgent(agent, delay),
            Fault::FreezeAgent(agent, delay),
            Fault::CutAgent(agent, cut, delay),
        ];
        (at, silences[random.index(3)])
    };
    (0..count).map(silence).collect()
}

/// Questions at the moment when a frozen coordinator goes on: it may have been replaced.
pub(super) fn questions(random: &mut Random, faults: &[(u64, Fault)]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, fault) in faults {
        if let Fault::FreezeCoordinator(_, delay) = fault {
            for _ in 0..QUESTIONS {
                let at = (at + delay).saturating_sub(30) + random.within(0, 60);
                steps.push(Step { at, ask: Ask::Describe(random.number()) });
            }
        }
    }
    steps
}

/// Jobs are stopped while an agent cannot be told.
pub(super) fn stops(random: &mut Random, faults: &[(u64, Fault)]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, fault) in faults {
        if let Fault::KillAgent(_, delay)
        | Fault::CutAgent(_, _, delay)
        | Fault::FreezeAgent(_, delay)
        | Fault::RestartServer(delay) = fault
            && random.chance(600)
        {
            for _ in 0..3 {
                let at = at + random.within(0, *delay);
                steps.push(Step { at, ask: Ask::Terminate(random.number(), None) });
            }
        }
    }
    steps
}

fn fault(random: &mut Random, kind: usize, coordinator: u8, agent: u8) -> Fault {
    let cuts = [(true, true), (true, false), (false, true)];
    let (to_server, to_node) = cuts[random.index(3)];
    let cut = Cut { to_server, to_node };
    let jump = [-3_600_000, -30_000, 30_000, 600_000, 3_600_000][random.index(5)];
    let steps = u32::try_from(random.within(0, 30)).expect("small");
    match kind {
        0 => Fault::KillCoordinator(coordinator, random.within(10, 6_000)),
        1 => Fault::CoordinatorDiesIn(coordinator, steps),
        2 => Fault::FreezeCoordinator(coordinator, random.within(500, 10_000)),
        3 => Fault::KillAgent(agent, random.within(10, 20_000)),
        4 => Fault::AgentDiesIn(agent, steps % 8),
        5 => Fault::KillHost(agent, random.chance(500), random.within(100, 25_000)),
        6 => Fault::Reclaim(agent, random.within(200, 4_000), random.within(100, 15_000)),
        7 => Fault::CutAgent(agent, cut, random.within(500, 25_000)),
        8 => Fault::CutCoordinator(coordinator, cut, random.within(500, 12_000)),
        9 => Fault::RestartServer(random.within(10, 5_000)),
        // Perhaps longer than the leader's lease: then anybody may be the first to lead.
        10 => Fault::LoseTail(random.within(1, 12), random.within(10, 6_000)),
        11 => Fault::AgentClock(agent, jump),
        12 => Fault::CoordinatorClock(coordinator, jump),
        13 => Fault::Clone(agent, random.chance(500), random.within(3_000, 20_000)),
        14 => Fault::Storm(
            Weather { latency: random.within(1, 300), ..storm(random, 150) },
            random.within(500, 8_000),
        ),
        15 => Fault::Garbage(agent),
        16 => Fault::Flap(random.within(3_000, 15_000)),
        17 => Fault::LoseHost(agent),
        18 => Fault::CoordinatorDiesBusy(coordinator),
        _ => Fault::FreezeAgent(agent, random.within(500, 30_000)),
    }
}
