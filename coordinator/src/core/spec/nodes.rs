//! Multi-node jobs: which node runs what, from the definition's node ranges and the submission's
//! overrides. Each range is resolved as a job of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    ContainerProperties, NodeProperties, NodeRangeProperty, RegisterJobDefinition,
};
use windrow_common::api::jobs::{NodeOverrides, NodePropertyOverride, SubmitJob};

use super::{Workload, resolve};
use crate::core::consumables;
use crate::core::limits::Limits;
use crate::core::state::JobSpec;

/// What the nodes of a job run.
#[derive(Debug)]
pub(in crate::core) struct ResolvedNodes {
    /// The main node.
    pub(in crate::core) main: u32,
    /// Nodes and the index of their spec, in the order of the nodes and without gaps.
    pub(in crate::core) groups: Vec<(Range<u32>, usize)>,
    /// Of each of the definition's ranges.
    pub(in crate::core) specs: Vec<JobSpec>,
    /// The definition's, overrides merged in.
    pub(in crate::core) properties: NodeProperties,
}

/// What a multi-node job of this definition with this request runs.
pub(in crate::core) fn resolve_nodes(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
    limits: &Limits,
) -> Result<ResolvedNodes, ApiError> {
    let properties = properties_of(definition)?;
    check_request(request)?;
    let none = NodeOverrides::default();
    let overrides = request.node_overrides.as_ref().unwrap_or(&none);
    let mut properties = properties.clone();
    if let Some(count) = overrides.num_nodes {
        override_count(&mut properties, count)?;
    }
    let ranges = ranges(&properties, limits)?;
    check_targets(&properties, &overrides.node_property_overrides)?;
    let mut specs = Vec::with_capacity(ranges.len());
    for range in &mut properties.node_range_properties {
        let changes = overrides.node_property_overrides.iter();
        let change = changes.rev().find(|change| change.target_nodes == range.target_nodes);
        specs.push(resolve_range(definition, request, range, change, limits)?);
    }
    check_instance_types(&properties)?;
    let groups = narrowest(properties.num_nodes, &ranges);
    Ok(ResolvedNodes { main: properties.main_node, groups, specs, properties })
}

/// Whether a multi-node definition could run at all.
pub(in crate::core) fn check_nodes(
    definition: &RegisterJobDefinition,
    limits: &Limits,
) -> Result<(), ApiError> {
    let properties = properties_of(definition)?;
    ranges(properties, limits)?;
    check_instance_types(properties)?;
    for range in &properties.node_range_properties {
        super::check_definition(&as_job(definition, range), limits)
            .map_err(|error| in_range(range, error))?;
    }
    Ok(())
}

fn properties_of(definition: &RegisterJobDefinition) -> Result<&NodeProperties, ApiError> {
    let single = [
        ("containerProperties", definition.container_properties.is_some()),
        ("ecsProperties", definition.ecs_properties.is_some()),
        ("eksProperties", definition.eks_properties.is_some()),
        ("consumableResourceProperties", definition.consumable_resource_properties.is_some()),
    ];
    if let Some((field, _)) = single.iter().find(|(_, given)| *given) {
        return Err(ApiError::invalid(format!(
            "{field} does not go with a job definition of type `multinode`"
        ))
        .hint("put it into nodeProperties.nodeRangeProperties"));
    }
    if definition.platform_capabilities.iter().any(|platform| platform == "FARGATE") {
        return Err(ApiError::invalid("multi-node jobs do not run on FARGATE")
            .hint("leave out platformCapabilities, or give EC2"));
    }
    let properties = definition.node_properties.as_ref();
    properties.ok_or_else(|| ApiError::invalid("nodeProperties must be provided"))
}

fn check_request(request: &SubmitJob) -> Result<(), ApiError> {
    let single = [
        ("containerOverrides", request.container_overrides.is_some()),
        ("ecsPropertiesOverride", request.ecs_properties_override.is_some()),
        ("eksPropertiesOverride", request.eks_properties_override.is_some()),
        (
            "consumableResourcePropertiesOverride",
            request.consumable_resource_properties_override.is_some(),
        ),
    ];
    if let Some((field, _)) = single.iter().find(|(_, given)| *given) {
        return Err(ApiError::invalid(format!("{field} does not apply to a multi-node job"))
            .hint("override ranges of nodes with nodeOverrides.nodePropertyOverrides"));
    }
    if request.array_properties.as_ref().is_some_and(|array| array.size.is_some()) {
        return Err(ApiError::invalid("a multi-node job cannot be an array job")
            .hint("submit several jobs, or leave out arrayProperties"));
    }
    Ok(())
}

