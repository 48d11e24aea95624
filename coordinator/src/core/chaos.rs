//! Any sequence of commands keeps the invariants, and once agents behave everything ends.

mod gpus;
mod limits;
mod nodes;
mod shares;

use proptest::prelude::*;
use windrow_common::api::access::CreateAccessKey;
use windrow_common::api::definitions::RetryBackoff;
use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::api::jobs::DependencyCondition::{Any, Failed};
use windrow_common::api::jobs::{ArrayProperties, JobDependency, RerunJob, SubmitJob};
use windrow_common::api::resources::{
    JobStateTimeLimitAction, TimeLimitActionKind, TimeLimitState, UpdateComputeEnvironment,
    UpdateJobQueue,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::agent::{EndCause, Executor, Held, Register, Report};
use windrow_common::wire::lease::Lease;

use super::stories::access::{new_key, revoke};
use super::stories::shelf::Pages;
use super::stories::why::check_reasons;
use super::world::{World, n_to_n, name, on, sequential};
use super::{Command, next_deadline};
use crate::scheduler::Pass;

/// One step of somebody.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        size: u32,
        attempts: u32,
        waits: u8,
        backs_off: bool,
    },
    Register {
        agent: u8,
        cpus: u32,
        keep: bool,
    },
    Lose {
        agent: u8,
    },
    Start {
        agent: u8,
    },
    End {
        agent: u8,
        code: i32,
    },
    GiveBack {
        agent: u8,
    },
    /// A result is told again.
    Repeat {
        agent: u8,
    },
    Cancel {
        job: u8,
    },
    Terminate {
        job: u8,
        child: bool,
    },
    Leave {
        agent: u8,
    },
    Wait {
        seconds: u8,
    },
    /// A multi-node job.
    Nodes {
        count: u32,
        attempts: u32,
    },
    /// Finished jobs go to the history, and older ones are forgotten.
    Archive {
        forget: bool,
    },
    /// All finished jobs but so many leave the memory; of those on the shelf some come back.
    Shelve {
        keep: u8,
        load: bool,
    },
    /// From now on jobs that no agent could run end after this time; none do if it is 0.
    LimitBlocked {
        seconds: u32,
        terminate: bool,
    },
    /// Stops are carried out.
    Obey {
        agent: u8,
    },
    Rerun {
        job: u8,
        in_place: bool,
    },
    /// Something that limits what starts, or is limited.
    Limit(limits::Limit),
    /// Somebody has part in a fair share, or changes what it is.
    Share(shares::Sharing),
    /// Somebody has or needs GPUs or several containers.
    Device(gpus::Device),
    /// From now on agents that come back have their jobs back, or not.
    Reconcile {
        keep_original: bool,
    },
    /// Somebody is let in, or no longer.
    AccessKey {
        number: u8,
        is_new: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let agent = 0u8..3;
    prop_oneof![
        3 => (1u32..6, 1u32..4, 0u8..4, any::<bool>()).prop_map(
            |(size, attempts, waits, backs_off)| Step::Submit { size, attempts, waits, backs_off }
        ),
        2 => (agent.clone(), 1u32..4, any::<bool>())
            .prop_map(|(agent, cpus, keep)| Step::Register { agent, cpus, keep }),
        1 => agent.clone().prop_map(|agent| Step::Lose { agent }),
        4 => agent.clone().prop_map(|agent| Step::Start { agent }),
        6 => (agent.clone(), 0i32..2).prop_map(|(agent, code)| Step::End { agent, code }),
        1 => agent.clone().prop_map(|agent| Step::GiveBack { agent }),
        1 => agent.clone().prop_map(|agent| Step::Repeat { agent }),
        1 => (0u8..8).prop_map(|job| Step::Cancel { job }),
        1 => (0u8..8, any::<bool>()).prop_map(|(job, child)| Step::Terminate { job, child }),
        1 => agent.clone().prop_map(|agent| Step::Leave { agent }),
        1 => (1u8..12).prop_map(|seconds| Step::Wait { seconds }),
        1 => (1u32..4, 1u32..3).prop_map(|(count, attempts)| Step::Nodes { count, attempts }),
        1 => agent.prop_map(|agent| Step::Obey { agent }),
        1 => any::<bool>().prop_map(|forget| Step::Archive { forget }),
        2 => (0u8..4, any::<bool>()).prop_map(|(keep, load)| Step::Shelve { keep, load }),
        1 => (0u32..8, any::<bool>())
            .prop_map(|(seconds, terminate)| Step::LimitBlocked { seconds, terminate }),
        2 => (0u8..8, any::<bool>()).prop_map(|(job, in_place)| Step::Rerun { job, in_place }),
        2 => any::<bool>().prop_map(|keep_original| Step::Reconcile { keep_original }),
        1 => (0u8..3, any::<bool>())
            .prop_map(|(number, is_new)| Step::AccessKey { number, is_new }),
    ]
}

