//! Quota shares: capacity of a share's own, lent, borrowed and taken back.

mod books;

use windrow_common::api::ErrorKind;
use windrow_common::api::jobs::{JobStatus, RerunJob, SubmitJob, UpdateJob};
use windrow_common::api::policies::{CreateSchedulingPolicy, QuotaSharePolicy};
use windrow_common::api::quota::{
    CreateQuotaShare, DeleteQuotaShare, PreemptionConfiguration, QuotaShareCapacityLimit,
    QuotaSharePreemptionConfiguration, QuotaShareResourceSharingConfiguration,
    ResourceSharingStrategy, UpdateQuotaShare,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::agent::{EndCause, Report};
use windrow_common::wire::lease::{Lease, Order};

use crate::core::Command;
use crate::core::world::World;

use JobStatus::{Failed, Runnable, Running, Starting};
use ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};

impl World {
    /// Queue `shared` with quota shares.
    pub(in crate::core) fn quota_queue(&mut self) {
        self.does(Command::CreatePolicy(CreateSchedulingPolicy {
            name: "quota".into(),
            quota_share_policy: Some(QuotaSharePolicy::default()),
            ..Default::default()
        }));
        self.fair_queue("shared", "quota");
    }

    pub(in crate::core) fn quota_share(
        &mut self,
        share: &str,
        vcpus: u32,
        strategy: ResourceSharingStrategy,
    ) {
        self.does(Command::CreateQuotaShare(create(share, vcpus, strategy)));
    }

    pub(in crate::core) fn shared(&self, share: &str) -> SubmitJob {
        SubmitJob {
            job_queue: "shared".into(),
            quota_share_name: Some(share.into()),
            ..self.request()
        }
    }

    /// The agent obeys all orders to stop; gives how many children it stopped.
    fn obey(&mut self, agent: &Name, leases: &[Lease]) -> usize {
        let orders = self.orders.remove(agent).unwrap_or_default();
        let mut reports = Vec::new();
        for order in &orders {
            let Order::Stop(stop) = order else { continue };
            let lease = leases.iter().find(|lease| lease.id == stop.lease).unwrap();
            let children = stop.children.iter().flat_map(|(first, count)| *first..first + count);
            reports.extend(children.map(|c| self.ended(lease, c, EndCause::Stopped, 143)));
        }
        let others = orders.into_iter().filter(|order| !matches!(order, Order::Stop(_)));
        self.orders.entry(agent.clone()).or_default().extend(others);
        let stopped = reports.len();
        reports.into_iter().for_each(|report: Report| drop(self.report(agent, vec![report])));
        stopped
    }
}

/// How a share shares.
pub(in crate::core) fn sharing(
    strategy: ResourceSharingStrategy,
    borrow_limit: Option<i32>,
) -> Option<QuotaShareResourceSharingConfiguration> {
    Some(QuotaShareResourceSharingConfiguration { strategy, borrow_limit })
}

/// A share of queue `shared`; one that borrows does so without limit.
pub(in crate::core) fn create(
    share: &str,
    vcpus: u32,
    strategy: ResourceSharingStrategy,
) -> CreateQuotaShare {
    CreateQuotaShare {
        quota_share_name: share.into(),
        job_queue: "shared".into(),
        capacity_limits: vec![QuotaShareCapacityLimit {
            capacity_unit: "VCPU".into(),
            max_capacity: vcpus,
        }],
        resource_sharing_configuration: sharing(strategy, None),
        preemption_configuration: Some(QuotaSharePreemptionConfiguration {
            in_share_preemption: ResourceState::Disabled,
        }),
        ..Default::default()
    }
}

fn many(w: &mut World, share: &str, count: usize) -> Vec<JobId> {
    (0..count).map(|_| w.submit(w.shared(share))).collect()
}

fn count(w: &World, jobs: &[JobId], status: JobStatus) -> usize {
    jobs.iter().filter(|job| w.status(**job) == status).count()
}

#[test]
fn jobs_of_such_a_queue_name_a_share_and_others_do_not() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("a", 2, Reserve);
    let id = JobId::from_u128(99);
    let submit = |request: SubmitJob| Command::Submit { id, request: Box::new(request) };
    let none = SubmitJob { quota_share_name: None, ..w.shared("a") };
    assert!(w.refused(submit(none)).message.contains("must be provided"));
    assert!(w.refused(submit(w.shared("b"))).message.contains("`shared/b` does not exist"));
    let elsewhere = SubmitJob { job_queue: "q".into(), ..w.shared("a") };
    assert!(w.refused(submit(elsewhere)).message.contains("has no quota shares"));
    let wrong = CreateQuotaShare { job_queue: "q".into(), ..create("x", 1, Reserve) };
    assert!(w.refused(Command::CreateQuotaShare(wrong)).message.contains("quotaSharePolicy"));
    let mut wrong = create("x", 1, Reserve);
    wrong.capacity_limits[0].capacity_unit = "ml.m5.large".into();
    assert!(w.refused(Command::CreateQuotaShare(wrong)).message.contains("VCPU"));
}

