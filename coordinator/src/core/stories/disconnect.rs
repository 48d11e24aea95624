//! Agents that cannot be heard, and come back. Faults 2, 3 and 4 of ARCHITECTURE.md in the core.

use serde_json::json;
use windrow_common::api::consumables::{ConsumableResourceType, CreateConsumableResource};
use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::resources::UpdateComputeEnvironment;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::wire::agent::{EndCause, Held};
use windrow_common::wire::lease::{Lease, Order, Stop};

use crate::core::Command;
use crate::core::world::World;

/// Agents of environment `e` that register from now on have their jobs back.
fn keep_original(w: &mut World) {
    w.does(Command::UpdateEnvironment(UpdateComputeEnvironment {
        compute_environment: "e".into(),
        disconnect: Some(DisconnectPolicy {
            reconcile: Some(Reconcile::KeepOriginal),
            ..DisconnectPolicy::default()
        }),
        ..UpdateComputeEnvironment::default()
    }));
}

/// What an agent says of a lease that it holds.
fn held(lease: &Lease) -> Held {
    Held {
        lease: lease.id,
        children: vec![(lease.first, lease.count)],
        job: Some(lease.job),
        ..Held::default()
    }
}

/// A job on agent `a`, which is lost; the lease that it had.
fn lost_with_a_job(w: &mut World, request: SubmitJob) -> (JobId, Name, Lease) {
    keep_original(w);
    let a = w.agent("a", 1);
    let job = w.submit(request);
    let lease = w.start_all(&a).remove(0);
    w.lose(&a);
    (job, a, lease)
}

#[test]
fn fault_4_a_returning_agent_keeps_the_original_while_no_replacement_runs() {
    let mut w = World::new();
    let request = w.request();
    let (job, a, lease) = lost_with_a_job(&mut w, request);
    assert_eq!(w.status(job), JobStatus::Runnable);
    assert!(w.register("a", 1, vec![held(&lease)]).is_empty(), "nothing is fenced");
    assert_eq!(w.status(job), JobStatus::Running);
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&a, vec![ended]);
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Succeeded);
    assert_eq!(detail.attempts.len(), 1, "the attempt was never over");
    assert!(w.state.given_up.is_empty());
    w.check_replay();
}

#[test]
fn fault_4_a_running_replacement_is_stopped_and_not_charged() {
    let mut w = World::new();
    let request = w.request();
    let (job, a, lease) = lost_with_a_job(&mut w, request);
    let b = w.agent("b", 1);
    let replacement = w.start_all(&b).remove(0);
    assert_eq!(replacement.attempt, 2);
    assert!(w.register("a", 1, vec![held(&lease)]).is_empty());
    assert_eq!(w.status(job), JobStatus::Running);
    let stop = Stop { lease: replacement.id, children: vec![(0, 1)] };
    assert_eq!(w.orders[&b], [Order::Stop(stop)]);
    let fenced = w.state.fenced_results;
    let stopped = w.ended(&replacement, 0, EndCause::Stopped, 143);
    w.report(&b, vec![stopped]);
    assert_eq!(w.state.fenced_results, fenced + 1, "its end means nothing");
    let ended = w.ended(&lease, 0, EndCause::Exited, 0);
    w.report(&a, vec![ended]);
    let detail = w.detail(job);
    assert_eq!((detail.status, detail.attempts.len()), (JobStatus::Succeeded, 1));
    w.check_replay();
}

#[test]
fn fault_4_the_replacement_stays_where_the_environment_says_so_or_the_child_has_ended() {
    // The default.
    let mut w = World::new();
    let a = w.agent("a", 1);
    let job = w.job();
    let lease = w.start_all(&a).remove(0);
    w.lose(&a);
    assert_eq!(w.register("a", 1, vec![held(&lease)])[0].lease, lease.id);
    assert_eq!(w.status(job), JobStatus::Starting);
    w.check_replay();
    // The replacement has succeeded.
    let mut w = World::new();
    let request = w.request();
    let (job, _, lease) = lost_with_a_job(&mut w, request);
    let b = w.agent("b", 1);
    w.run_all(&b, 0);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    assert_eq!(w.register("a", 1, vec![held(&lease)])[0].lease, lease.id);
    assert_eq!(w.detail(job).attempts.len(), 2);
    w.check_replay();
    // The replacement has failed, and counts: the next one stays.
    let mut w = World::new();
    let request = w.retrying(3);
    let (_, _, lease) = lost_with_a_job(&mut w, request);
    let b = w.agent("b", 1);
    let replacement = w.start_all(&b).remove(0);
    let failed = w.ended(&replacement, 0, EndCause::Exited, 1);
    w.report(&b, vec![failed]);
    assert_eq!(w.register("a", 1, vec![held(&lease)])[0].lease, lease.id);
    w.check_replay();
}

