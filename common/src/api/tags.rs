//! Tags of jobs, definitions, queues, environments and everything else that has them.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TagResource {
    /// ARN of a job, a revision of a definition, a queue or a compute environment. *Extension:* only
    /// its end, such as `job/ID` or `job-queue/NAME`.
    pub resource_arn: String,
    /// Tags to add; those of the same key are replaced, all others stay.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UntagResource {
    /// As in [`TagResource`].
    pub resource_arn: String,
    /// Keys of tags to remove. One that is not there is no error.
    pub tag_keys: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListTagsForResource {
    /// As in [`TagResource`].
    pub resource_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTagsForResourceResponse {
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}