/// The number of nodes can be changed where a range says that it goes to the last node.
fn override_count(properties: &mut NodeProperties, count: u32) -> Result<(), ApiError> {
    let ranges = &properties.node_range_properties;
    let open = |range: &&NodeRangeProperty| range.target_nodes.ends_with(':');
    if !ranges.iter().any(|range| open(&range)) {
        return Err(ApiError::invalid(
            "nodeOverrides.numNodes needs a node range with an open end in the job definition",
        )
        .hint("register a revision with a range such as `1:` in its targetNodes"));
    }
    for range in ranges {
        let (first, _) = parse_range(&range.target_nodes)?;
        if first >= count {
            return Err(ApiError::invalid(format!(
                "nodeOverrides.numNodes must be more than the first node of range `{}`, got {count}",
                range.target_nodes
            )));
        }
    }
    if properties.main_node >= count {
        return Err(ApiError::invalid(format!(
            "nodeOverrides.numNodes must be more than mainNode, which is {}, got {count}",
            properties.main_node
        )));
    }
    properties.num_nodes = count;
    Ok(())
}

fn check_targets(
    properties: &NodeProperties,
    overrides: &[NodePropertyOverride],
) -> Result<(), ApiError> {
    let known = |target: &str| {
        properties.node_range_properties.iter().any(|range| range.target_nodes == target)
    };
    let unknown = overrides.iter().map(|change| change.target_nodes.as_str());
    let unknown: Vec<String> =
        unknown.filter(|target| !known(target)).map(|t| t.chars().take(40).collect()).collect();
    if !unknown.is_empty() {
        return Err(ApiError::invalid(format!(
            "NodeOverride targets should match job definition. Non matching targets - {}",
            unknown.join(", ")
        )));
    }
    let mut seen = BTreeSet::new();
    match overrides.iter().find(|change| !seen.insert(&change.target_nodes)) {
        Some(twice) => Err(ApiError::invalid(format!(
            "nodePropertyOverrides: targetNodes `{}` is given twice",
            twice.target_nodes
        ))),
        None => Ok(()),
    }
}

/// The nodes of each range, cut to the nodes there are; together they cover all, and none crosses the
/// border of another.
fn ranges(properties: &NodeProperties, limits: &Limits) -> Result<Vec<Range<u32>>, ApiError> {
    let count = properties.num_nodes;
    if !(1..=limits.nodes).contains(&count) {
        return Err(ApiError::invalid(format!(
            "nodeProperties.numNodes must be from 1 to {}, got {count}",
            limits.nodes
        )));
    }
    if properties.main_node >= count {
        return Err(ApiError::invalid(format!(
            "nodeProperties.mainNode must be less than numNodes, which is {count}, got {}",
            properties.main_node
        )));
    }
    let groups = properties.node_range_properties.len();
    if groups > limits.node_groups {
        return Err(ApiError::invalid(format!(
            "nodeRangeProperties has {groups} node groups, at most {} are allowed",
            limits.node_groups
        )));
    }
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for property in &properties.node_range_properties {
        let (first, last) = parse_range(&property.target_nodes)?;
        let range = first..last.map_or(count, |last| last.saturating_add(1).min(count));
        if range.is_empty() {
            return Err(wrong_range(&property.target_nodes, &format!("there are {count} nodes")));
        }
        for other in &ranges {
            let apart = range.end <= other.start || other.end <= range.start;
            let within = |a: &Range<u32>, b: &Range<u32>| b.start <= a.start && a.end <= b.end;
            if *other == range || !(apart || within(&range, other) || within(other, &range)) {
                return Err(wrong_range(
                    &property.target_nodes,
                    "it must lie within another range, around it, or beside it",
                ));
            }
        }
        ranges.push(range);
    }
    match (0..count).find(|node| !ranges.iter().any(|range| range.contains(node))) {
        Some(node) => Err(ApiError::invalid(format!(
            "nodeRangeProperties must account for all {count} nodes; node {node} is in no range"
        ))),
        None => Ok(ranges),
    }
}

