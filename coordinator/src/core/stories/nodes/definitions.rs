//! What a multi-node job runs: definitions, and what a submission changes of them.

use windrow_common::api::definitions::{NodeRangeProperty, RegisterJobDefinition};
use windrow_common::api::jobs::{
    ArrayProperties, ContainerOverrides, NodeOverrides, NodePropertyOverride, SubmitJob,
};
use windrow_common::ids::{JobId, JobRef};

use super::{container, multinode, range, request, start, world};
use crate::core::Command;
use crate::core::world::{World, on};

/// The refusal of a submission.
fn refused(request: SubmitJob, w: &mut World) -> String {
    let id = JobId::from_u128(999);
    w.refused(Command::Submit { id, request: Box::new(request) }).message
}

#[test]
fn a_submission_changes_the_number_of_nodes_and_what_they_run() {
    let mut w = world();
    let agent = w.agent("a", 16);
    let overrides = |targets: &str, command: &str| NodePropertyOverride {
        target_nodes: targets.into(),
        container_overrides: Some(ContainerOverrides {
            command: vec![command.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let node_overrides = |count, property: Option<NodePropertyOverride>| {
        Some(NodeOverrides {
            num_nodes: count,
            node_property_overrides: property.into_iter().collect(),
        })
    };
    let changed = node_overrides(Some(5), Some(overrides("1:", "worker")));
    let job = w.submit(SubmitJob { node_overrides: changed, ..request(&w, 1) });
    let all = start(&mut w, std::slice::from_ref(&agent));
    assert_eq!(all.len(), 5);
    assert_eq!(all[4].1.nodes.as_ref().unwrap().count, 5);
    let command = |w: &World, node| {
        w.detail(JobRef::node(job, node)).container.unwrap().properties.command.unwrap()
    };
    assert_eq!(command(&w, 0), vec!["true"]);
    assert_eq!(command(&w, 4), vec!["worker"]);
    let properties = w.detail(job).node_properties.unwrap();
    let shown = properties.node_range_properties[1].container.clone().unwrap();
    assert_eq!((properties.num_nodes, shown.command), (5, Some(vec!["worker".into()])));

    let wrong = node_overrides(None, Some(overrides("0:1", "x")));
    let message = refused(SubmitJob { node_overrides: wrong, ..request(&w, 1) }, &mut w);
    let expected = "NodeOverride targets should match job definition. Non matching targets - 0:1";
    assert_eq!(message, expected);
    let containers = Some(ContainerOverrides::default());
    let message = refused(SubmitJob { container_overrides: containers, ..request(&w, 1) }, &mut w);
    assert!(message.contains("does not apply"), "{message}");
    let array_properties = Some(ArrayProperties { size: Some(2), ..Default::default() });
    let message = refused(SubmitJob { array_properties, ..request(&w, 1) }, &mut w);
    assert!(message.contains("cannot be an array"), "{message}");
    let single = SubmitJob { node_overrides: node_overrides(Some(2), None), ..w.request() };
    let message = refused(single, &mut w);
    assert!(message.contains("type `multinode`"), "{message}");
    let on_node = on(job).into_iter().map(|mut on| {
        on.job_id = Some(format!("{job}#1"));
        on
    });
    let message = refused(SubmitJob { depends_on: on_node.collect(), ..w.request() }, &mut w);
    assert!(message.contains("node"), "{message}");
}

#[test]
fn definitions_that_cannot_run_are_refused() {
    let mut w = World::new();
    let typed = |target: &str, kind: &str| NodeRangeProperty {
        instance_types: vec![kind.into()],
        ..range(target, "1")
    };
    let empty = NodeRangeProperty { container: None, ..range(":", "1") };
    let single = RegisterJobDefinition {
        container_properties: Some(container("1")),
        ..multinode("x", 2, vec![range(":", "1")])
    };
    let as_container = RegisterJobDefinition {
        kind: "container".into(),
        container_properties: Some(container("1")),
        ..multinode("x", 2, vec![range(":", "1")])
    };
    for (definition, part) in [
        (multinode("x", 3, vec![range("0:1", "1")]), "node 2 is in no range"),
        (multinode("x", 2, vec![range(":", "0")]), "node range `:`"),
        (multinode("x", 2, vec![typed("0:0", "a"), typed("1:", "b")]), "same instance type"),
        (multinode("x", 2, vec![empty]), "containerProperties"),
        (single, "does not go with"),
        (as_container, "type `multinode`"),
        (RegisterJobDefinition { node_properties: None, ..multinode("x", 1, vec![]) }, "must be"),
    ] {
        let message = w.refused(Command::RegisterDefinition(Box::new(definition))).message;
        assert!(message.contains(part), "{message}");
    }
}
