//! Multi-node parallel jobs: `nodeProperties`.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use serde::{Deserialize, Serialize};

use super::container::ContainerProperties;
use super::task::EcsProperties;
use crate::api::consumables::ConsumableResourceProperties;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeProperties {
    /// Nodes of the job, from 1.
    pub num_nodes: u32,
    /// Index of the main node, whose end is the job's.
    pub main_node: u32,
    /// Cover all nodes. Of two ranges that share nodes one lies within the other and is used for them.
    pub node_range_properties: Vec<NodeRangeProperty>,
}

/// What a range of nodes runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeRangeProperty {
    /// `first:last`, `:last` (from 0) or `first:` (to the last node).
    pub target_nodes: String,
    /// Exactly one of this, `ecsProperties` and `eksProperties`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerProperties>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_properties: Option<EcsProperties>,
    /// Refused, whatever it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_properties: Option<serde_json::Value>,
    /// At most one, the same for all ranges. Recorded and shown: agents have no instance type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// What each node of the range takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumable_resource_properties: Option<ConsumableResourceProperties>,
}
