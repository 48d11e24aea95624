//! Scheduling policies: how the jobs of a queue share it.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateSchedulingPolicy {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairshare_policy: Option<FairsharePolicy>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share_policy: Option<QuotaSharePolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FairsharePolicy {
    /// How far back use counts: 0 to 604800; 0 means 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_decay_seconds: Option<u32>,
    /// Percent of the queue's vCPUs kept for shares that are not active: 0 to 99, to the power of the
    /// number of active shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_reservation: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub share_distribution: Vec<ShareAttributes>,
}

/// The queue has quota shares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QuotaSharePolicy {
    /// Whose turn it is to borrow.
    pub idle_resource_assignment_strategy: IdleResourceAssignmentStrategy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdleResourceAssignmentStrategy {
    /// In the order of submission; the only one.
    #[default]
    #[serde(rename = "FIFO")]
    Fifo,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ShareAttributes {
    /// A share, or with `*` at its end all shares that begin so.
    pub share_identifier: String,
    /// 0.0001 to 999.9999, 1 if absent; half the weight gets twice as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_factor: Option<WeightFactor>,
}

/// A weight in ten-thousandths; a decimal number outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightFactor(pub u32);

impl WeightFactor {
    /// 1.0.
    pub const ONE: Self = Self(10_000);
    /// 999.9999.
    pub const MAX: Self = Self(9_999_999);
}

impl fmt::Display for WeightFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / 10_000.0).fmt(f)
    }
}

impl Serialize for WeightFactor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 10_000.0)
    }
}

impl<'de> Deserialize<'de> for WeightFactor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let weight = f64::deserialize(deserializer)?;
        let scaled = (weight * 10_000.0).round();
        if !(1.0..=f64::from(Self::MAX.0)).contains(&scaled) {
            return Err(serde::de::Error::custom(format!(
                "weightFactor must be from 0.0001 to 999.9999, got {weight}"
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        let scaled = scaled as u32;
        Ok(Self(scaled))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSchedulingPolicyResponse {
    pub name: String,
    pub arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateSchedulingPolicy {
    /// Name or ARN.
    pub arn: String,
    /// Replaces the whole policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairshare_policy: Option<FairsharePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share_policy: Option<QuotaSharePolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteSchedulingPolicy {
    /// Name or ARN.
    pub arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeSchedulingPolicies {
    /// Names or ARNs, at most 100. Unknown ones are left out.
    pub arns: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeSchedulingPoliciesResponse {
    pub scheduling_policies: Vec<SchedulingPolicyDetail>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingPolicyDetail {
    pub name: String,
    pub arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairshare_policy: Option<FairsharePolicy>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_share_policy: Option<QuotaSharePolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListSchedulingPolicies {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSchedulingPoliciesResponse {
    pub scheduling_policies: Vec<SchedulingPolicyListing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingPolicyListing {
    pub arn: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_decimal_numbers_outside_and_integers_inside() {
        for (text, weight) in
            [("1", 10_000), ("0.125", 1250), ("0.0001", 1), ("999.9999", 9_999_999)]
        {
            let read: WeightFactor = serde_json::from_str(text).unwrap();
            assert_eq!(read, WeightFactor(weight), "{text}");
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<WeightFactor>(&written).unwrap(), read);
        }
        for bad in ["0", "-1", "1000", "0.00001", "\"1\"", "null"] {
            assert!(serde_json::from_str::<WeightFactor>(bad).is_err(), "{bad}");
        }
    }
}
