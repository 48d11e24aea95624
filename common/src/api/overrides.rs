//! What a submission changes of its job definition.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use serde::{Deserialize, Serialize};

use super::consumables::ConsumableResourceProperties;
use super::definitions::{KeyValuePair, ResourceRequirement};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ContainerOverrides {
    /// Replaces the definition's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Merged with the definition's by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<KeyValuePair>,
    /// Merged with the definition's by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_requirements: Vec<ResourceRequirement>,
    /// The older form; does not override a `VCPU` requirement of the definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// The older form; does not override a `MEMORY` requirement of the definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// *Extension.* Directory to run in, for jobs without an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Of multi-node jobs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EcsPropertiesOverride {
    /// One.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_properties: Vec<TaskPropertiesOverride>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TaskPropertiesOverride {
    /// By the containers' names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<TaskContainerOverrides>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TaskContainerOverrides {
    /// Which container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<KeyValuePair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_requirements: Vec<ResourceRequirement>,
}

/// What a submission changes of a multi-node definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeOverrides {
    /// Replaces the number of nodes: the definition must have a range with an open end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_nodes: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_property_overrides: Vec<NodePropertyOverride>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodePropertyOverride {
    /// A range of the definition, written as there.
    pub target_nodes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_overrides: Option<ContainerOverrides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_properties_override: Option<EcsPropertiesOverride>,
    /// Refused, whatever it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_properties_override: Option<serde_json::Value>,
    /// Replaces the range's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// Merged into the range's by resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumable_resource_properties_override: Option<ConsumableResourceProperties>,
}
