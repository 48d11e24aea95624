//! What the shares of a queue have used: vCPU-time that counts half after a while, in integers.
//!
//! A share's use is brought up to date whenever what it holds changes, from the time of the last
//! [`super::event::Event::TimePassed`]; between two changes it is a function of time. Held vCPUs
//! approach what holding them for ever would come to; with half-life `h` that is `h / ln 2` times
//! their number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;

use super::State;
use super::deadlines::Due;
use super::policies::{FairShare, fair_share};
use super::state::Lease;

/// One, as fractions are kept here.
const ONE: u64 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 48;
/// The natural logarithm of 2.
const LN_2: u64 = 195_103_586_505_167;
/// Half-lives in a policy's window: a straight line from 1 to 0 over the window has about the same
/// weight in all.
const HALF_LIVES: u64 = 3;
/// Each ended child weighs one part in this in a queue's average run time. So many because a few long
/// ones among many short ones are what it is about.
const RUN_TIME_WEIGHT: u64 = 1024;

/// The shares of one queue that are active: they have jobs, or had some not long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUse {
    pub shares: BTreeMap<Name, ShareUse>,
    /// Thousandths of a core that all of them hold.
    pub held: u64,
    /// Sums over the children that ended last, each weighing less with every one after it: their run
    /// times in microseconds, and the squares of those.
    #[serde(default)]
    runs: (u64, u128),
}

impl QueueUse {
    /// How long what runs at some moment runs in all, in microseconds: the average over run time, not
    /// over children, of which the shortest are always the most. None before a child has ended.
    pub fn run_micros(&self) -> Option<u64> {
        let average = self.runs.1.checked_div(self.runs.0.into())?;
        Some(u64::try_from(average).unwrap_or(u64::MAX))
    }

    fn learn(&mut self, micros: u64) {
        let (sum, squares) = &mut self.runs;
        *sum = (*sum - *sum / RUN_TIME_WEIGHT).saturating_add(micros);
        let square = u128::from(micros) * u128::from(micros);
        *squares = (*squares - *squares / u128::from(RUN_TIME_WEIGHT)).saturating_add(square);
    }
}

/// What a share has used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareUse {
    /// Use as it was at `at`: thousandths of a core times milliseconds.
    amount: u64,
    /// Thousandths of a core that its leased children need, those in a backlog aside.
    pub held: u64,
    at: Timestamp,
    /// Unended jobs.
    pub active_jobs: u64,
    /// When it stops being active, once it has no jobs.
    pub active_until: Option<Timestamp>,
}

impl ShareUse {
    /// Use at this time: thousandths of a core times milliseconds.
    pub fn amount(&self, rules: &FairShare, now: Timestamp) -> u64 {
        let millis = now.0.saturating_sub(self.at.0);
        let left = u128::from(decay(millis, half_life(rules)));
        let kept = (u128::from(self.amount) * left) >> FRACTION_BITS;
        let grown = u128::from(self.held) * u128::from(horizon(rules)) * (u128::from(ONE) - left);
        u64::try_from(kept + (grown >> FRACTION_BITS)).unwrap_or(u64::MAX)
    }

    fn settle(&mut self, rules: &FairShare, now: Timestamp) {
        self.amount = self.amount(rules, now);
        self.at = self.at.max(now);
    }
}

fn half_life(rules: &FairShare) -> u64 {
    (rules.window_millis() / HALF_LIVES).max(1)
}

/// Milliseconds that, times held vCPUs, give the use of holding them for ever.
pub fn horizon(rules: &FairShare) -> u64 {
    let millis = (u128::from(half_life(rules)) << FRACTION_BITS) / u128::from(LN_2);
    u64::try_from(millis).expect("not much above the half-life")
}

/// What is left of 1 after this time.
fn decay(millis: u64, half_life: u64) -> u64 {
    let halvings = millis / half_life;
    if halvings >= u64::from(u64::BITS) {
        return 0;
    }
    // e to the power of -x for x below ln 2, by its series.
    let x = u128::from(millis % half_life) * u128::from(LN_2) / u128::from(half_life);
    let (mut term, mut sum, mut n) = (ONE, ONE, 0);
    while term > 0 {
        n += 1;
        let product = (u128::from(term) * x) >> FRACTION_BITS;
        term = u64::try_from(product).expect("both factors are at most 1") / n;
        sum = if n % 2 == 1 { sum - term } else { sum + term };
    }
    sum.min(ONE) >> halvings
}

/// What a lease weighs: thousandths of a core of the children that had room at once. A backlog waits
/// for the room of others, who weigh already: it counts when it has run, see [`ran`].
pub(super) fn weight(lease: &Lease) -> u64 {
    let children: u32 = lease.children.iter().map(super::children::len).sum();
    u64::from(children.min(lease.slots)) * u64::from(lease.resources.cpu.0)
}

/// The queue and share that use of this job counts for.
fn place(state: &State, id: JobId) -> Option<(Name, Name)> {
    let job = &state.jobs[&id];
    let share = job.share.clone()?;
    state.fair_share(&job.queue)?;
    Some((job.queue.clone(), share))
}

/// A lease of the job came to weigh `new` where it weighed `old`.
pub(super) fn change(state: &mut State, id: JobId, old: u64, new: u64) {
    let Some((name, share)) = place(state, id) else { return };
    let queue = state.usage.get_mut(&name).expect("a queue with jobs has shares");
    queue.held = queue.held - old + new;
    let used = queue.shares.get_mut(&share).expect("a share with jobs is active");
    let rules = fair_share(&state.queues, &state.policies, &name);
    used.settle(rules.expect("the place is in a queue with rules"), state.clock);
    used.held = used.held - old + new;
}