#[test]
fn a_reserving_share_stays_within_its_own_and_keeps_it() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("a", 2, Reserve);
    w.quota_share("b", 3, LendAndBorrow);
    w.agent("big", 8);
    let (a, b) = (many(&mut w, "a", 4), many(&mut w, "b", 6));
    assert_eq!((count(&w, &a, Starting), count(&w, &b, Starting)), (2, 3));
    w.check_replay();
}

#[test]
fn lent_capacity_comes_back_when_its_owner_has_work() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 2, Lend);
    w.quota_share("other", 2, LendAndBorrow);
    let agent = w.agent("big", 4);
    let borrowers = many(&mut w, "other", 6);
    assert_eq!(count(&w, &borrowers, Starting), 4, "two are on borrowed capacity");
    let leases = w.start_all(&agent);

    let owner = w.submit(w.shared("owner"));
    assert_eq!((w.status(owner), w.state.preemptions.len()), (Runnable, 1), "one is enough");
    let victim = borrowers[3];
    let reason = w.detail(victim).status_reason.unwrap();
    assert!(reason.starts_with("PREEMPTION_IN_PROGRESS"), "{reason}");
    assert_eq!(w.obey(&agent, &leases), 1);
    assert_eq!((w.status(owner), w.status(victim)), (Starting, Runnable));
    assert_eq!(count(&w, &borrowers, Running), 3);
    let summary = w.detail(victim).preemption_summary.unwrap();
    assert_eq!(summary.preempted_attempt_count, 1);
    let attempt = &summary.recent_preempted_attempts[0];
    assert!(attempt.status_reason.as_ref().unwrap().contains(&owner.to_string()), "{attempt:?}");
    assert!(w.state.preemptions.is_empty(), "nobody else has to go");
    w.check_replay();
}

#[test]
fn a_job_is_preempted_as_often_as_it_allows_without_being_charged() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 1, Lend);
    w.quota_share("other", 1, LendAndBorrow);
    let agent = w.agent("big", 2);
    let preemption_configuration =
        Some(PreemptionConfiguration { preemption_retries_before_termination: Some(0) });
    let stays = w.submit(w.shared("other"));
    let goes = w.submit(SubmitJob { preemption_configuration, ..w.shared("other") });
    let leases = w.start_all(&agent);
    let owner = w.submit(w.shared("owner"));
    assert_eq!(w.obey(&agent, &leases), 1);
    assert_eq!([stays, goes, owner].map(|job| w.status(job)), [Running, Failed, Starting]);
    let reason = w.detail(goes).status_reason.unwrap();
    assert!(reason.starts_with("PREEMPTION_COMPLETED"), "{reason}");
}

#[test]
fn nobody_is_stopped_when_it_would_not_help() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 8, Lend);
    w.quota_share("other", 2, LendAndBorrow);
    w.definition("large", "8", "100");
    let agent = w.agent("small", 4);
    let borrowers = many(&mut w, "other", 4);
    w.start_all(&agent);
    let large = SubmitJob { job_definition: "large".into(), ..w.shared("owner") };
    let owner = w.submit(large);
    assert_eq!(w.status(owner), Runnable);
    assert!(w.state.preemptions.is_empty(), "no agent could hold it, empty or not");
    assert_eq!(count(&w, &borrowers, Running), 4);
}

#[test]
fn a_higher_priority_takes_the_place_of_a_lower_one_where_the_share_allows_it() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("a", 1, Reserve);
    let agent = w.agent("big", 4);
    let low = w.submit(w.shared("a"));
    let leases = w.start_all(&agent);
    let high = w.submit(w.shared("a"));
    w.does(Command::UpdateJob(UpdateJob {
        job_id: high.to_string(),
        scheduling_priority: Some(5),
        ..Default::default()
    }));
    assert!(w.state.preemptions.is_empty(), "not allowed");
    w.does(Command::UpdateQuotaShare(UpdateQuotaShare {
        quota_share_arn: "shared/a".into(),
        preemption_configuration: Some(QuotaSharePreemptionConfiguration {
            in_share_preemption: ResourceState::Enabled,
        }),
        ..Default::default()
    }));
    assert_eq!(w.obey(&agent, &leases), 1);
    assert_eq!([low, high].map(|job| w.status(job)), [Runnable, Starting]);
    assert!(w.state.preemptions.is_empty(), "the lower one does not strike back");
    w.check_replay();
}

