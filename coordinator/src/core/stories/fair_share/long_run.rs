//! Over a long load shares get what their weights entitle them to, whatever their jobs are like.

use proptest::prelude::*;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::policies::FairsharePolicy;

use super::{assert_parts, in_share, world};
use crate::core::invariants;
use crate::core::simulation::{Simulation, Stream};

/// What the jobs of a share are like.
#[derive(Clone, Copy, Debug)]
struct Load {
    vcpus: u32,
    run_millis: u64,
    /// Children of each job.
    size: u32,
}

/// A cluster, a policy, and what shares `a`, `b` and `c` run on it. They are entitled to 1, 2 and 4
/// parts of it.
#[derive(Clone, Debug)]
struct Setting {
    agents: Vec<u32>,
    decay_seconds: u32,
    loads: [Load; 3],
}

const SHARES: [&str; 3] = ["a", "b", "c"];
const PARTS: [u64; 3] = [1, 2, 4];

impl Setting {
    fn simulation(&self) -> Simulation {
        let weights = [("a", 40_000), ("b", 20_000), ("c", 10_000)];
        let share_decay_seconds = Some(self.decay_seconds);
        let policy = FairsharePolicy { share_decay_seconds, ..FairsharePolicy::default() };
        let mut w = world(&weights, policy);
        // Of different memory, or they were one spec with one average run time.
        for ((share, load), memory) in SHARES.iter().zip(&self.loads).zip(["10", "11", "12"]) {
            w.definition(share, &load.vcpus.to_string(), memory);
        }
        Simulation::new(w, &[])
    }

    fn join(&self, s: &mut Simulation) {
        let names = ["p", "q", "r", "s", "t", "u", "v", "w"];
        names.into_iter().zip(&self.agents).for_each(|(name, cpus)| s.join(name, *cpus));
    }

    fn flow(&self, s: &mut Simulation, index: usize) {
        let (share, load) = (SHARES[index], self.loads[index]);
        let request = SubmitJob { job_definition: share.into(), ..in_share(&s.w, share) };
        let depth = self.agents.iter().sum::<u32>().max(4);
        s.flow(Stream::new(request, load.size, load.run_millis, depth));
    }

    fn cores(&self) -> u64 {
        self.agents.iter().sum::<u32>().into()
    }

    fn shortest(&self) -> u64 {
        self.loads.iter().map(|load| load.run_millis).min().unwrap()
    }

    /// In this time each share is entitled to at least so many of its jobs.
    fn long_enough(&self, jobs: u64) -> u64 {
        let of = |(load, part): (&Load, u64)| {
            let each = u64::from(load.vcpus) * load.run_millis;
            jobs * each * 7 / (part * self.cores())
        };
        self.loads.iter().zip(PARTS).map(of).max().unwrap()
    }
}

fn used(s: &Simulation) -> [u64; 3] {
    SHARES.map(|share| s.used("f", share))
}

const fn load(vcpus: u32, run_millis: u64, size: u32) -> Load {
    Load { vcpus, run_millis, size }
}

/// Single jobs of one vCPU.
const fn same(run_millis: u64) -> [Load; 3] {
    [load(1, run_millis, 1); 3]
}

fn setting(agents: &[u32], decay_seconds: u32, loads: [Load; 3]) -> Setting {
    Setting { agents: agents.to_vec(), decay_seconds, loads }
}

/// Under load from all of them the shares get their parts.
fn check(setting: &Setting) {
    let mut s = setting.simulation();
    (0..3).for_each(|index| setting.flow(&mut s, index));
    setting.join(&mut s);
    let begin = s.w.now.0 + setting.long_enough(5);
    s.run_until(begin);
    check_parts(setting, &mut s);
}

/// From here on the shares get their parts, within 5 %.
fn check_parts(setting: &Setting, s: &mut Simulation) {
    let (begin, before) = (s.w.now.0, used(s));
    s.run_until(begin + setting.long_enough(40).max(40_000));
    assert_parts(&before, &used(s), &PARTS);
    invariants::check(&s.w.state).unwrap();
}

const HOUR: u32 = 3600;
const MINUTE: u64 = 60_000;

#[test]
fn few_cores_and_many() {
    check(&setting(&[1], 600, same(10_000)));
    check(&setting(&[4], 600, same(MINUTE)));
    check(&setting(&[14], 600, same(10 * MINUTE)));
    check(&setting(&[64], 600, same(10 * MINUTE)));
}

#[test]
fn windows_from_minutes_to_days() {
    for decay_seconds in [120, HOUR, 24 * HOUR, 7 * 24 * HOUR] {
        check(&setting(&[4, 3], decay_seconds, same(20_000)));
    }
}

