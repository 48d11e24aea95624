//! When each agent was last heard. Not journalled: after a start everybody has a full lease time to be
//! heard again. Measured by a clock that never jumps, so a jump of the wall clock loses nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

/// A clock that is this far off makes times in answers and logs misleading.
const SKEW_WARN_MILLIS: u64 = 5_000;

/// How far a clock that showed `theirs` is ahead of ours, which shows `ours`, when what it was told by
/// took `on_its_way` milliseconds.
pub fn skew_millis(theirs: Timestamp, on_its_way: u64, ours: Timestamp) -> i64 {
    let theirs = i128::from(theirs.0) + i128::from(on_its_way);
    let skew = theirs - i128::from(ours.0);
    i64::try_from(skew).unwrap_or(if skew < 0 { i64::MIN } else { i64::MAX })
}

/// Last words of agents.
#[derive(Debug)]
pub struct Liveness {
    ttl: Duration,
    heard: BTreeMap<Name, Last>,
    looked: Duration,
}

/// The last heartbeat of an agent.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Duration,
    /// It was not only granted a full time.
    is_real: bool,
    /// How far the agent's clock was ahead of ours, in milliseconds.
    skew_millis: Option<i64>,
}

impl Liveness {
    /// Nobody was heard yet; `agents` have a full lease time from `now` on.
    pub fn new(ttl: Duration, agents: impl Iterator<Item = Name>, now: Duration) -> Self {
        let granted = Last { at: now, is_real: false, skew_millis: None };
        Self { ttl, heard: agents.map(|agent| (agent, granted)).collect(), looked: now }
    }

    /// The lease time: silence after which an agent counts as lost.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The agent was heard.
    pub fn hear(&mut self, agent: &Name, now: Duration) {
        let skew_millis = self.heard.get(agent).and_then(|last| last.skew_millis);
        self.heard.insert(agent.clone(), Last { at: now, is_real: true, skew_millis });
    }

    /// Its clock was found to be this far ahead of ours. Whether that is news worth a warning.
    pub fn note_skew(&mut self, agent: &Name, skew_millis: i64) -> bool {
        let Some(last) = self.heard.get_mut(agent) else { return false };
        let before = last.skew_millis.replace(skew_millis);
        let is_large = |skew: i64| skew.unsigned_abs() > SKEW_WARN_MILLIS;
        is_large(skew_millis) && !before.is_some_and(is_large)
    }

    /// How far its clock was ahead of ours at the last heartbeat.
    pub fn skew_millis(&self, agent: &Name) -> Option<i64> {
        self.heard.get(agent)?.skew_millis
    }

    /// Forgets the agent: it is lost, or has left.
    pub fn forget(&mut self, agent: &Name) {
        self.heard.remove(agent);
    }

    /// How long ago the agent was heard, if it was since the start.
    pub fn silence(&self, agent: &Name, now: Duration) -> Option<Duration> {
        let last = self.heard.get(agent)?;
        last.is_real.then(|| now.saturating_sub(last.at))
    }

    /// Agents silent for longer than `lost_after` has for them. Called every `tick`: if this process
    /// itself stood still since the last look, heartbeats are still waiting to be read and nobody is
    /// lost for that.
    pub fn unheard(
        &mut self,
        now: Duration,
        tick: Duration,
        lost_after: impl Fn(&Name) -> Duration,
    ) -> Vec<Name> {
        let stood_still = now.saturating_sub(self.looked).saturating_sub(tick * 2);
        self.looked = now;
        if !stood_still.is_zero() {
            for last in self.heard.values_mut() {
                last.at = (last.at + stood_still).min(now);
            }
        }
        let silent = |(agent, last): (&Name, &Last)| {
            (now.saturating_sub(last.at) > lost_after(agent)).then(|| agent.clone())
        };
        if windrow_common::sabotage::is("silence-ignored") {
            return Vec::new();
        }
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
        let lost_after = |_: &Name| TICK * 3;
        for second in 1..=3 {
            assert!(
                liveness.unheard(start + TICK * second, TICK, lost_after).is_empty(),
                "{second}"
            );
        }
        assert_eq!(liveness.unheard(start + TICK * 4, TICK, lost_after), vec![agent.clone()]);
        liveness.hear(&agent, start + TICK * 4);
        // An hour without a look: the process was stopped.
        let later = start + TICK * 3600;
        assert!(liveness.unheard(later, TICK, lost_after).is_empty());
        assert!(liveness.unheard(later + TICK, TICK, lost_after).is_empty());
        assert_eq!(liveness.unheard(later + TICK * 2, TICK, lost_after), vec![agent]);
    }

    #[test]
    fn each_agent_has_its_own_time() {
        let agents: [Name; 2] = ["short".parse().unwrap(), "long".parse().unwrap()];
        let mut liveness = Liveness::new(TICK * 3, agents.iter().cloned(), TICK);
        let lost_after = |agent: &Name| if agent.as_str() == "long" { TICK * 9 } else { TICK * 3 };
        let mut lost = |second| liveness.unheard(TICK + TICK * second, TICK, lost_after);
        for second in 1..=3 {
            assert!(lost(second).is_empty());
        }
        assert_eq!(lost(4), agents[..1]);
    }

    #[test]
    fn fault_11_a_clock_that_is_off_is_shown_and_warned_of_once() {
        let agent: Name = "a".parse().unwrap();
        let mut liveness = Liveness::new(TICK * 3, std::iter::empty(), TICK);
        liveness.hear(&agent, TICK);
        let off = skew_millis(Timestamp(1_600_000), 10, Timestamp(1_000_010));
        assert_eq!(off, 600_000);
        assert!(liveness.note_skew(&agent, off));
        assert!(!liveness.note_skew(&agent, off - 1), "once");
        liveness.hear(&agent, TICK * 2);
        assert_eq!(liveness.skew_millis(&agent), Some(599_999));
        assert!(!liveness.note_skew(&agent, -20));
        assert!(liveness.note_skew(&agent, -6_000), "again");
        assert_eq!(skew_millis(Timestamp(0), 0, Timestamp(u64::MAX)), i64::MIN);
    }
}
