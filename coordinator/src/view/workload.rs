//! What a job runs, as DescribeJobs shows it: after merging, absent lists as empty ones.

use windrow_common::api::definitions::{ContainerProperties, TaskContainerProperties};
use windrow_common::api::jobs::{
    AttemptContainerDetail, AttemptTaskDetails, ContainerDetail, EcsPropertiesDetail,
    EcsTaskDetail, TaskContainerDetail,
};

use crate::core::spec::Workload;

/// `container`, of a job that has one.
pub(super) fn container(
    workload: &Workload,
    outcome: AttemptContainerDetail,
) -> Option<ContainerDetail> {
    let Workload::Container(properties) = workload else { return None };
    let mut properties = ContainerProperties::clone(properties);
    properties.command.get_or_insert_default();
    properties.environment.get_or_insert_default();
    properties.mount_points.get_or_insert_default();
    properties.resource_requirements.get_or_insert_default();
    properties.secrets.get_or_insert_default();
    properties.ulimits.get_or_insert_default();
    properties.volumes.get_or_insert_default();
    Some(ContainerDetail { properties, outcome })
}

/// `ecsProperties`, of a job of several containers; with what became of each in the last attempt.
pub(super) fn ecs(
    workload: &Workload,
    outcome: &AttemptContainerDetail,
    ends: &[AttemptTaskDetails],
) -> Option<EcsPropertiesDetail> {
    let Workload::Ecs(ecs) = workload else { return None };
    let tasks = ecs.task_properties.iter().map(|task| {
        let mut properties = task.clone();
        properties.volumes.get_or_insert_default();
        let containers = std::mem::take(&mut properties.containers).into_iter();
        EcsTaskDetail {
            containers: containers.map(|one| task_container(one, outcome, ends)).collect(),
            properties,
            container_instance_arn: outcome.container_instance_arn.clone(),
        }
    });
    Some(EcsPropertiesDetail { task_properties: tasks.collect() })
}

fn task_container(
    mut properties: TaskContainerProperties,
    outcome: &AttemptContainerDetail,
    ends: &[AttemptTaskDetails],
) -> TaskContainerDetail {
    properties.command.get_or_insert_default();
    properties.depends_on.get_or_insert_default();
    properties.environment.get_or_insert_default();
    properties.mount_points.get_or_insert_default();
    properties.resource_requirements.get_or_insert_default();
    properties.secrets.get_or_insert_default();
    properties.ulimits.get_or_insert_default();
    let mut ends = ends.iter().flat_map(|task| &task.containers);
    let end = ends.find(|end| Some(&end.name) == properties.name.as_ref());
    TaskContainerDetail {
        properties,
        exit_code: end.and_then(|end| end.exit_code),
        reason: end.and_then(|end| end.reason.clone()),
        log_stream_name: outcome.log_stream_name.clone(),
    }
}
