//! ARNs, so that clients which take them apart find what they expect: the name behind the last `/`.

use windrow_common::ids::{JobId, JobRef, Name};

const PREFIX: &str = "arn:aws:batch:local:000000000000:";

/// A job's, child's or array parent's.
pub fn job(id: JobRef) -> String {
    format!("{PREFIX}job/{id}")
}

/// A queue's.
pub fn queue(name: &Name) -> String {
    format!("{PREFIX}job-queue/{name}")
}

/// A job definition's revision.
pub fn definition(name: &Name, revision: u32) -> String {
    format!("{PREFIX}job-definition/{name}:{revision}")
}

/// A compute environment's.
pub fn environment(name: &Name) -> String {
    format!("{PREFIX}compute-environment/{name}")
}

/// A consumable resource's.
pub fn consumable(name: &Name) -> String {
    format!("{PREFIX}consumable-resource/{name}")
}

/// A scheduling policy's.
pub fn policy(name: &Name) -> String {
    format!("{PREFIX}scheduling-policy/{name}")
}

/// A quota share's.
pub fn quota_share(queue: &Name, share: &Name) -> String {
    format!("{PREFIX}quota-share/{queue}/{share}")
}

/// A service environment's.
pub fn service_environment(name: &Name) -> String {
    format!("{PREFIX}service-environment/{name}")
}

/// A service job's.
pub fn service_job(id: JobId) -> String {
    format!("{PREFIX}service-job/{id}")
}

/// An agent's, in the place of ECS's container instance.
pub fn agent(name: &Name) -> String {
    format!("{PREFIX}container-instance/{name}")
}

/// The name or id in a text that may be an ARN.
pub fn plain(text: &str) -> &str {
    match text.strip_prefix("arn:") {
        Some(rest) => rest.rsplit_once('/').map_or(rest, |(_, name)| name),
        None => text,
    }
}