/// First and last node; no last one means the last there is. A number alone is that node.
fn parse_range(text: &str) -> Result<(u32, Option<u32>), ApiError> {
    let form = || wrong_range(text, "it must look like `0:3`, `:3`, `4:` or `4`");
    let (first, last) = match text.split_once(':') {
        Some(ends) => ends,
        None if text.is_empty() => return Err(form()),
        None => (text, text),
    };
    let number = |text: &str| match text {
        "" => Ok(None),
        text if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map(Some).map_err(|_| form())
        }
        _ => Err(form()),
    };
    let (first, last) = (number(first)?.unwrap_or(0), number(last)?);
    if last.is_some_and(|last| last < first) {
        return Err(form());
    }
    Ok((first, last))
}

fn wrong_range(text: &str, rule: &str) -> ApiError {
    let shown: String = text.chars().take(40).collect();
    ApiError::invalid(format!("targetNodes `{shown}` does not fit: {rule}"))
}

/// All groups run on the same type.
fn check_instance_types(properties: &NodeProperties) -> Result<(), ApiError> {
    let mut types = BTreeSet::new();
    for range in &properties.node_range_properties {
        let older = range.container.as_ref().and_then(|c| c.instance_type.as_ref());
        types.extend(range.instance_types.iter().chain(older));
    }
    if types.len() > 1 {
        let types: Vec<&str> = types.into_iter().map(String::as_str).take(5).collect();
        return Err(ApiError::invalid(format!(
            "all node groups of a multi-node job must use the same instance type, got `{}`",
            types.join("`, `")
        )));
    }
    Ok(())
}

fn resolve_range(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
    range: &mut NodeRangeProperty,
    change: Option<&NodePropertyOverride>,
    limits: &Limits,
) -> Result<JobSpec, ApiError> {
    let mut overrides = change.cloned().unwrap_or_default();
    if !overrides.instance_types.is_empty() {
        range.instance_types = std::mem::take(&mut overrides.instance_types);
    }
    let changed = overrides.container_overrides.as_mut().and_then(|c| c.instance_type.take());
    if let (Some(changed), Some(container)) = (changed, &mut range.container) {
        container.instance_type = Some(changed);
    }
    let request = SubmitJob {
        container_overrides: overrides.container_overrides,
        ecs_properties_override: overrides.ecs_properties_override,
        eks_properties_override: overrides.eks_properties_override,
        consumable_resource_properties_override: overrides.consumable_resource_properties_override,
        node_overrides: None,
        ..request.clone()
    };
    let definition = as_job(definition, range);
    let mut spec =
        resolve(&definition, &request, limits).map_err(|error| in_range(range, error))?;
    match &spec.workload {
        Workload::Container(container) => {
            let older = range.container.take().and_then(|container| container.instance_type);
            range.container =
                Some(ContainerProperties { instance_type: older, ..(**container).clone() });
        }
        Workload::Ecs(ecs) => range.ecs_properties = Some(ecs.clone()),
    }
    range.consumable_resource_properties = consumables::to_api(&spec.consumables);
    // Nodes reach each other at their hosts' addresses.
    spec.task.host_network = true;
    spec.task_digest = spec.task.digest();
    Ok(spec)
}

/// The definition of a job that runs what a node of this range runs.
fn as_job(definition: &RegisterJobDefinition, range: &NodeRangeProperty) -> RegisterJobDefinition {
    let mut container = range.container.clone();
    if let Some(container) = &mut container {
        container.instance_type = None;
    }
    RegisterJobDefinition {
        kind: "container".to_owned(),
        container_properties: container,
        ecs_properties: range.ecs_properties.clone(),
        eks_properties: range.eks_properties.clone(),
        consumable_resource_properties: range.consumable_resource_properties.clone(),
        node_properties: None,
        ..definition.clone()
    }
}

fn in_range(range: &NodeRangeProperty, error: ApiError) -> ApiError {
    let message = format!("node range `{}`: {}", range.target_nodes, error.message);
    ApiError { message, ..error }
}