/// Children of the lease have ended that ran so long, in microseconds. The queue learns how long its
/// jobs run; and what was a backlog counts now. Backlogs are worth far less than any half-life, so it
/// makes no difference that it is late.
pub(super) fn ran(state: &mut State, id: LeaseId, runs_micros: &[u64]) {
    let lease = &state.leases[&id];
    let Some((name, share)) = place(state, lease.job) else { return };
    let queue = state.usage.get_mut(&name).expect("a queue with jobs has shares");
    runs_micros.iter().for_each(|micros| queue.learn(*micros));
    if lease.slots > 0 {
        return;
    }
    // An agent's clock may jump.
    let most = lease.granted_at.map_or(u64::MAX, |at| state.clock.0.saturating_sub(at.0));
    let millis: u64 = runs_micros.iter().map(|micros| (micros / 1000).min(most)).sum();
    let used = queue.shares.get_mut(&share).expect("a share with jobs is active");
    let rules = fair_share(&state.queues, &state.policies, &name);
    used.settle(rules.expect("the place is in a queue with rules"), state.clock);
    let amount = millis.saturating_mul(lease.resources.cpu.0.into());
    used.amount = used.amount.saturating_add(amount);
}

/// The rules of a queue are about to change: what was used so far goes by those of its time. Else
/// whoever held something for long without a change would have all of that time counted by the new
/// ones, and others not.
pub(super) fn settle(state: &mut State) {
    for (name, queue) in &mut state.usage {
        let Some(rules) = fair_share(&state.queues, &state.policies, name) else { continue };
        queue.shares.values_mut().for_each(|used| used.settle(rules, state.clock));
    }
}

/// The job has begun to count in its share.
pub(super) fn begin(state: &mut State, id: JobId) {
    let Some((queue, share)) = place(state, id) else { return };
    let queue_use = state.usage.entry(queue.clone()).or_default();
    let used = queue_use.shares.entry(share.clone()).or_default();
    used.active_jobs += 1;
    used.active_until = None;
    state.index.deadlines.set(Due::ShareIdle(queue, share), None);
}

/// The job has ended. A share without jobs stays active for a window.
pub(super) fn end(state: &mut State, id: JobId) {
    let Some((queue, share)) = place(state, id) else { return };
    let window = state.fair_share(&queue).map_or(0, FairShare::window_millis);
    let until = Timestamp(state.clock.0.saturating_add(window));
    let queue_use = state.usage.get_mut(&queue).expect("a queue with jobs has shares");
    let used = queue_use.shares.get_mut(&share).expect("a share with jobs is active");
    used.active_jobs -= 1;
    if used.active_jobs == 0 {
        used.active_until = Some(until);
        state.index.deadlines.set(Due::ShareIdle(queue, share), Some(until));
    }
}

/// The share is no longer active, and what it used is forgotten.
pub(super) fn forget(state: &mut State, queue: &Name, share: &Name) {
    if let Some(shares) = state.usage.get_mut(queue) {
        shares.shares.remove(share);
        if shares.shares.is_empty() {
            state.usage.remove(queue);
        }
    }
    state.index.deadlines.set(Due::ShareIdle(queue.clone(), share.clone()), None);
}

/// The queue is gone, and with it its shares.
pub(super) fn forget_queue(state: &mut State, queue: &Name) {
    let shares = state.usage.get(queue).map(|shares| shares.shares.keys().cloned());
    let shares: Vec<Name> = shares.into_iter().flatten().collect();
    shares.iter().for_each(|share| forget(state, queue, share));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(window_seconds: u32) -> FairShare {
        FairShare { decay_seconds: window_seconds, ..FairShare::default() }
    }

    #[test]
    fn half_is_left_after_a_half_life_and_nothing_after_very_long() {
        let close = |a: u64, b: u64| a.abs_diff(b) < ONE / 1_000_000_000;
        assert_eq!(decay(0, 1000), ONE);
        assert!(close(decay(1000, 1000), ONE / 2));
        assert!(close(decay(3000, 1000), ONE / 8));
        let root = decay(500, 1000);
        let square = (u128::from(root) * u128::from(root)) >> FRACTION_BITS;
        assert!(close(u64::try_from(square).unwrap(), ONE / 2));
        assert_eq!(decay(u64::MAX, 1), 0);
    }

    #[test]
    fn use_grows_towards_its_horizon_and_steps_make_no_difference() {
        let rules = rules(600);
        let mut stepped = ShareUse { held: 2000, ..ShareUse::default() };
        let once = stepped.clone();
        for second in 1..=600 {
            stepped.settle(&rules, Timestamp(second * 1000));
        }
        let (a, b) = (stepped.amount, once.amount(&rules, Timestamp(600_000)));
        assert!(a.abs_diff(b) < b / 1_000_000, "{a} {b}");
        // Three half-lives: seven eighths of the way.
        let full = 2000 * horizon(&rules);
        assert!(b.abs_diff(full / 8 * 7) < full / 10_000, "{b} of {full}");
        assert!(once.amount(&rules, Timestamp(u64::MAX)) <= full);
    }

    #[test]
    fn nothing_overflows() {
        let rules = rules(604_800);
        let used = ShareUse { held: 10_000_000_000, amount: u64::MAX, ..ShareUse::default() };
        assert!(used.amount(&rules, Timestamp(1_000_000)) > 0);
    }
}