/// The world, and what three imprecise agents believe to hold.
struct Chaos {
    w: World,
    jobs: Vec<JobId>,
    held: [Vec<(Lease, u32)>; 3],
    told: [Option<Report>; 3],
    /// What the history has of finished jobs.
    shelf: Pages,
}

impl Chaos {
    fn new() -> Self {
        let mut chaos = Self {
            w: World::new(),
            jobs: Vec::new(),
            held: Default::default(),
            told: Default::default(),
            shelf: Pages::default(),
        };
        chaos.define_nodes();
        chaos.define_limits();
        chaos.define_shares();
        chaos.define_devices();
        chaos
    }

    fn agent(index: u8) -> Name {
        name(["a", "b", "c"][usize::from(index)])
    }

    /// Takes the agent's orders; whether it has ever joined.
    fn look(&mut self, index: u8) -> bool {
        let agent = Self::agent(index);
        for lease in self.w.leases(&agent) {
            let children = lease.first..lease.first + lease.count;
            self.held[usize::from(index)].extend(children.map(|child| (lease.clone(), child)));
        }
        self.w.state.agents.contains_key(&agent)
    }

    fn tell(&mut self, index: u8, report: Report) {
        self.told[usize::from(index)] = Some(report.clone());
        self.w.report(&Self::agent(index), vec![report]);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Limit(ref limit) => self.limit(limit),
            Step::Share(ref sharing) => self.share(sharing),
            Step::Device(ref device) => self.device(device),
            Step::Submit { size, attempts, waits, backs_off } => {
                self.submit(size, attempts, waits, backs_off);
            }
            Step::Rerun { job, in_place } => self.rerun(job, in_place),
            Step::Reconcile { keep_original } => self.reconcile(keep_original),
            // Refused if it is there, or is not.
            Step::AccessKey { number, is_new: true } => {
                self.w.tries(new_key(number, CreateAccessKey::default())).ok();
            }
            Step::AccessKey { number, is_new: false } => drop(self.w.tries(revoke(number))),
            Step::Wait { seconds } => self.w.advance(seconds.into()),
            Step::Nodes { count, attempts } => self.submit_nodes(count, attempts),
            Step::Obey { agent } => self.obey(agent),
            Step::Archive { forget } => self.archive(forget),
            Step::Shelve { keep, load } => self.w.shelve(keep.into(), &mut self.shelf, load),
            Step::LimitBlocked { seconds, terminate } => self.limit_blocked(seconds, terminate),
            Step::Register { agent, cpus, keep } => self.register(agent, cpus, keep),
            Step::Lose { agent } => self.w.lose(&Self::agent(agent)),
            Step::Start { agent } => {
                if self.look(agent)
                    && let Some((lease, child)) = self.held[usize::from(agent)].last()
                {
                    let report = self.w.started(lease, *child);
                    self.tell(agent, report);
                }
            }
            Step::End { agent, code } => {
                if self.look(agent)
                    && let Some((lease, child)) = self.held[usize::from(agent)].pop()
                {
                    let report = self.w.ended(&lease, child, EndCause::Exited, code);
                    self.tell(agent, report);
                }
            }
            Step::GiveBack { agent } => self.give_back(agent),
            Step::Repeat { agent } => {
                if let Some(report) = self.told[usize::from(agent)].clone() {
                    self.tell(agent, report);
                }
            }
            Step::Cancel { job } => {
                if let Some(job) = self.jobs.get(usize::from(job)) {
                    self.w.cancel(&job.to_string());
                }
            }
            Step::Terminate { job, child } => {
                if let Some(job) = self.jobs.get(usize::from(job)) {
                    let id = if child { format!("{job}:0") } else { job.to_string() };
                    self.w.terminate(&id);
                }
            }
            Step::Leave { agent } => {
                if self.look(agent) {
                    self.tell(agent, Report::Leaving);
                }
            }
        }
    }

    fn archive(&mut self, forget: bool) {
        let finished = &self.w.state.index.finished;
        let due = finished.with_records(self.w.now).collect();
        self.w.does(Command::Archive(due));
        if forget {
            self.w.does(Command::Forget(self.w.now));
        }
    }

    fn give_back(&mut self, agent: u8) {
        if self.look(agent)
            && let Some((lease, child)) = self.held[usize::from(agent)].pop()
        {
            let children = vec![(child, 1)];
            self.tell(agent, Report::Returned { lease: lease.id, job: lease.job, children });
        }
    }

    fn rerun(&mut self, job: u8, in_place: bool) {
        let Some(job) = self.jobs.get(usize::from(job)) else { return };
        let (job_id, only_failed) = (job.to_string(), true);
        let request = RerunJob { job_id, only_failed, in_place, ..RerunJob::default() };
        let id = JobId::from_u128(1_000_000 + self.jobs.len() as u128);
        let command = Command::Rerun { id, request: Box::new(request) };
        // Refused if nothing has failed.
        if self.w.tries(command).is_ok() && !in_place {
            self.jobs.push(id);
        }
    }

    fn submit(&mut self, size: u32, attempts: u32, waits: u8, backs_off: bool) {
        let array =
            (size > 1).then_some(ArrayProperties { size: Some(size), ..Default::default() });
        let known = |job: &JobId| self.w.state.jobs.contains_key(job);
        let last = self.jobs.last().copied().filter(known);
        let same_size = |job: JobId| self.w.state.jobs[&job].array_size == Some(size);
        let depends_on = match (waits, last) {
            (1, Some(job)) => {
                let condition = [None, Some(Any), Some(Failed)][attempts as usize % 3];
                vec![JobDependency { condition, ..on(job).remove(0) }]
            }
            (2, Some(job)) if size > 1 && same_size(job) => n_to_n(job),
            (3, _) if size > 1 => sequential(),
            _ => Vec::new(),
        };
        let mut request =
            SubmitJob { array_properties: array, depends_on, ..self.w.retrying(attempts) };
        if let Some(strategy) = request.retry_strategy.as_mut().filter(|_| backs_off) {
            let initial_seconds = Some(attempts);
            strategy.backoff = Some(RetryBackoff { initial_seconds, ..RetryBackoff::default() });
        }
        let job = self.w.submit(request);
        self.jobs.push(job);
    }

    fn register(&mut self, index: u8, cpus: u32, keep: bool) {
        self.join(index, cpus, keep, |request| request);
    }

    /// Registers an agent that is as `with` makes it.
    fn join(&mut self, index: u8, cpus: u32, keep: bool, with: impl FnOnce(Register) -> Register) {
        self.look(index);
        let held = &mut self.held[usize::from(index)];
        if !keep {
            held.clear();
        }
        let children = held.iter();
        let told: Vec<Held> = children
            .map(|(lease, child)| Held {
                lease: lease.id,
                children: vec![(*child, 1)],
                job: Some(lease.job),
                // Some have ended with their host.
                lost: if child % 4 == 3 { vec![(*child, 1)] } else { Vec::new() },
            })
            .collect();
        let request = self.w.registration(Self::agent(index).as_str(), cpus, told);
        let fenced = self.w.join(with(request));
        self.held[usize::from(index)].retain(|(lease, child)| {
            !fenced.iter().any(|f| f.lease == lease.id && f.children.contains(&(*child, 1)))
        });
    }

    fn reconcile(&mut self, keep_original: bool) {
        let reconcile = match keep_original {
            true => Reconcile::KeepOriginal,
            false => Reconcile::KeepReplacement,
        };
        let policy = DisconnectPolicy { reconcile: Some(reconcile), ..Default::default() };
        self.w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
            compute_environment: "e".into(),
            disconnect: Some(policy),
            ..Default::default()
        }));
    }

    fn limit_blocked(&mut self, seconds: u32, terminate: bool) {
        let action = match terminate {
            true => TimeLimitActionKind::Terminate,
            false => TimeLimitActionKind::Cancel,
        };
        let action = JobStateTimeLimitAction {
            reason: "ACTION_REQUIRED".into(),
            state: TimeLimitState::Runnable,
            max_time_seconds: seconds,
            action,
        };
        let actions = Some(action).filter(|_| seconds > 0).into_iter().collect();
        self.w.does(Command::UpdateQueue(UpdateJobQueue {
            job_queue: "q".into(),
            job_state_time_limit_actions: Some(actions),
            ..Default::default()
        }));
    }

    /// Takes the steps, then lets everything end.
    fn run(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.take(step);
            check_reasons(&self.w.state, self.w.now);
            self.check_nothing_is_left_to_place();
        }
        self.settle();
        for job in &self.jobs {
            let Some(job) = self.w.state.jobs.get(job) else { continue };
            prop_assert!(job.children.all_ended(), "stuck: {job:?}");
        }
        prop_assert!(self.w.state.leases.is_empty());
        prop_assert!(self.w.state.given_up.is_empty(), "kept of jobs that have ended");
        self.w.check_replay();
        Ok(())
    }

    /// A pass right after a pass changes nothing.
    fn check_nothing_is_left_to_place(&self) {
        let (state, now) = (&self.w.state, self.w.now);
        let mut pass = Pass::new(state, now);
        assert_eq!(pass.next(state), None, "the pass before has placed all it could");
        assert_eq!(pass.into_reservations(), state.reservations, "and reserves what it did");
    }

    /// Faults stop: one good agent and enough of what is used up, everything runs to its end.
    fn settle(&mut self) {
        self.replenish();
        for index in 0..3 {
            self.w.lose(&Self::agent(index));
        }
        let mut good = gpus::with_gpus(self.w.registration("good", 4, Vec::new()), 4);
        good.executors.push(Executor::Docker);
        self.w.join(good);
        self.w.run_all(&name("good"), 0);
        while let Some(at) = next_deadline(&self.w.state) {
            self.w.advance(at.since(self.w.now).as_secs().max(1));
            self.w.run_all(&name("good"), 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants_and_everything_ends(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        Chaos::new().run(&steps)?;
    }
}
