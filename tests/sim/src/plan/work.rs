//! What clients ask: which kinds of work a seed has, and how much of each.

use windrow_common::api::jobs::DependencyCondition;

use super::{Ask, Job, Policy, Step};
use crate::coordinator::SILENCE_SECONDS_MIN;
use crate::random::Random;

pub(super) fn clients(
    random: &mut Random,
    calm_at: u64,
    agents: u8,
    policies: &[Policy],
) -> Vec<Vec<Step>> {
    let setup = [Ask::Environment(policies[0]), Ask::Queue("q0".to_owned())];
    let setup = setup.into_iter().chain([Ask::Queue("q1".to_owned()), Ask::Definition]);
    let setup = setup.map(|ask| Step { at: random.within(1, 500), ask }).collect();
    let mut clients: Vec<Vec<Step>> = vec![setup];
    let updates = policies[1..].iter().map(|policy| Ask::Disconnect(*policy));
    let updates = updates.map(|ask| Step { at: random.within(2_000, calm_at), ask });
    clients.push(updates.collect());
    let mut features = Features::new(random);
    if policies[0].stop_after > 0 && random.chance(700) {
        // So that something runs when an agent falls silent.
        features.millis = 15_000;
    }
    let bursts: Vec<u64> = (0..3).map(|_| random.within(1_000, calm_at)).collect();
    for client in 0..random.within(1, 3) {
        let mut steps = Vec::new();
        let mut keys: Vec<Job> = Vec::new();
        for number in 0..random.within(4, 14) {
            let at = match random.chance(features.bursts) {
                true => bursts[random.index(bursts.len())],
                false => random.within(1_000, calm_at),
            };
            let job = features.job(random, format!("k{client}-{number}"));
            steps.push(Step { at, ask: features.submission(random, job.clone()) });
            keys.push(job);
            if random.chance(features.again) {
                let mut again = keys[random.index(keys.len())].clone();
                again.copies = 1;
                // A dependency is chosen when it is sent, so it would be another request.
                if again.after.is_none() {
                    let at = at + random.within(0, 20_000);
                    steps.push(Step { at, ask: Ask::Submit(again) });
                }
            }
            if random.chance(features.other) {
                let other = keys[random.index(keys.len())].clone();
                let other = Job { is_other: true, copies: 1, after: None, ..other };
                let at = at + random.within(5_000, 20_000);
                steps.push(Step { at, ask: Ask::Submit(other) });
            }
            if let Some(ask) = features.meddling(random, agents) {
                steps.push(Step { at: random.within(2_000, calm_at), ask });
            }
        }
        clients.push(steps);
    }
    // What was drained takes work again, or nothing would end.
    let undo =
        (0..agents).map(|agent| Step { at: calm_at + 20_000, ask: Ask::Drain(agent, false) });
    clients.push(undo.collect());
    clients
}

/// The environment's policy at first, and what it becomes.
pub(super) fn policies(random: &mut Random) -> Vec<Policy> {
    if random.chance(550) {
        return vec![Policy::default()];
    }
    // Most that are strict stay so.
    let strict = [0, 1000, 1000, 700][random.index(4)];
    let updates = if random.chance(400) { random.within(1, 4) } else { 0 };
    (0..=updates).map(|_| policy(random, strict)).collect()
}

fn policy(random: &mut Random, strict: u64) -> Policy {
    let mut seconds =
        |least: u64, most: u64| u32::try_from(random.within(least, most)).expect("small");
    let stop_after = seconds(SILENCE_SECONDS_MIN.into(), 12);
    let lost_after = stop_after + seconds(5, 9);
    let other = seconds(SILENCE_SECONDS_MIN.into(), 20);
    let keeps_original = random.chance(500);
    if random.chance(strict) {
        return Policy { lost_after, stop_after, keeps_original, is_strict: true };
    }
    let lost_after = [0, lost_after, other][random.index(3)];
    let stop_after = if random.chance(500) { stop_after } else { 0 };
    Policy { lost_after, stop_after, keeps_original, is_strict: false }
}

