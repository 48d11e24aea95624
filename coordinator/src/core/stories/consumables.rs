//! Consumable resources.

use windrow_common::api::ErrorKind;
use windrow_common::api::consumables::{
    ConsumableResourceProperties, ConsumableResourceRequirement, ConsumableResourceType,
    CreateConsumableResource, DeleteConsumableResource, DescribeConsumableResource,
    ListConsumableResources, ListJobsByConsumableResource, QuantityOperation,
    UpdateConsumableResource,
};
use windrow_common::api::jobs::{KeyValuesPair, SubmitJob};
use windrow_common::ids::JobId;

use crate::core::world::{World, name};
use crate::core::{Answer, Command};
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

fn update(
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
