//! What faults do.

use std::time::Duration;

use super::World;
use crate::agent::{Agent, Kind};
use crate::net::{Happening, Node, Op, Timer, Weather};
use crate::plan::Fault;

impl World {
    fn over_after(&mut self, delay: u64, number: usize) {
        self.net.after(delay, Happening::FaultOver(number));
    }

    /// While a journal is to be healed, nobody who remembers it may be harmed.
    fn spares_coordinators(&mut self) -> bool {
        let healed = |term: u64| self.net.oracle.term() > term;
        if self.heals && healed(self.term_at_loss) {
            self.heals = false;
        }
        self.heals
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        if self.is_calm {
            return;
        }
        let leader = self.coordinators.iter().position(|c| c.leads());
        let leader = u8::try_from(leader.unwrap_or(0)).expect("few coordinators");
        let fault = self.plan.faults[number].1.against(leader);
        self.plan.faults[number].1 = fault;
        let (now, what) = (self.net.now, number as u64);
        self.net.trace.note(now, what, || format!("!! {fault:?}"));
        match fault {
            Fault::KillCoordinator(..)
            | Fault::CoordinatorDiesIn(..)
            | Fault::CoordinatorDiesBusy(..)
            | Fault::FreezeCoordinator(..)
            | Fault::CutCoordinator(..)
            | Fault::Flap(_)
            | Fault::CoordinatorClock(..) => {
                if !self.spares_coordinators() {
                    self.harm_coordinator(number, fault);
                }
            }
            Fault::RestartServer(delay) => {
                if !self.spares_coordinators() {
                    self.net.inject("NATS restarted");
                    self.net.restart_server(delay);
                }
            }
            Fault::LoseTail(count, delay) => self.lose_tail(count, delay),
            Fault::DieAtJump(index) => self.coordinators[usize::from(index)].dies_at_jump = true,
            Fault::Storm(weather, delay) => {
                self.net.inject("storm");
                self.net.weather = weather;
                self.over_after(delay, number);
            }
            Fault::KillAgent(..)
            | Fault::AgentDiesIn(..)
            | Fault::KillHost(..)
            | Fault::Reclaim(..)
            | Fault::LoseHost(_)
            | Fault::FreezeAgent(..)
            | Fault::CutAgent(..)
            | Fault::AgentClock(..)
            | Fault::Clone(..)
            | Fault::Garbage(_) => self.harm_agent(number, fault),
        }
    }

    fn harm_coordinator(&mut self, number: usize, fault: Fault) {
        let net = &mut self.net;
        match fault {
            Fault::KillCoordinator(index, delay) => {
                let coordinator = &mut self.coordinators[usize::from(index)];
                if coordinator.is_running() {
                    net.inject("coordinator killed");
                    coordinator.kill(net);
                    let life = coordinator.life;
                    net.timer(Node::Coordinator(index), life, delay, Timer::Start);
                }
            }
            Fault::CoordinatorDiesIn(index, steps) => {
                self.coordinators[usize::from(index)].die_in(steps);
            }
            Fault::CoordinatorDiesBusy(index) => {
                self.coordinators[usize::from(index)].dies_busy = true;
            }
            Fault::FreezeCoordinator(index, delay) => {
                net.inject("coordinator frozen");
                self.coordinators[usize::from(index)].freeze();
                self.over_after(delay, number);
            }
            Fault::CutCoordinator(index, cut, delay) => {
                net.inject("coordinator cut off");
                net.cut(Node::Coordinator(index), cut);
                self.over_after(delay, number);
            }
            Fault::CoordinatorClock(index, jump) => {
                net.inject("coordinator's clock jumps");
                self.coordinators[usize::from(index)].clock_offset += jump;
            }
            Fault::Flap(delay) => {
                net.inject("leader flaps");
                for index in 0..self.plan.coordinators {
                    let coordinator = &mut self.coordinators[usize::from(index)];
                    for time in (0..delay).step_by(2_500) {
                        let steps = u32::try_from(time % 7).expect("small");
                        coordinator.die_in(steps);
                    }
                }
            }
            _ => {}
        }
    }

    fn lose_tail(&mut self, count: u64, delay: u64) {
        // Only where somebody remembers: what a cold start does is not this simulation's matter.
        let leads = self.coordinators.iter().any(|c| c.leads());
        let all_run = self.coordinators.iter().all(|c| c.is_running() && !c.is_frozen());
        if !leads || !all_run || self.spares_coordinators() {
            return;
        }
        self.net.inject("NATS lost the journal's tail");
        for coordinator in &mut self.coordinators {
            coordinator.spare();
        }
        for index in 0..self.plan.coordinators {
            self.net.heal(Node::Coordinator(index));
        }
        (self.heals, self.term_at_loss) = (true, self.net.oracle.term());
        self.net.restart_server(delay);
        self.net.bus.lose_tail(crate::names::JOURNAL, count);
    }

