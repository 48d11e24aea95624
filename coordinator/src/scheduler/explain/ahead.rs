//! What goes before a job, and when it might start.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::explain::{Ahead, Estimate};
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;

use super::{Look, dispatch_order, environments, shape};
use crate::core::index::Shape;

/// Most jobs counted: some milliseconds.
const JOBS_MAX: usize = 10_000;
/// Most leases looked at for an estimate.
const LEASES_MAX: usize = 10_000;

/// What goes before a job.
#[derive(Debug)]
pub(super) struct Before {
    /// Place in its queue, from 1; absent beyond what is counted.
    pub(super) position: Option<u64>,
    pub(super) ahead: Ahead,
    /// What the children ahead need together.
    pub(super) needs: Resources,
    /// vCPU time of those ahead, in thousandths of a vCPU times microseconds.
    work: Option<u128>,
}

impl Look<'_> {
    /// Counts who goes before this ready job, and competes with it for agents.
    pub(super) fn before(&self, id: JobId) -> Before {
        let queue = &self.state.jobs[&id].queue;
        let mut before = Before {
            position: None,
            ahead: Ahead { jobs: 0, children: 0, vcpu_seconds: None, is_at_least: false },
            needs: Resources::default(),
            work: Some(0),
        };
        let mut competes: BTreeMap<Shape, bool> = BTreeMap::new();
        let above: BTreeSet<&Name> = self.above(queue).collect();
        let higher =
            above.into_iter().flat_map(|queue| dispatch_order(self.state, queue, self.now));
        let (mut looks, mut place) = (0, 0);
        let own = dispatch_order(self.state, queue, self.now).take_while(|other| *other != id);
        let own = own.map(|other| (other, true));
        for (other, is_own) in higher.map(|other| (other, false)).chain(own) {
            looks += 1;
            if looks > JOBS_MAX {
                before.ahead.is_at_least = true;
                break;
            }
            place += u64::from(is_own);
            let shape = shape(self.state, other);
            let may_start = competes
                .entry(shape.clone())
                .or_insert_with(|| self.lacks_only_room(other, &shape));
            if *may_start {
                self.count(&mut before, other);
            }
        }
        before.position = (!before.ahead.is_at_least).then_some(place + 1);
        let seconds = before.work.and_then(|work| u64::try_from(work / 1_000_000_000).ok());
        before.ahead.vcpu_seconds = seconds;
        before
    }

    fn count(&self, before: &mut Before, id: JobId) {
        let job = &self.state.jobs[&id];
        let spec = &self.state.specs[&job.spec];
        let children = job.children.runnable_count();
        before.ahead.jobs += 1;
        before.ahead.children += u64::from(children);
        let needs = match &job.nodes {
            None => spec.spec.resources.times(children),
            Some(nodes) => nodes.groups.iter().fold(Resources::default(), |sum, group| {
                let need = self.state.specs[&group.spec].spec.resources;
                sum.plus(need.times(group.nodes.end - group.nodes.start))
            }),
        };
        before.needs = before.needs.plus(needs);
        let work = spec.run_micros.map(|micros| u128::from(micros) * u128::from(needs.cpu.0));
        before.work = before.work.zip(work).map(|(sum, work)| sum + work);
    }

    /// When a job with this before it might start on agents of so many vCPUs.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn estimate(
        &self,
        queue: &Name,
        before: &Before,
        milli_cpu: u64,
    ) -> Result<Estimate, String> {
        let unknown = |what: &str| Err(format!("no job like {what} has ended yet"));
        if before.ahead.is_at_least {
            return Err(format!("more than {JOBS_MAX} jobs go before it"));
        }
        let Some(ahead) = before.work else { return unknown("one of those before it") };
        let ours: BTreeSet<&Name> = environments(self.state, queue).collect();
        let (mut running, mut work) = (0u64, 0u128);
        for lease in self.state.leases.values().take(LEASES_MAX) {
            if !ours.contains(&self.state.agents[&lease.agent].environment) {
                continue;
            }
            let Some(micros) = self.state.specs[&lease.spec].run_micros else {
                return unknown("one of those that run");
            };
            let children: u64 = lease.children.iter().map(|r| u64::from(r.end - r.start)).sum();
            running += children;
            // Half of the run time is over, on average.
            let cpu = u128::from(lease.resources.cpu.0);
            work += u128::from(micros) * u128::from(children) * cpu / 2;
        }
        let capacity = u128::from(milli_cpu);
        if capacity == 0 {
            return Err("no agent could run it".to_owned());
        }
        let seconds = |micros: u128| u64::try_from(micros.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let micros = (work + ahead) / capacity;
        let count = running + before.ahead.children;
        // A sum of run times spreads like its mean over the root of their number; 1.28 standard
        // deviations hold nine of ten.
        let spread = micros * 128 / 100 / u128::from(count.max(1).isqrt());
        Ok(Estimate {
            p50: seconds(micros),
            p90: seconds(micros + spread),
            basis: format!(
                "average run times of {running} running and {} waiting children before it, on {} vCPU",
                before.ahead.children,
                milli_cpu / 1000
            ),
        })
    }
}
