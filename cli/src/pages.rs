//! Lists that the coordinator answers page by page.

use windrow_common::api::Operation;
use windrow_common::api::access::{AccessKeyDetail, ListAccessKeys};
use windrow_common::api::consumables::{
    ConsumableResourceSummary, JobByConsumableResource, ListConsumableResources,
    ListJobsByConsumableResource,
};
use windrow_common::api::definitions::{DescribeJobDefinitions, JobDefinitionDetail};
use windrow_common::api::jobs::{JobSummary, ListJobs};
use windrow_common::api::policies::{ListSchedulingPolicies, SchedulingPolicyListing};
use windrow_common::api::quota::{ListQuotaShares, QuotaShareDetail};
use windrow_common::api::resources::{
    ComputeEnvironmentDetail, DescribeComputeEnvironments, DescribeJobQueues, JobQueueDetail,
};

use crate::client::Client;
use crate::failure::Result;

/// A request for a page of a list.
pub(crate) trait Paged: Operation {
    /// What is listed.
    type Row;

    /// Asks for the page of this token.
    fn continue_at(&mut self, token: String);

    /// What a page holds, and the token of the next one, if there is one.
    fn rows(page: Self::Response) -> (Vec<Self::Row>, Option<String>);
}

macro_rules! paged {
    ($($request:ty => $rows:ident: $row:ty;)*) => {
        $(impl Paged for $request {
            type Row = $row;

            fn continue_at(&mut self, token: String) {
                self.next_token = Some(token);
            }

            fn rows(page: Self::Response) -> (Vec<Self::Row>, Option<String>) {
                (page.$rows, page.next_token)
            }
        })*
    };
}

paged! {
    DescribeJobDefinitions => job_definitions: JobDefinitionDetail;
    DescribeJobQueues => job_queues: JobQueueDetail;
    DescribeComputeEnvironments => compute_environments: ComputeEnvironmentDetail;
    ListConsumableResources => consumable_resources: ConsumableResourceSummary;
    ListJobs => job_summary_list: JobSummary;
    ListJobsByConsumableResource => jobs: JobByConsumableResource;
    ListQuotaShares => quota_shares: QuotaShareDetail;
    ListAccessKeys => access_keys: AccessKeyDetail;
    ListSchedulingPolicies => scheduling_policies: SchedulingPolicyListing;
}

/// Everything on the list, however many pages it has.
pub(crate) async fn all<R: Paged>(client: &Client, mut request: R) -> Result<Vec<R::Row>> {
    let mut all = Vec::new();
    loop {
        let (rows, next) = R::rows(client.call(&request).await?);
        all.extend(rows);
        match next {
            Some(token) => request.continue_at(token),
            None => return Ok(all),
        }
    }
}
