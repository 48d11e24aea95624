//! When each agent was last heard. Not journalled: after a start everybody has a full lease time to be
//! heard again. Measured by a clock that never jumps, so a jump of the wall clock loses nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use windrow_common::ids::Name;

/// Last words of agents.
#[derive(Debug)]
pub struct Liveness {
    ttl: Duration,
    heard: BTreeMap<Name, (Duration, bool)>,
    looked: Duration,
}

impl Liveness {
    /// Nobody was heard yet; `agents` have a full lease time from `now` on.
    pub fn new(ttl: Duration, agents: impl Iterator<Item = Name>, now: Duration) -> Self {
        Self { ttl, heard: agents.map(|agent| (agent, (now, false))).collect(), looked: now }
    }

    /// The lease time: silence after which an agent counts as lost.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The agent was heard.
    pub fn hear(&mut self, agent: &Name, now: Duration) {
        self.heard.insert(agent.clone(), (now, true));
    }

    /// Forgets the agent: it is lost, or has left.
    pub fn forget(&mut self, agent: &Name) {
        self.heard.remove(agent);
    }

    /// How long ago the agent was heard, if it was since the start.
    pub fn silence(&self, agent: &Name, now: Duration) -> Option<Duration> {
        let (at, really) = self.heard.get(agent)?;
        really.then(|| now.saturating_sub(*at))
    }

    /// Agents silent for longer than the lease time. Called every `tick`: if this process itself
    /// stood still since the last look, heartbeats are still waiting to be read and nobody is lost
    /// for that.
    pub fn unheard(&mut self, now: Duration, tick: Duration) -> Vec<Name> {
        let stood_still = now.saturating_sub(self.looked).saturating_sub(tick * 2);
        self.looked = now;
        if !stood_still.is_zero() {
            for (at, _) in self.heard.values_mut() {
                *at = (*at + stood_still).min(now);
            }
        }
        let silent = |(agent, (at, _)): (&Name, &(Duration, bool))| {
            (now.saturating_sub(*at) > self.ttl).then(|| agent.clone())
        };
        self.heard.iter().filter_map(silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_noticed_and_a_standstill_of_ours_is_not_silence() {
        let agent: Name = "a".parse().unwrap();
        let start = TICK * 100;
        let mut liveness = Liveness::new(TICK * 3, std::iter::once(agent.clone()), start);
        for second in 1..=3 {
            assert!(liveness.unheard(start + TICK * second, TICK).is_empty(), "{second}");
        }
        assert_eq!(liveness.unheard(start + TICK * 4, TICK), vec![agent.clone()]);
        liveness.hear(&agent, start + TICK * 4);
        // An hour without a look: the process was stopped.
        let later = start + TICK * 3600;
        assert!(liveness.unheard(later, TICK).is_empty());
        assert!(liveness.unheard(later + TICK, TICK).is_empty());
        assert_eq!(liveness.unheard(later + TICK * 2, TICK), vec![agent]);
    }
}
