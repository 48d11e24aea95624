//! Agents that hold children of a spec, those with the fewest for their size first.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::wire::lease::SpecDigest;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holders(BTreeMap<SpecDigest, OfSpec>);

#[derive(Clone, Debug, Default, PartialEq)]
struct OfSpec {
    /// (children per thousand that fit the agent at once, agent).
    by_load: BTreeSet<(u64, u32)>,
    /// By agent: children, and its place in `by_load`.
    counts: BTreeMap<u32, (u32, u64)>,
}

impl Holders {
    /// Counts children of a spec on an agent up or down. `slots` is how many of them fit the agent
    /// at once.
    pub(super) fn hold(&mut self, spec: SpecDigest, agent: u32, slots: u32, change: i64) {
        let of_spec = self.0.entry(spec).or_default();
        let (old, load) = of_spec.counts.remove(&agent).unwrap_or((0, 0));
        of_spec.by_load.remove(&(load, agent));
        let new = u32::try_from(i64::from(old) + change).expect("holders count leased children");
        if new > 0 {
            let load = u64::from(new) * 1000 / u64::from(slots.max(1));
            of_spec.counts.insert(agent, (new, load));
            of_spec.by_load.insert((load, agent));
        } else if of_spec.counts.is_empty() {
            self.0.remove(&spec);
        }
    }

    /// Agents that hold children of a spec: (children per thousand slots, agent), fewest first; and
    /// how many agents there are.
    pub fn of(&self, spec: SpecDigest) -> (impl Iterator<Item = (u64, u32)> + '_, u32) {
        let of_spec = self.0.get(&spec);
        let count = of_spec.map_or(0, |h| h.counts.len());
        let agents = of_spec.into_iter().flat_map(|h| h.by_load.iter().copied());
        (agents, u32::try_from(count).unwrap_or(u32::MAX))
    }
}