#[test]
fn only_children_without_an_end_of_their_own_go_back() {
    let mut w = World::new();
    keep_original(&mut w);
    let a = w.agent("a", 3);
    let job = w.array(3, vec![]);
    let lease = w.start_all(&a).remove(0);
    w.lose(&a);
    let b = w.agent("b", 1);
    let replacement = w.start_all(&b).remove(0);
    assert_eq!((replacement.first, replacement.count), (0, 1));
    let ended = w.ended(&replacement, 0, EndCause::Exited, 0);
    w.report(&b, vec![ended]);
    w.start_all(&b);
    // Child 0 has succeeded elsewhere, 1 runs there, 2 was killed by the agent itself.
    let lost = Held { lost: vec![(2, 1)], ..held(&lease) };
    let fenced = w.register("a", 3, vec![lost]);
    let children: Vec<_> = fenced.iter().flat_map(|held| held.children.clone()).collect();
    assert_eq!(children, [(0, 1), (2, 1)]);
    let back: Vec<u32> = w.state.leases[&lease.id].children.iter().cloned().flatten().collect();
    assert_eq!(back, [1]);
    let ended = w.ended(&lease, 1, EndCause::Exited, 0);
    w.report(&a, vec![ended]);
    w.run_all(&b, 0);
    w.run_all(&a, 0);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    assert!(w.state.given_up.is_empty(), "nothing is kept of a job that has ended");
    w.check_replay();
}

#[test]
fn an_original_whose_resources_are_gone_stays_lost() {
    let mut w = World::new();
    w.does(Command::CreateConsumable(CreateConsumableResource {
        consumable_resource_name: "licence".into(),
        resource_type: Some(ConsumableResourceType::Replenishable),
        total_quantity: Some(1),
        ..Default::default()
    }));
    let mut request = w.request();
    request.consumable_resource_properties_override = Some(
        serde_json::from_value(json!({
            "consumableResourceList": [{ "consumableResource": "licence", "quantity": 1 }]
        }))
        .unwrap(),
    );
    let (job, _, lease) = lost_with_a_job(&mut w, request.clone());
    // Another job of a higher priority has the licence meanwhile.
    w.queue("first", 20);
    let other = w.submit(SubmitJob { job_queue: "first".into(), ..request });
    w.agent("b", 1);
    assert_eq!((w.status(other), w.status(job)), (JobStatus::Starting, JobStatus::Runnable));
    assert_eq!(w.register("a", 1, vec![held(&lease)])[0].lease, lease.id);
    assert_eq!(w.status(job), JobStatus::Runnable);
    w.check_replay();
}

#[test]
fn what_was_stopped_meanwhile_does_not_go_back() {
    let mut w = World::new();
    let request = w.request();
    let (job, _, lease) = lost_with_a_job(&mut w, request);
    let b = w.agent("b", 1);
    w.start_all(&b);
    w.terminate(&job.to_string());
    assert_eq!(w.register("a", 1, vec![held(&lease)])[0].lease, lease.id);
    w.check_replay();
}

#[test]
fn an_agent_keeps_what_was_agreed_until_it_registers_again() {
    let mut w = World::new();
    let a = w.agent("a", 1);
    keep_original(&mut w);
    let reconcile = |w: &World| w.state.agents[&a].disconnect.reconcile;
    assert_eq!(reconcile(&w), Reconcile::KeepReplacement);
    w.register("a", 1, vec![]);
    assert_eq!(reconcile(&w), Reconcile::KeepOriginal);
    assert_eq!(w.state.last_lease, LeaseId(0));
}