/// Which kinds of work a seed has, of a thousand.
struct Features {
    arrays: u64,
    array_size: u64,
    after: u64,
    sequences: u64,
    failures: u64,
    timeouts: u64,
    deaf: u64,
    published: u64,
    again: u64,
    other: u64,
    copies: u64,
    cancels: u64,
    terminates: u64,
    describes: u64,
    drains: u64,
    garbage: u64,
    millis: u64,
    long: u64,
    /// Many things at once.
    bursts: u64,
}

impl Features {
    fn new(random: &mut Random) -> Self {
        let mut rate = |often: u64, most: u64| {
            if random.chance(often) { random.within(1, most) } else { 0 }
        };
        Self {
            arrays: rate(700, 800),
            array_size: rate(1000, 24) + 1,
            after: rate(500, 600),
            sequences: rate(250, 300),
            failures: rate(600, 500),
            timeouts: rate(300, 300),
            deaf: rate(250, 400),
            published: rate(400, 600),
            again: rate(400, 500),
            other: rate(300, 300),
            copies: rate(300, 400),
            cancels: rate(300, 200),
            terminates: rate(400, 300),
            describes: rate(700, 500),
            drains: rate(150, 150),
            garbage: rate(200, 200),
            long: rate(400, 400),
            bursts: rate(300, 900),
            millis: [200, 1_000, 4_000, 9_000][usize::try_from(rate(1000, 4) - 1).expect("small")],
        }
    }

    fn job(&mut self, random: &mut Random, key: String) -> Job {
        let small = |number: u64| u32::try_from(number).expect("small");
        let is_array = random.chance(self.arrays);
        let size = if is_array { small(random.within(2, self.array_size + 1)) } else { 1 };
        let has_after = random.chance(self.after);
        let fails = if random.chance(self.failures) { random.within(100, 1000) } else { 0 };
        let conditions =
            [None, None, Some(DependencyCondition::Any), Some(DependencyCondition::Failed)];
        Job {
            key,
            is_other: false,
            queue: format!("q{}", random.index(2)),
            size,
            cpus: small(random.within(1, 2)),
            memory: small(random.within(1, 20)) * 100,
            millis: match random.chance(self.long) && !is_array {
                true => random.within(60_000, 150_000),
                false => random.within(20, self.millis),
            },
            fails,
            ignores_sigterm: random.chance(self.deaf),
            attempts: small(random.within(1, 4)),
            timeout: random.chance(self.timeouts).then(|| small(random.within(1, 6))),
            after: has_after.then(|| random.number()),
            by_child: is_array && random.chance(300),
            condition: conditions[random.index(4)],
            in_sequence: is_array && random.chance(self.sequences),
            copies: if random.chance(self.copies) { random.index(6) + 1 } else { 1 },
        }
    }

    fn submission(&self, random: &mut Random, job: Job) -> Ask {
        if random.chance(self.published) { Ask::Publish(job) } else { Ask::Submit(job) }
    }

    fn meddling(&self, random: &mut Random, agents: u8) -> Option<Ask> {
        let number = random.number();
        if random.chance(self.cancels) {
            return Some(Ask::Cancel(number));
        }
        if random.chance(self.terminates) {
            let child = random.chance(300).then(|| u32::try_from(number % 3).expect("small"));
            return Some(Ask::Terminate(number, child));
        }
        if random.chance(self.drains) {
            let agent = u8::try_from(number % u64::from(agents)).expect("small");
            return Some(Ask::Drain(agent, random.chance(600)));
        }
        if random.chance(self.garbage) {
            let length = random.within(0, 40);
            let bytes = (0..length).map(|_| random.number().to_le_bytes()[0]).collect();
            return Some(Ask::Garbage(bytes));
        }
        random.chance(self.describes).then_some(Ask::Describe(number))
    }
}