#[test]
fn a_share_goes_with_its_jobs_once_it_is_disabled() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("a", 1, Reserve);
    let agent = w.agent("big", 4);
    let jobs = many(&mut w, "a", 3);
    let leases = w.start_all(&agent);
    let delete =
        || Command::DeleteQuotaShare(DeleteQuotaShare { quota_share_arn: "shared/a".into() });
    assert!(w.refused(delete()).message.contains("ENABLED"));
    w.does(Command::UpdateQuotaShare(UpdateQuotaShare {
        quota_share_arn: "shared/a".into(),
        state: Some(ResourceState::Disabled),
        ..Default::default()
    }));
    let id = JobId::from_u128(99);
    let request = Box::new(w.shared("a"));
    assert!(w.refused(Command::Submit { id, request }).message.contains("DISABLED"));
    w.does(delete());
    assert_eq!(count(&w, &jobs, Failed), 2, "those that wait end at once");
    assert_eq!(w.obey(&agent, &leases), 1);
    assert_eq!(count(&w, &jobs, Failed), 3);
    assert!(w.state.quota_shares["shared".parse::<Name>().as_ref().unwrap()].is_empty());
    w.check_replay();
}

fn in_place(job: JobId) -> Command {
    let request = RerunJob { job_id: job.to_string(), in_place: true, ..RerunJob::default() };
    Command::Rerun { id: JobId::from_u128(98), request: Box::new(request) }
}

#[test]
fn a_preempted_job_that_is_run_again_in_place_has_its_losses_counted_from_there() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 1, Lend);
    w.quota_share("other", 1, LendAndBorrow);
    let agent = w.agent("big", 2);
    let preemption_configuration =
        Some(PreemptionConfiguration { preemption_retries_before_termination: Some(1) });
    w.submit(w.shared("other"));
    let goes = w.submit(SubmitJob { preemption_configuration, ..w.shared("other") });
    let leases = w.start_all(&agent);
    let owner = w.submit(w.shared("owner"));
    assert_eq!(w.obey(&agent, &leases), 1);
    w.run_one(&agent, owner);
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.job, goes);
    let failed = w.ended(&lease, 0, EndCause::Exited, 1);
    w.report(&agent, vec![failed]);
    assert_eq!(w.status(goes), Failed);
    w.does(in_place(goes));
    assert_eq!(w.status(goes), Starting);
    w.lose(&agent);
    assert_eq!(w.status(goes), Runnable, "a loss is no failure");
    w.check_replay();
}

#[test]
fn a_job_of_a_share_that_takes_no_jobs_is_not_run_again() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("a", 1, Reserve);
    let job = w.submit(w.shared("a"));
    w.terminate(&job.to_string());
    w.does(Command::UpdateQuotaShare(UpdateQuotaShare {
        quota_share_arn: "shared/a".into(),
        state: Some(ResourceState::Disabled),
        ..Default::default()
    }));
    assert!(w.refused(in_place(job)).message.contains("DISABLED"));
    w.does(Command::DeleteQuotaShare(DeleteQuotaShare { quota_share_arn: "shared/a".into() }));
    assert_eq!(w.refused(in_place(job)).kind, ErrorKind::NotFound);
}

#[test]
fn room_kept_for_a_job_is_its_to_take_before_all_that_make_room_are_gone() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 2, Lend);
    w.quota_share("other", 1, LendAndBorrow);
    let agent = w.agent("big", 3);
    let elsewhere = w.job();
    let borrowers = many(&mut w, "other", 2);
    let leases = w.start_all(&agent);
    let owner = w.submit(w.shared("owner"));
    assert_eq!((w.status(owner), w.state.preemptions.len()), (Runnable, 1), "no room");
    let lease = leases.iter().find(|lease| lease.job == elsewhere).unwrap();
    let ended = w.ended(lease, lease.first, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    assert_eq!((w.status(owner), count(&w, &borrowers, Running)), (Starting, 2));
    w.obey(&agent, &leases);
    assert_eq!(count(&w, &borrowers, Starting), 1, "the room of the one that went is free again");
    w.check_replay();
}

#[test]
fn who_can_never_start_does_not_make_its_share_come_after_those_who_borrow() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 1, Lend);
    w.quota_share("other", 1, LendAndBorrow);
    w.definition("large", "2", "100");
    let agent = w.agent("big", 2);
    let borrowers = many(&mut w, "other", 2);
    let leases = w.start_all(&agent);
    let never = w.submit(SubmitJob { job_definition: "large".into(), ..w.shared("owner") });
    let owner = w.submit(w.shared("owner"));
    assert_eq!(w.obey(&agent, &leases), 1);
    assert_eq!((w.status(never), w.status(owner)), (Runnable, Starting));
    assert_eq!(count(&w, &borrowers, Running), 1, "the other one does not take its place back");
    assert!(w.state.preemptions.is_empty());
}