    fn harm_agent(&mut self, number: usize, fault: Fault) {
        let net = &mut self.net;
        match fault {
            Fault::KillAgent(index, delay) => {
                let agent = &mut self.agents[usize::from(index)];
                if agent.is_running() {
                    net.inject("agent killed");
                    agent.kill(net);
                    net.timer(Node::Agent(index), agent.life, delay, Timer::Start);
                }
            }
            Fault::AgentDiesIn(index, steps) => self.agents[usize::from(index)].die_in(steps),
            Fault::KillHost(index, disk_is_lost, delay) => {
                net.inject("host dies");
                let agent = &mut self.agents[usize::from(index)];
                agent.lose_host(net, disk_is_lost);
                net.timer(Node::Agent(index), agent.life, delay, Timer::Start);
            }
            Fault::LoseHost(index) => {
                // Somebody is left to do the work.
                let own = &self.agents[..self.plan.agents.len()];
                if own.iter().filter(|agent| !agent.is_gone).count() > 1 {
                    net.inject("host gone for good");
                    let agent = &mut self.agents[usize::from(index)];
                    agent.lose_host(net, true);
                    agent.is_gone = true;
                }
            }
            Fault::FreezeAgent(index, delay) => {
                net.inject("agent frozen");
                self.agents[usize::from(index)].freeze();
                self.over_after(delay, number);
            }
            Fault::Reclaim(index, grace, _) => {
                net.inject("host reclaimed after a notice");
                let agent = &mut self.agents[usize::from(index)];
                agent.close(net, Duration::from_millis(grace * 2 / 3));
                self.over_after(grace, number);
            }
            Fault::CutAgent(index, cut, delay) => {
                let both = cut.to_server && cut.to_node;
                net.inject(if both { "agent cut off" } else { "agent cut off one way" });
                net.cut(Node::Agent(index), cut);
                self.over_after(delay, number);
            }
            Fault::AgentClock(index, jump) => {
                net.inject("agent's clock jumps");
                self.agents[usize::from(index)].clock_offset += jump;
            }
            Fault::Clone(index, with_disk, delay) => {
                self.clone_agent(number, index, with_disk, delay)
            }
            Fault::Garbage(index) => {
                net.inject("messages that cannot be read");
                let name = crate::names::agent(index);
                let subjects = crate::names::subjects();
                for subject in
                    [subjects.report(&name), subjects.beat(&name), subjects.register(&name)]
                {
                    let length = net.random.within(0, 60);
                    let payload = (0..length).map(|_| net.random.number().to_le_bytes()[0]);
                    let payload = payload.collect::<Vec<_>>().into();
                    let reply = Some("nobody.1".to_owned());
                    net.send(Node::Client(0), Op::Publish { subject, reply, payload });
                }
                let subject = "sim.submit.q0".to_owned();
                let payload = bytes::Bytes::from_static(b"\xc1\xff not a request");
                net.send(Node::Client(0), Op::Publish { subject, reply: None, payload });
            }
            _ => {}
        }
    }

    fn clone_agent(&mut self, number: usize, of: u8, with_disk: bool, delay: u64) {
        // Where attempts are copied, one may run twice under one lease; nobody can tell.
        if self.agents.len() >= 16 {
            return;
        }
        self.net.inject("agent cloned");
        let index = u8::try_from(self.agents.len()).expect("few agents");
        let original = &self.agents[usize::from(of)];
        let kind: Kind = original.kind();
        let mut clone = Agent::new(index, kind);
        if with_disk {
            clone.copy_disk(original);
        }
        self.net.oracle.on_clone();
        clone.start(&mut self.net);
        self.agents.push(clone);
        self.clones.insert(number, index);
        self.over_after(delay, number);
    }

    pub(super) fn on_fault_over(&mut self, number: usize) {
        if self.is_calm {
            return;
        }
        let net = &mut self.net;
        match self.plan.faults[number].1 {
            Fault::FreezeCoordinator(index, _) => {
                self.coordinators[usize::from(index)].thaw(net);
            }
            Fault::CutCoordinator(index, ..) => net.heal(Node::Coordinator(index)),
            Fault::FreezeAgent(index, _) => self.agents[usize::from(index)].thaw(net),
            Fault::CutAgent(index, ..) => net.heal(Node::Agent(index)),
            Fault::Storm(..) => net.weather = self.plan.weather,
            Fault::Reclaim(index, _, delay) => {
                let agent = &mut self.agents[usize::from(index)];
                agent.lose_host(net, true);
                net.timer(Node::Agent(index), agent.life, delay, Timer::Start);
            }
            Fault::Clone(..) => {
                if let Some(index) = self.clones.remove(&number) {
                    self.agents[usize::from(index)].lose_host(net, true);
                }
            }
            _ => {}
        }
    }

    /// Faults are over: everybody runs, and the network is good.
    pub(super) fn calm_down(&mut self) {
        let net = &mut self.net;
        net.trace.note(net.now, 99, || "faults are over".to_owned());
        net.weather = Weather { latency: 2, ..Weather::default() };
        for index in std::mem::take(&mut self.clones).into_values() {
            self.agents[usize::from(index)].lose_host(net, true);
        }
        for (index, coordinator) in (0..).zip(&mut self.coordinators) {
            net.heal(Node::Coordinator(index));
            coordinator.spare();
            coordinator.thaw(net);
            if !coordinator.is_running() {
                coordinator.start(net);
            }
        }
        for index in 0..self.plan.agents.len() {
            let agent = &mut self.agents[index];
            agent.thaw(net);
            net.heal(Node::Agent(u8::try_from(index).expect("few agents")));
            agent.lies = false;
            agent.spare();
            if agent.is_closing() {
                agent.lose_host(net, true);
            }
            if !agent.is_running() {
                agent.start(net);
            }
        }
        self.is_calm = true;
        self.calm_since = self.net.now;
    }
}
