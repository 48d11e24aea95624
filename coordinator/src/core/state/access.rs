//! Access keys. Their secrets are not here: they are made of the cluster key, which the core does not know.

use serde::{Deserialize, Serialize};
use windrow_common::api::access::PolicyDocument;
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::as_json;

/// An access key that was not revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Whose it is.
    pub user: Name,
    pub created_at: Timestamp,
    /// When it stops being accepted.
    pub expires_at: Option<Timestamp>,
    /// What its user may do with it; absent: everything.
    #[serde(with = "as_json")]
    pub policy: Option<PolicyDocument>,
    /// Fingerprint of the cluster key that its secret is made of.
    pub cluster_key: String,
}
