//! Access keys of the HTTP API: create, revoke.

use windrow_common::access::AccessKeyId;
use windrow_common::api::ApiError;
use windrow_common::api::access::{
    CreateAccessKey, CreateAccessKeyResponse, PolicyDocument, RevokeAccessKey, SecretAccessKey,
};
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::{Answer, Decision};
use crate::core::State;
use crate::core::event::Event;
use crate::core::limits::{Limits, POLICY_BYTES_MAX, check_count};
use crate::core::state::AccessKey;

/// Whose a key is when nobody is named.
const USER_DEFAULT: &str = "default";
/// Versions of IAM's policy language.
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];
/// Services whose actions there are.
const SERVICES: [&str; 2] = ["batch", "logs"];

/// A key as it was made at the edge, where its secret is known, and what was asked.
#[derive(Clone, Debug)]
pub struct NewAccessKey {
    pub id: AccessKeyId,
    /// For the answer; no event has it.
    pub secret: SecretAccessKey,
    /// Fingerprint of the cluster key that the secret is made of.
    pub cluster_key: String,
    pub request: CreateAccessKey,
}

pub(super) fn create(
    state: &State,
    limits: &Limits,
    new: &NewAccessKey,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let NewAccessKey { id, secret, cluster_key, request } = new;
    let user = request.user_name.as_deref().unwrap_or(USER_DEFAULT);
    let user: Name = user.parse().map_err(|e| ApiError::invalid(format!("userName: {e}")))?;
    check_count("access keys", state.access_keys.len(), limits.access_keys)?;
    if let Some(at) = request.expires_at.filter(|at| *at <= now) {
        return Err(ApiError::invalid(format!("expiresAt must be in the future, got {at}")));
    }
    request.policy.as_ref().map_or(Ok(()), check_policy)?;
    if state.access_keys.contains_key(id) {
        return Err(ApiError::conflict(format!("access key `{id}` exists")).hint("try again"));
    }
    let answer = Answer::AccessKey(Box::new(CreateAccessKeyResponse {
        access_key_id: id.to_string(),
        secret_access_key: secret.clone(),
        user_name: user.to_string(),
        created_at: now,
        expires_at: request.expires_at,
    }));
    let key = Box::new(AccessKey {
        user,
        created_at: now,
        expires_at: request.expires_at,
        policy: request.policy.clone(),
        cluster_key: cluster_key.clone(),
    });
    Ok(Decision { events: vec![Event::AccessKeyCreated { id: id.clone(), key }], answer })
}

pub(super) fn revoke(state: &State, request: &RevokeAccessKey) -> Result<Decision, ApiError> {
    let id: AccessKeyId = request
        .access_key_id
        .parse()
        .map_err(|e: String| ApiError::invalid(format!("accessKeyId: {e}")))?;
    if !state.access_keys.contains_key(&id) {
        return Err(ApiError::not_found(format!("access key `{id}` does not exist"))
            .hint("list them with `windrow key list`"));
    }
    Ok(vec![Event::AccessKeyRevoked { id }].into())
}

/// Refuses a policy that would not do what it seems to say.
fn check_policy(policy: &PolicyDocument) -> Result<(), ApiError> {
    let refuse = |why: String| Err(ApiError::invalid(format!("policy: {why}")));
    let bytes = serde_json::to_vec(policy).map_or(usize::MAX, |json| json.len());
    if bytes > POLICY_BYTES_MAX {
        return refuse(format!(
            "it has {bytes} bytes of JSON, at most {POLICY_BYTES_MAX} are allowed"
        ));
    }
    if let Some(version) = policy.version.as_deref().filter(|v| !VERSIONS.contains(v)) {
        return refuse(format!(
            "Version must be {} or {}, got `{version}`",
            VERSIONS[0], VERSIONS[1]
        ));
    }
    if policy.statement.is_empty() {
        return refuse("it has no Statement, so nothing would be allowed".to_owned());
    }
    for statement in &policy.statement {
        if statement.action.is_empty() || statement.resource.is_empty() {
            return refuse("a Statement needs an Action and a Resource".to_owned());
        }
        for action in &statement.action {
            let known = action == "*"
                || action.split_once(':').is_some_and(|(service, name)| {
                    SERVICES.contains(&service.to_ascii_lowercase().as_str()) && !name.is_empty()
                });
            if !known {
                return Err(ApiError::invalid(format!(
                    "policy: `{action}` is not an action of batch or logs"
                ))
                .hint("write for example `batch:SubmitJob`, `batch:Describe*` or `*`"));
            }
        }
        let parts = |arn: &str| arn.split(':').count();
        let short = |resource: &&String| resource.starts_with("arn:") && parts(resource) < 6;
        if let Some(resource) = statement.resource.iter().find(short) {
            return Err(ApiError::invalid(format!("policy: `{resource}` is not a whole ARN"))
                .hint("write for example `arn:aws:batch:*:*:job-queue/NAME`, `NAME` of a queue, or `*`"));
        }
        if statement.resource.iter().any(String::is_empty) {
            return refuse("a Resource is empty".to_owned());
        }
    }
    Ok(())
}
