//! The API: AWS Batch's operations and ours, requested on `P.api.OPERATION`.
//!
//! Shapes and names are those of AWS Batch's 2016-08-10 model (camelCase, times in milliseconds
//! since the epoch). Fields that are ours and not AWS's are marked *extension*. Empty maps, lists
//! and strings mean absent, as AWS has it.

pub mod access;
pub mod audit;
pub mod consumables;
pub mod definitions;
mod describe;
pub mod disconnect;
pub mod error;
pub mod events;
pub mod explain;
pub mod jobs;
pub mod overrides;
pub mod policies;
pub mod quota;
pub mod resources;
pub mod services;
pub mod snapshot;
pub mod tags;

pub use error::{ApiError, ErrorKind};

use serde::{Serialize, de::DeserializeOwned};

/// One operation: its name ties request and response together.
pub trait Operation: Serialize + DeserializeOwned {
    /// The operation's name: the last token of its subject.
    const NAME: &'static str;
    /// What it answers.
    type Response: Serialize + DeserializeOwned;
}

macro_rules! operations {
    ($($name:literal: $request:ty => $response:ty;)*) => {
        $(impl Operation for $request {
            const NAME: &'static str = $name;
            type Response = $response;
        })*
        /// Names of all operations.
        pub const OPERATIONS: &[&str] = &[$($name),*];
    };
}

operations! {
    "AuditCluster": audit::AuditCluster => audit::AuditClusterResponse;
    "SubmitJob": jobs::SubmitJob => jobs::SubmitJobResponse;
    "DescribeJobs": jobs::DescribeJobs => jobs::DescribeJobsResponse;
    "ListJobs": jobs::ListJobs => jobs::ListJobsResponse;
    "CancelJob": jobs::CancelJob => Empty;
    "TerminateJob": jobs::TerminateJob => Empty;
    "CancelJobs": jobs::CancelJobs => jobs::BulkResponse;
    "TerminateJobs": jobs::TerminateJobs => jobs::BulkResponse;
    "RerunJob": jobs::RerunJob => jobs::RerunJobResponse;
    "UpdateJob": jobs::UpdateJob => jobs::UpdateJobResponse;
    "RegisterJobDefinition": definitions::RegisterJobDefinition
        => definitions::RegisterJobDefinitionResponse;
    "DeregisterJobDefinition": definitions::DeregisterJobDefinition => Empty;
    "DescribeJobDefinitions": definitions::DescribeJobDefinitions
        => definitions::DescribeJobDefinitionsResponse;
    "CreateJobQueue": resources::CreateJobQueue => resources::JobQueueResponse;
    "UpdateJobQueue": resources::UpdateJobQueue => resources::JobQueueResponse;
    "DeleteJobQueue": resources::DeleteJobQueue => Empty;
    "DescribeJobQueues": resources::DescribeJobQueues => resources::DescribeJobQueuesResponse;
    "CreateComputeEnvironment": resources::CreateComputeEnvironment
        => resources::ComputeEnvironmentResponse;
    "UpdateComputeEnvironment": resources::UpdateComputeEnvironment
        => resources::ComputeEnvironmentResponse;
    "DeleteComputeEnvironment": resources::DeleteComputeEnvironment => Empty;
    "DescribeComputeEnvironments": resources::DescribeComputeEnvironments
        => resources::DescribeComputeEnvironmentsResponse;
    "ListAgents": resources::ListAgents => resources::ListAgentsResponse;
    "DrainAgent": resources::DrainAgent => Empty;
    "ExplainJob": explain::ExplainJob => explain::Explanation;
    "ExplainQueue": explain::ExplainQueue => explain::ExplainQueueResponse;
    "PlanJob": explain::PlanJob => explain::PlanJobResponse;
    "GetJobQueueSnapshot": snapshot::GetJobQueueSnapshot
        => snapshot::GetJobQueueSnapshotResponse;
    "TagResource": tags::TagResource => Empty;
    "UntagResource": tags::UntagResource => Empty;
    "ListTagsForResource": tags::ListTagsForResource => tags::ListTagsForResourceResponse;
    "CreateSchedulingPolicy": policies::CreateSchedulingPolicy
        => policies::CreateSchedulingPolicyResponse;
    "UpdateSchedulingPolicy": policies::UpdateSchedulingPolicy => Empty;
    "DeleteSchedulingPolicy": policies::DeleteSchedulingPolicy => Empty;
    "DescribeSchedulingPolicies": policies::DescribeSchedulingPolicies
        => policies::DescribeSchedulingPoliciesResponse;
    "ListSchedulingPolicies": policies::ListSchedulingPolicies
        => policies::ListSchedulingPoliciesResponse;
    "DescribeCluster": resources::DescribeCluster => resources::DescribeClusterResponse;
    "CreateConsumableResource": consumables::CreateConsumableResource
        => consumables::CreateConsumableResourceResponse;
    "UpdateConsumableResource": consumables::UpdateConsumableResource
        => consumables::UpdateConsumableResourceResponse;
    "DescribeConsumableResource": consumables::DescribeConsumableResource
        => consumables::DescribeConsumableResourceResponse;
    "DeleteConsumableResource": consumables::DeleteConsumableResource => Empty;
    "ListConsumableResources": consumables::ListConsumableResources
        => consumables::ListConsumableResourcesResponse;
    "CreateQuotaShare": quota::CreateQuotaShare => quota::QuotaShareResponse;
    "UpdateQuotaShare": quota::UpdateQuotaShare => quota::QuotaShareResponse;
    "DeleteQuotaShare": quota::DeleteQuotaShare => Empty;
    "AcknowledgeAlarm": resources::AcknowledgeAlarm => Empty;
    "DescribeQuotaShare": quota::DescribeQuotaShare => quota::QuotaShareDetail;
    "ListQuotaShares": quota::ListQuotaShares => quota::ListQuotaSharesResponse;
    "ListJobsByConsumableResource": consumables::ListJobsByConsumableResource
        => consumables::ListJobsByConsumableResourceResponse;
    "CreateServiceEnvironment": services::CreateServiceEnvironment
        => services::ServiceEnvironmentResponse;
    "UpdateServiceEnvironment": services::UpdateServiceEnvironment
        => services::ServiceEnvironmentResponse;
    "DeleteServiceEnvironment": services::DeleteServiceEnvironment => Empty;
    "DescribeServiceEnvironments": services::DescribeServiceEnvironments
        => services::DescribeServiceEnvironmentsResponse;
    "SubmitServiceJob": services::SubmitServiceJob => services::ServiceJobResponse;
    "UpdateServiceJob": services::UpdateServiceJob => services::ServiceJobResponse;
    "TerminateServiceJob": services::TerminateServiceJob => Empty;
    "TerminateServiceJobs": services::TerminateServiceJobs => jobs::BulkResponse;
    "DescribeServiceJob": services::DescribeServiceJob => services::DescribeServiceJobResponse;
    "ListServiceJobs": services::ListServiceJobs => services::ListServiceJobsResponse;
    "CreateAccessKey": access::CreateAccessKey => access::CreateAccessKeyResponse;
    "ListAccessKeys": access::ListAccessKeys => access::ListAccessKeysResponse;
    "RevokeAccessKey": access::RevokeAccessKey => Empty;
}

/// The answer of operations that return nothing: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