#[test]
fn jobs_of_different_lengths() {
    let loads = [load(1, 20_000, 100), load(1, MINUTE, 10), load(1, 10 * MINUTE, 1)];
    check(&setting(&[14], 600, loads));
    let loads = [load(1, 10 * MINUTE, 100), load(1, MINUTE, 10), load(1, 40_000, 1)];
    check(&setting(&[14], 600, loads));
}

#[test]
fn jobs_of_different_sizes() {
    let loads = [load(1, MINUTE, 1), load(2, MINUTE, 1), load(4, MINUTE, 1)];
    check(&setting(&[8, 8], 600, loads));
    let loads = [load(8, MINUTE, 1), load(2, 50_000, 1), load(1, 40_000, 1)];
    check(&setting(&[8, 8], HOUR, loads));
}

/// Short children wait at agents, so that no round trip comes between two of them; whose turn it is
/// counts all the same.
#[test]
fn jobs_of_milliseconds_beside_jobs_of_seconds() {
    check(&setting(&[2, 2], 600, [load(1, 50, 1000); 3]));
    let loads = [load(1, 20, 1000), load(1, 1000, 100), load(1, 5000, 10)];
    check(&setting(&[4, 4], 600, loads));
    let loads = [load(1, 5000, 10), load(1, 1000, 100), load(1, 100, 1000)];
    check(&setting(&[4, 4], 600, loads));
}

/// After it was idle a share is behind, and catches up within its window.
#[test]
fn a_share_that_was_idle_recovers() {
    for (setting, idle) in [
        (setting(&[4], 600, same(MINUTE)), 2),
        (setting(&[14], HOUR, same(5 * MINUTE)), 0),
        (setting(&[4, 4], 600, [load(1, MINUTE, 1), load(2, MINUTE, 10), load(2, MINUTE, 1)]), 1),
        (setting(&[2, 2], 60, [load(1, 5000, 10), load(1, 1000, 100), load(1, 200, 1000)]), 2),
    ] {
        let mut s = setting.simulation();
        let others = [0, 1, 2].into_iter().filter(|index| *index != idle);
        others.for_each(|index| setting.flow(&mut s, index));
        setting.join(&mut s);
        let window = u64::from(setting.decay_seconds) * 1000;
        s.run_until(s.w.now.0 + setting.long_enough(5).max(2 * window));
        assert_eq!(used(&s)[idle], 0);
        setting.flow(&mut s, idle);
        let (begin, before) = (s.w.now.0, used(&s));
        s.run_until(begin + window);
        let got: Vec<u64> = used(&s).iter().zip(before).map(|(after, b)| after - b).collect();
        let entitled = got.iter().sum::<u64>() * PARTS[idle] / 7;
        assert!(got[idle] > entitled, "it catches up: {got:?}, {setting:?}");
        assert!(got.iter().all(|got| *got > 0), "and starves nobody: {got:?}, {setting:?}");
        s.run_until(begin + 2 * window);
        check_parts(&setting, &mut s);
    }
}

fn any_setting() -> impl Strategy<Value = Setting> {
    let agents = prop::collection::vec(1u32..12, 1..4);
    let run = prop_oneof![1000u64..10_000, 10_000u64..300_000];
    let one = (run, prop_oneof![Just(1u32), Just(10), Just(200)]);
    let loads = prop::collection::vec(one, 3);
    (agents, 60u32..86_400, loads).prop_map(|(agents, decay_seconds, loads)| {
        let longest = loads.iter().map(|(run, _)| run).max().unwrap();
        let cores: u32 = agents.iter().sum();
        // A window in which the smallest share is entitled to some of the longest jobs: a shorter one
        // forgets what a share got before it gets its next.
        let least = u32::try_from(10 * 7 * longest / 1000 / u64::from(cores)).unwrap();
        let loads = [0, 1, 2].map(|share| load(1, loads[share].0, loads[share].1));
        Setting { agents, decay_seconds: decay_seconds.max(least), loads }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_jobs_are_like(setting in any_setting()) {
        // Not more ends than a test has time for.
        prop_assume!(setting.long_enough(155) * setting.cores() / setting.shortest() < 10_000);
        let mut s = setting.simulation();
        (0..3).for_each(|index| setting.flow(&mut s, index));
        setting.join(&mut s);
        // After a beginning in which nobody knew how long jobs run.
        s.run_until(s.w.now.0 + setting.long_enough(15));
        let (begin, before) = (s.w.now.0, used(&s));
        s.run_until(begin + setting.long_enough(140));
        assert_parts(&before, &used(&s), &PARTS);
    }
}
