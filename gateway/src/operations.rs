//! The operations of AWS Batch's 2016-08-10 model.

/// Whether a request may be sent again when it is not known what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads, or doing it twice is as doing it once.
    Safe,
    /// Safe under the submission's idempotency key.
    Key,
    /// Safe under its `clientToken`.
    Token,
    /// A second time it does more, or fails as there is nothing left to do.
    Never,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// As in the model, and on NATS.
    pub(crate) name: &'static str,
    pub(crate) repeat: Repeat,
}

macro_rules! operations {
    ($($repeat:ident: $($name:literal)*;)*) => {
        /// All of them.
        pub(crate) const OPERATIONS: &[Operation] =
            &[$($(Operation { name: $name, repeat: Repeat::$repeat }),*),*];
    };
}

operations! {
    Safe:
        "CancelJob" "CancelJobs" "TerminateJob" "TerminateJobs" "DescribeJobs" "ListJobs"
        "DescribeJobDefinitions" "DescribeJobQueues" "DescribeComputeEnvironments"
        "GetJobQueueSnapshot" "UpdateJobQueue" "UpdateComputeEnvironment"
        "DescribeSchedulingPolicies" "ListSchedulingPolicies" "UpdateSchedulingPolicy"
        "DescribeConsumableResource" "ListConsumableResources" "ListJobsByConsumableResource"
        "DescribeQuotaShare" "ListQuotaShares" "UpdateQuotaShare"
        "DescribeServiceEnvironments" "UpdateServiceEnvironment"
        "DescribeServiceJob" "ListServiceJobs" "TerminateServiceJob" "TerminateServiceJobs"
        "UpdateServiceJob" "ListTagsForResource" "TagResource" "UntagResource";
    Key: "SubmitJob";
    Token: "UpdateConsumableResource" "SubmitServiceJob";
    Never:
        "RegisterJobDefinition" "DeregisterJobDefinition" "CreateJobQueue" "DeleteJobQueue"
        "CreateComputeEnvironment" "DeleteComputeEnvironment" "CreateSchedulingPolicy"
        "DeleteSchedulingPolicy" "CreateConsumableResource" "DeleteConsumableResource"
        "CreateQuotaShare" "DeleteQuotaShare" "CreateServiceEnvironment"
        "DeleteServiceEnvironment";
}

impl Operation {
    /// The operation of this name, whatever its case.
    pub(crate) fn find(name: &str) -> Option<Self> {
        OPERATIONS.iter().copied().find(|known| known.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_48_operations_each_once() {
        let mut names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), OPERATIONS.len()), (48, 48));
        assert_eq!(Operation::find("submitjob").map(|o| o.repeat), Some(Repeat::Key));
        assert_eq!(Operation::find("ExplainJob"), None);
        let cluster = windrow_common::api::OPERATIONS;
        let lacking: Vec<&str> = names.into_iter().filter(|name| !cluster.contains(name)).collect();
        assert_eq!(lacking, [""; 0], "the cluster has all of them");
    }
}
