//! Consumable resources.

use windrow_common::api::ErrorKind;
use windrow_common::api::consumables::{
    ConsumableResourceProperties, ConsumableResourceRequirement, ConsumableResourceType,
    CreateConsumableResource, DeleteConsumableResource, DescribeConsumableResource,
    JobByConsumableResource, ListConsumableResources, ListJobsByConsumableResource,
    QuantityOperation, UpdateConsumableResource,
};
use windrow_common::api::explain::WaitCode;
use windrow_common::api::jobs::{
    ArrayProperties, JobStatus, KeyValuesPair, RerunJob, SubmitJob, UpdateJob,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::wire::agent::{EndCause, Report};
use windrow_common::wire::lease::Order;

use super::nodes::{multinode, range};
use crate::core::world::{World, name};
use crate::core::{Answer, Command};
use crate::scheduler::explain::Look;
use crate::view;

impl World {
    /// A resource of this much.
    pub(in crate::core) fn consumable(
        &mut self,
        resource: &str,
        total: u64,
        kind: ConsumableResourceType,
    ) {
        self.does(Command::CreateConsumable(CreateConsumableResource {
            consumable_resource_name: resource.into(),
            total_quantity: Some(total),
            resource_type: Some(kind),
            ..Default::default()
        }));
    }

    /// The total, what is in use, and what is left.
    fn amounts(&self, resource: &str) -> (u64, u64, u64) {
        let request = DescribeConsumableResource { consumable_resource: resource.into() };
        let found = view::describe_consumable(&self.state, &request).unwrap();
        (found.total_quantity, found.in_use_quantity, found.available_quantity)
    }

    /// The agent runs this single job to its end.
    pub(in crate::core) fn run_one(&mut self, agent: &Name, job: JobId) {
        let leases = self.leases(agent);
        let (mine, others): (Vec<_>, Vec<_>) = leases.into_iter().partition(|l| l.job == job);
        let orders = others.into_iter().map(Order::Run);
        self.orders.entry(agent.clone()).or_default().extend(orders);
        let ended = self.ended(&mine[0], mine[0].first, EndCause::Exited, 0);
        self.report(agent, vec![ended]);
    }

    /// The newest job that takes of it.
    fn consumer(&self, resource: &str) -> JobByConsumableResource {
        let consumable_resource = resource.into();
        let request = ListJobsByConsumableResource { consumable_resource, ..Default::default() };
        view::list_consumers(&self.state, &request).unwrap().jobs.remove(0)
    }

    fn consumers(&self, resource: &str, filter: Option<(&str, &str)>) -> Vec<String> {
        let filters = filter
            .map(|(name, value)| KeyValuesPair { name: name.into(), values: vec![value.into()] });
        let request = ListJobsByConsumableResource {
            consumable_resource: resource.into(),
            filters: filters.into_iter().collect(),
            ..Default::default()
        };
        let found = view::list_consumers(&self.state, &request).unwrap().jobs;
        found.into_iter().map(|job| job.job_name).collect()
    }
}

pub(in crate::core) fn takes(
    resource: &str,
    quantity: u64,
) -> Option<ConsumableResourceProperties> {
    Some(ConsumableResourceProperties {
        consumable_resource_list: vec![ConsumableResourceRequirement {
            consumable_resource: resource.into(),
            quantity,
        }],
    })
}

pub(in crate::core) fn update(
    resource: &str,
    operation: QuantityOperation,
    quantity: u64,
    token: Option<&str>,
) -> Command {
    Command::UpdateConsumable(UpdateConsumableResource {
        consumable_resource: resource.into(),
        operation: Some(operation),
        quantity: Some(quantity),
        client_token: token.map(str::to_owned),
    })
}

#[test]
fn the_total_is_set_raised_and_lowered() {
    let mut w = World::new();
    w.consumable("licence", 2, ConsumableResourceType::Replenishable);
    w.does(update("licence", QuantityOperation::Add, 3, None));
    assert_eq!(w.amounts("licence"), (5, 0, 5));
    w.does(update("licence", QuantityOperation::Remove, 1, None));
    let arn = crate::core::arn::consumable(&name("licence"));
    w.does(update(&arn, QuantityOperation::Set, 7, None));
    assert_eq!(w.amounts(&arn), (7, 0, 7));
    let error = w.refused(update("licence", QuantityOperation::Remove, 8, None));
    assert!(error.message.contains("its total is 7"), "{error}");
    let error = w.refused(update("licence", QuantityOperation::Set, u64::MAX, None));
    assert!(error.message.contains(&i64::MAX.to_string()), "{error}");
    assert_eq!(w.refused(update("x", QuantityOperation::Set, 1, None)).kind, ErrorKind::NotFound);
    w.check_replay();
}

#[test]
fn an_update_with_a_token_counts_once_in_eight_hours() {
    let mut w = World::new();
    w.consumable("licence", 0, ConsumableResourceType::Replenishable);
    for _ in 0..3 {
        let answer = w.does(update("licence", QuantityOperation::Add, 2, Some("t")));
        let Answer::ConsumableUpdated(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.total_quantity, 2);
    }
    let error = w.refused(update("licence", QuantityOperation::Add, 3, Some("t")));
    assert_eq!(error.kind, ErrorKind::Conflict);
    w.now.0 += 8 * 3_600_000;
    w.does(update("licence", QuantityOperation::Add, 2, Some("t")));
    assert_eq!(w.amounts("licence").0, 4);
    assert_eq!(w.state.consumables[&name("licence")].tokens.len(), 1, "old tokens are forgotten");
    let long = "t".repeat(65);
    let error = w.refused(update("licence", QuantityOperation::Add, 2, Some(&long)));
    assert!(error.message.contains("at most 64"), "{error}");
}

#[test]
fn names_are_unique_and_what_is_needed_cannot_be_deleted() {
    let mut w = World::new();
    w.consumable("licence", 1, ConsumableResourceType::Replenishable);
    let again = CreateConsumableResource {
        consumable_resource_name: "licence".into(),
        ..Default::default()
    };
    assert!(w.refused(Command::CreateConsumable(again)).message.contains("Object already exists"));
    let job = w.submit(SubmitJob {
        consumable_resource_properties_override: takes("licence", 1),
        ..w.request()
    });
    let delete = Command::DeleteConsumable(DeleteConsumableResource {
        consumable_resource: "licence".into(),
    });
    let error = w.refused(delete.clone());
    assert!(error.message.contains(&job.to_string()), "{error}");
    w.cancel(&job.to_string());
    w.does(delete);
    assert!(w.state.consumables.is_empty());
    let unknown =
        SubmitJob { consumable_resource_properties_override: takes("licence", 1), ..w.request() };
    let id = JobId::from_u128(99);
    let error = w.refused(Command::Submit { id, request: Box::new(unknown) });
    assert!(error.message.contains("`licence` does not exist"), "{error}");
    w.check_replay();
}

#[test]
fn a_submission_changes_the_quantities_of_its_definition() {
    let mut w = World::new();
    for resource in ["a", "b", "c"] {
        w.consumable(resource, 10, ConsumableResourceType::Replenishable);
    }
    let list = |entries: &[(&str, u64)]| {
        let entry = |(resource, quantity): &(&str, u64)| ConsumableResourceRequirement {
            consumable_resource: (*resource).into(),
            quantity: *quantity,
        };
        Some(ConsumableResourceProperties {
            consumable_resource_list: entries.iter().map(entry).collect(),
        })
    };
    let mut definition = w.image_definition("licensed");
    definition.consumable_resource_properties = list(&[("a", 1), ("b", 2)]);
    w.does(Command::RegisterDefinition(Box::new(definition.clone())));
    let job = w.submit(SubmitJob {
        job_definition: "licensed".into(),
        consumable_resource_properties_override: list(&[("c", 4), ("b", 3)]),
        ..w.request()
    });
    let shown = w.detail(job).consumable_resource_properties.unwrap().consumable_resource_list;
    let shown: Vec<_> = shown
        .iter()
        .map(|entry| (entry.consumable_resource.rsplit('/').next().unwrap(), entry.quantity))
        .collect();
    assert_eq!(shown, [("a", 1), ("b", 3), ("c", 4)]);

    definition.consumable_resource_properties = list(&[("a", 1), ("a", 2)]);
    let error = w.refused(Command::RegisterDefinition(Box::new(definition.clone())));
    assert!(error.message.contains("names `a` twice"), "{error}");
    definition.consumable_resource_properties = list(&[("a.>", 1)]);
    w.refused(Command::RegisterDefinition(Box::new(definition)));
}

#[test]
fn resources_and_their_jobs_are_listed_with_filters_and_pages() {
    let mut w = World::new();
    for resource in ["Licence-A", "licence-b", "slots"] {
        w.consumable(resource, 1, ConsumableResourceType::Replenishable);
    }
    let mut request = ListConsumableResources {
        filters: vec![KeyValuesPair {
            name: "CONSUMABLE_RESOURCE_NAME".into(),
            values: vec!["LICENCE*".into()],
        }],
        max_results: Some(1),
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let page = view::list_consumables(&w.state, &request).unwrap();
        found.extend(page.consumable_resources.into_iter().map(|r| r.consumable_resource_name));
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    assert_eq!(found, ["Licence-A", "licence-b"]);
    request.filters[0].name = "NAME".into();
    let error = view::list_consumables(&w.state, &request).unwrap_err();
    assert!(error.hint.unwrap().contains("CONSUMABLE_RESOURCE_NAME"));

    for job_name in ["align", "sort"] {
        w.submit(SubmitJob {
            job_name: job_name.into(),
            consumable_resource_properties_override: takes("slots", 1),
            ..w.request()
        });
    }
    assert_eq!(w.consumers("slots", None), ["sort", "align"]);
    assert_eq!(w.consumers("slots", Some(("JOB_NAME", "AL*"))), ["align"]);
    assert_eq!(w.consumers("slots", Some(("JOB_STATUS", "FAILED"))), [""; 0]);
    assert!(w.consumers("licence-b", None).is_empty());
}

fn taking(w: &World, resource: &str, quantity: u64) -> SubmitJob {
    SubmitJob { consumable_resource_properties_override: takes(resource, quantity), ..w.request() }
}

#[test]
fn a_licence_is_held_while_a_child_is_leased_and_comes_back() {
    let mut w = World::new();
    w.consumable("licence", 2, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 8);
    let array = w.submit(SubmitJob { array_properties: w.size(6), ..taking(&w, "licence", 1) });
    let others = w.job();
    assert_eq!(w.state.jobs[&array].live_count(), 2, "two of six have a licence");
    assert_eq!(w.status(others), JobStatus::Starting, "who needs none does not wait");
    assert_eq!(w.amounts("licence"), (2, 2, 0));
    let mut most = 0;
    while !w.status(array).is_terminal() {
        for lease in w.leases(&agent) {
            for child in lease.first..lease.first + lease.count {
                let ended = w.ended(&lease, child, EndCause::Exited, 0);
                w.report(&agent, vec![ended]);
            }
        }
        most = most.max(w.state.jobs[&array].live_count());
    }
    assert_eq!(most, 2);
    assert_eq!(w.amounts("licence"), (2, 0, 2));
    w.check_replay();
}

#[test]
fn what_is_not_replenishable_is_gone_with_each_attempt_unless_it_never_started() {
    let mut w = World::new();
    w.consumable("credit", 5, ConsumableResourceType::NonReplenishable);
    let agent = w.agent("a", 8);
    let job = w.submit(SubmitJob {
        consumable_resource_properties_override: takes("credit", 2),
        ..w.retrying(3)
    });
    assert_eq!(w.amounts("credit"), (3, 0, 3));
    let lease = w.leases(&agent).remove(0);
    let returned = Report::Returned { lease: lease.id, job, children: vec![(0, 1)] };
    w.report(&agent, vec![returned]);
    assert_eq!(w.amounts("credit").0, 3, "given back, and taken again by the next lease");
    let lease = w.leases(&agent).remove(0);
    let failed = w.ended(&lease, 0, EndCause::Exited, 1);
    w.report(&agent, vec![failed]);
    assert_eq!(w.amounts("credit").0, 1, "the second attempt has taken too");
    let lease = w.leases(&agent).remove(0);
    let failed = w.ended(&lease, 0, EndCause::Exited, 1);
    w.report(&agent, vec![failed]);
    assert_eq!(w.status(job), JobStatus::Runnable, "too little is left for a third");
    w.does(update("credit", QuantityOperation::Add, 1, None));
    assert_eq!((w.status(job), w.amounts("credit").0), (JobStatus::Starting, 0));
    w.check_replay();
}

#[test]
fn a_lost_host_gives_its_licences_back() {
    let mut w = World::new();
    w.consumable("licence", 3, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 4);
    w.submit(SubmitJob { array_properties: w.size(3), ..taking(&w, "licence", 1) });
    assert_eq!(w.amounts("licence").1, 3);
    w.lose(&agent);
    assert_eq!(w.amounts("licence"), (3, 0, 3));
}

#[test]
fn a_total_lowered_below_what_is_in_use_lets_nobody_in_until_enough_came_back() {
    let mut w = World::new();
    w.consumable("licence", 3, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 8);
    let array = w.submit(SubmitJob { array_properties: w.size(5), ..taking(&w, "licence", 1) });
    w.does(update("licence", QuantityOperation::Set, 1, None));
    assert_eq!(w.amounts("licence"), (1, 3, 0));
    let lease = w.leases(&agent).remove(0);
    for (child, live) in [(0, 2), (1, 1), (2, 1)] {
        let ended = w.ended(&lease, child, EndCause::Exited, 0);
        w.report(&agent, vec![ended]);
        assert_eq!(w.state.jobs[&array].live_count(), live);
    }
}

#[test]
fn a_job_that_needs_much_is_not_passed_by_those_behind_it_that_need_little() {
    let mut w = World::new();
    w.consumable("licence", 2, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 8);
    let first = w.submit(taking(&w, "licence", 1));
    let large = w.submit(taking(&w, "licence", 2));
    let small = w.submit(taking(&w, "licence", 1));
    let never = w.submit(taking(&w, "licence", 3));
    let other = w.job();
    let status = |w: &World| [first, large, small, never].map(|job| w.status(job));
    use JobStatus::{Runnable, Starting, Succeeded};
    assert_eq!(status(&w), [Starting, Runnable, Runnable, Runnable]);
    assert_eq!(w.status(other), Starting);
    w.run_one(&agent, first);
    assert_eq!(status(&w), [Succeeded, Starting, Runnable, Runnable]);
    w.run_one(&agent, large);
    assert_eq!(status(&w), [Succeeded, Succeeded, Starting, Runnable]);
    w.run_one(&agent, small);
    assert_eq!(w.status(never), Runnable, "more than there is in all holds nobody up");
}

#[test]
fn an_array_has_no_more_children_running_than_it_may() {
    let mut w = World::new();
    let agent = w.agent("a", 8);
    let arrayed = |max_parallel| Some(ArrayProperties { size: Some(6), max_parallel });
    let array = w.submit(SubmitJob { array_properties: arrayed(Some(2)), ..w.request() });
    let behind = w.job();
    assert_eq!(w.state.jobs[&array].live_count(), 2);
    assert_eq!(w.status(behind), JobStatus::Starting, "who comes behind takes the room");
    let change = |max_parallel| {
        let max_parallel = Some(max_parallel);
        let job_id = array.to_string();
        Command::UpdateJob(UpdateJob { job_id, max_parallel, ..Default::default() })
    };
    w.does(change(3));
    assert_eq!(w.state.jobs[&array].live_count(), 3);
    w.does(change(1));
    assert_eq!(w.state.jobs[&array].live_count(), 3, "what runs is not stopped");
    let shown = w.detail(array).array_properties.unwrap().max_parallel;
    assert_eq!(shown, Some(1));
    let lease = w.leases(&agent).remove(0);
    let ended = w.ended(&lease, lease.first, EndCause::Exited, 0);
    w.report(&agent, vec![ended]);
    assert_eq!(w.state.jobs[&array].live_count(), 2);
    w.does(change(0));
    assert_eq!(w.state.jobs[&array].live_count(), 5, "no limit any more");
    w.check_replay();

    let single = Command::UpdateJob(UpdateJob {
        job_id: behind.to_string(),
        max_parallel: Some(1),
        ..Default::default()
    });
    assert!(w.refused(single).message.contains("for array jobs"));
    let zero = SubmitJob { array_properties: arrayed(Some(0)), ..w.request() };
    let id = JobId::from_u128(99);
    let error = w.refused(Command::Submit { id, request: Box::new(zero) });
    assert!(error.message.contains("at least 1"), "{error}");
    let priority = Command::UpdateJob(UpdateJob {
        job_id: array.to_string(),
        scheduling_priority: Some(1),
        ..Default::default()
    });
    assert!(w.refused(priority).message.contains("has none"), "a FIFO queue knows no priorities");
}

#[test]
fn a_job_is_not_run_again_without_the_resource_it_takes_of() {
    let mut w = World::new();
    w.consumable("licence", 1, ConsumableResourceType::Replenishable);
    let job = w.submit(taking(&w, "licence", 1));
    w.terminate(&job.to_string());
    w.does(Command::DeleteConsumable(DeleteConsumableResource {
        consumable_resource: "licence".into(),
    }));
    for in_place in [true, false] {
        let request = RerunJob { job_id: job.to_string(), in_place, ..RerunJob::default() };
        let id = JobId::from_u128(99);
        let error = w.refused(Command::Rerun { id, request: Box::new(request) });
        assert!(error.message.contains("`licence` does not exist"), "{error}");
    }
}

#[test]
fn a_job_leaves_what_one_of_a_queue_before_its_own_gathers_and_says_so() {
    let mut w = World::new();
    w.queue("high", 20);
    w.consumable("licence", 2, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 8);
    let first = w.submit(taking(&w, "licence", 1));
    let large = w.submit(SubmitJob { job_queue: "high".into(), ..taking(&w, "licence", 2) });
    let small = w.submit(taking(&w, "licence", 1));
    assert_eq!([first, large, small].map(|job| w.status(job)), {
        [JobStatus::Starting, JobStatus::Runnable, JobStatus::Runnable]
    });
    let explained = Look::new(&w.state, w.now, None).explain(small.into());
    assert_eq!(explained.code, WaitCode::ConsumableResource, "{explained:?}");
    assert!(explained.message.contains("`licence`"), "{explained:?}");
    w.run_one(&agent, first);
    assert_eq!([large, small].map(|job| w.status(job)), [JobStatus::Starting, JobStatus::Runnable]);
}

#[test]
fn waiting_is_proposed_only_where_something_comes_back() {
    let mut w = World::new();
    w.consumable("licence", 2, ConsumableResourceType::Replenishable);
    w.consumable("credit", 1, ConsumableResourceType::NonReplenishable);
    w.agent("a", 8);
    let hint = |w: &mut World, resource: &str, quantity: u64| {
        let request = taking(w, resource, quantity);
        let job = w.submit(request);
        Look::new(&w.state, w.now, None).explain(job.into()).hint.unwrap()
    };
    let more = hint(&mut w, "licence", 3);
    assert!(more.contains("update licence --add 1") && !more.contains("wait"), "{more}");
    let used_up = hint(&mut w, "credit", 2);
    assert!(used_up.contains("update credit --add 1") && !used_up.contains("wait"), "{used_up}");
    w.submit(taking(&w, "licence", 2));
    let busy = hint(&mut w, "licence", 1);
    assert!(busy.contains("wait for a job"), "{busy}");
}

#[test]
fn a_multi_node_job_takes_what_its_nodes_take_together() {
    let mut w = World::new();
    w.consumable("licence", 10, ConsumableResourceType::Replenishable);
    let mut others = range("1:", "1");
    others.consumable_resource_properties = takes("licence", 3);
    let definition = multinode("m", 3, vec![range("0:0", "1"), others]);
    w.does(Command::RegisterDefinition(Box::new(definition)));
    w.submit(SubmitJob { job_definition: "m".into(), ..w.request() });
    let row = w.consumer("licence");
    assert_eq!((row.quantity, row.in_use_quantity), (6, 0), "two nodes of three");
    w.agent("a", 4);
    let row = w.consumer("licence");
    assert_eq!((row.quantity, row.in_use_quantity), (6, 6));
    assert_eq!(w.state.consumables[&name("licence")].in_use, 6);
}

#[test]
fn a_row_of_a_resource_s_jobs_says_how_the_job_gets_on() {
    let mut w = World::new();
    w.policy("p", Default::default());
    w.fair_queue("fair", "p");
    w.consumable("licence", 1, ConsumableResourceType::Replenishable);
    let agent = w.agent("a", 8);
    w.submit(SubmitJob {
        job_queue: "fair".into(),
        share_identifier: Some("x".into()),
        ..taking(&w, "licence", 1)
    });
    let row = |w: &World| w.consumer("licence");
    assert_eq!(row(&w).share_identifier.as_deref(), Some("x"));
    assert_eq!((row(&w).started_at, row(&w).status_reason), (None, None));
    let lease = w.leases(&agent).remove(0);
    let started = w.started(&lease, 0);
    w.report(&agent, vec![started]);
    assert_eq!((row(&w).started_at, row(&w).in_use_quantity), (Some(w.now.0), 1));
    w.terminate(&lease.job.to_string());
    let stopped = w.ended(&lease, 0, EndCause::Stopped, 143);
    w.report(&agent, vec![stopped]);
    assert_eq!(row(&w).status_reason.as_deref(), Some("stop it"));
}