/// Each node belongs to the narrowest range that has it.
fn narrowest(count: u32, ranges: &[Range<u32>]) -> Vec<(Range<u32>, usize)> {
    let mut groups: Vec<(Range<u32>, usize)> = Vec::new();
    for node in 0..count {
        let having = ranges.iter().enumerate().filter(|(_, range)| range.contains(&node));
        let narrowest = having.min_by_key(|(_, range)| range.end - range.start);
        let (index, _) = narrowest.expect("the ranges were checked to cover all nodes");
        match groups.last_mut() {
            Some((range, same)) if *same == index => range.end += 1,
            Some(_) | None => groups.push((node..node + 1, index)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(count: u32, main: u32, targets: &[&str]) -> NodeProperties {
        let range = |target: &&str| NodeRangeProperty {
            target_nodes: (*target).to_owned(),
            ..Default::default()
        };
        NodeProperties {
            num_nodes: count,
            main_node: main,
            node_range_properties: targets.iter().map(range).collect(),
        }
    }

    fn groups(count: u32, targets: &[&str]) -> Result<Vec<(Range<u32>, usize)>, String> {
        let properties = properties(count, 0, targets);
        let ranges = ranges(&properties, &Limits::default()).map_err(|error| error.message)?;
        Ok(narrowest(count, &ranges))
    }

    #[test]
    fn the_narrower_of_nested_ranges_counts() {
        assert_eq!(groups(3, &["0:0", "1:"]), Ok(vec![(0..1, 0), (1..3, 1)]));
        assert_eq!(groups(11, &["0:10", "4:5"]), Ok(vec![(0..4, 0), (4..6, 1), (6..11, 0)]));
        assert_eq!(groups(4, &[":1", "2:3"]), Ok(vec![(0..2, 0), (2..4, 1)]));
        assert_eq!(groups(2, &[":", "1:7"]), Ok(vec![(0..1, 0), (1..2, 1)]));
        assert_eq!(groups(3, &["0", "1:"]), Ok(vec![(0..1, 0), (1..3, 1)]));
    }

    #[test]
    fn ranges_that_leave_out_or_cross_are_refused() {
        for (count, targets, part) in [
            (3, vec!["0:1"], "node 2 is in no range"),
            (3, vec![], "node 0 is in no range"),
            (9, vec!["0:5", "3:8"], "within another"),
            (3, vec![":", "0:2"], "within another"),
            (3, vec![":", "3:"], "there are 3 nodes"),
            (3, vec!["1"], "node 0 is in no range"),
            (3, vec![""], "must look like"),
            (3, vec!["3"], "there are 3 nodes"),
            (3, vec!["+1"], "must look like"),
            (3, vec!["2:1"], "must look like"),
            (3, vec!["a:"], "must look like"),
            (3, vec!["-1:"], "must look like"),
            (3, vec!["0:99999999999"], "must look like"),
            (0, vec![":"], "from 1 to"),
            (1_000_000_000, vec![":"], "from 1 to"),
        ] {
            let error = groups(count, &targets).unwrap_err();
            assert!(error.contains(part), "{count} {targets:?}: {error}");
        }
        let main = ranges(&properties(2, 2, &[":"]), &Limits::default()).unwrap_err();
        assert!(main.message.contains("less than numNodes"), "{}", main.message);
    }

    #[test]
    fn the_number_of_nodes_is_overridden_where_a_range_is_open() {
        let change = |main, targets: &[&str], count| {
            let mut properties = properties(8, main, targets);
            override_count(&mut properties, count).map(|()| properties.num_nodes)
        };
        assert_eq!(change(0, &["0:0", "1:"], 2), Ok(2));
        assert_eq!(change(0, &[":"], 20), Ok(20));
        assert!(change(0, &["0:0", "1:7"], 4).unwrap_err().message.contains("open end"));
        assert!(change(0, &["0", "1"], 4).unwrap_err().message.contains("open end"));
        assert!(change(0, &["0:3", "4:"], 4).unwrap_err().message.contains("range `4:`"));
        assert!(change(3, &[":"], 3).unwrap_err().message.contains("mainNode"));
    }
}
