//! What can have tags, by its ARN, and where they are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::ids::{JobId, Name};

use super::State;

/// Tags: keys with values.
pub type Tags = BTreeMap<String, String>;

/// Something with tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tagged {
    /// A single job or an array parent.
    Job(JobId),
    /// A revision of a definition.
    Definition(Name, u32),
    Queue(Name),
    Environment(Name),
    Consumable(Name),
    Policy(Name),
    /// Of this queue, by this name.
    QuotaShare(Name, Name),
    ServiceEnvironment(Name),
    ServiceJob(JobId),
}

impl Tagged {
    /// The job that an ARN, or its end, names; known or not.
    pub fn job(text: &str) -> Option<JobId> {
        match end(text).split_once('/')? {
            ("job", id) => id.parse().ok(),
            _ => None,
        }
    }

    /// What an ARN names, if it is there. Its end alone (`job/ID`) will do.
    ///
    /// # Errors
    /// It is no ARN of something with tags, or there is no such thing.
    pub fn find(state: &State, text: &str) -> Result<Self, ApiError> {
        let end = end(text);
        let shown: String = text.chars().take(200).collect();
        let found = end.split_once('/').map(|(kind, id)| (kind, Self::parse(kind, id)));
        match found {
            None => Err(ApiError::invalid(format!("`{shown}` is not the ARN of a resource")).hint(
                "give an ARN as describe shows it, or its end, such as `job/ID` or `job-queue/NAME`",
            )),
            Some(("job", _)) if end.contains(':') || end.contains('#') => {
                Err(ApiError::invalid(format!(
                    "`{shown}`: children of arrays and nodes have no tags of their own"
                ))
                .hint("tag the job itself"))
            }
            Some((_, parsed)) => parsed
                .filter(|tagged| tagged.tags(state).is_some())
                .ok_or_else(|| ApiError::not_found(format!("resource `{shown}` does not exist"))),
        }
    }

    fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "job" => id.parse().ok().map(Self::Job),
            "job-definition" => {
                let (name, revision) = id.split_once(':')?;
                Some(Self::Definition(name.parse().ok()?, revision.parse().ok()?))
            }
            "job-queue" => id.parse().ok().map(Self::Queue),
            "compute-environment" => id.parse().ok().map(Self::Environment),
            "scheduling-policy" => id.parse().ok().map(Self::Policy),
            "quota-share" => {
                let (queue, share) = id.split_once('/')?;
                Some(Self::QuotaShare(queue.parse().ok()?, share.parse().ok()?))
            }
            "service-environment" => id.parse().ok().map(Self::ServiceEnvironment),
            "service-job" => id.parse().ok().map(Self::ServiceJob),
            "consumable-resource" => id.parse().ok().map(Self::Consumable),
            _ => None,
        }
    }

    /// Its tags; none when it is not there.
    pub fn tags<'a>(&self, state: &'a State) -> Option<&'a Tags> {
        match self {
            Self::Job(id) => state.jobs.get(id).map(|job| &*job.tags),
            Self::Definition(name, revision) => {
                let definition = state.definitions.get(name);
                definition.and_then(|d| d.revisions.get(revision)).map(|r| &r.definition.tags)
            }
            Self::Queue(name) => state.queues.get(name).map(|queue| &queue.tags),
            Self::Environment(name) => state.environments.get(name).map(|e| &e.tags),
            Self::Consumable(name) => state.consumables.get(name).map(|c| &c.tags),
            Self::Policy(name) => state.policies.get(name).map(|p| &p.tags),
            Self::QuotaShare(queue, share) => {
                state.quota_shares.get(queue)?.get(share).map(|share| &share.tags)
            }
            Self::ServiceEnvironment(name) => {
                state.services.environments.get(name).map(|one| &one.tags)
            }
            Self::ServiceJob(id) => state.services.jobs.get(id).map(|job| &job.tags),
        }
    }

    /// Sets all its tags.
    pub(super) fn set(&self, state: &mut State, tags: &Tags) {
        let place = match self {
            Self::Job(id) => state.jobs.get_mut(id).map(|job| &mut *job.tags),
            Self::Definition(name, revision) => {
                let definition = state.definitions.get_mut(name);
                definition
                    .and_then(|d| d.revisions.get_mut(revision))
                    .map(|r| &mut r.definition.tags)
            }
            Self::Queue(name) => state.queues.get_mut(name).map(|queue| &mut queue.tags),
            Self::Environment(name) => state.environments.get_mut(name).map(|e| &mut e.tags),
            Self::Consumable(name) => state.consumables.get_mut(name).map(|c| &mut c.tags),
            Self::Policy(name) => state.policies.get_mut(name).map(|p| &mut p.tags),
            Self::QuotaShare(queue, share) => {
                let shares = state.quota_shares.get_mut(queue);
                shares.and_then(|shares| shares.get_mut(share)).map(|share| &mut share.tags)
            }
            Self::ServiceEnvironment(name) => {
                state.services.environments.get_mut(name).map(|one| &mut one.tags)
            }
            Self::ServiceJob(id) => state.services.jobs.get_mut(id).map(|job| &mut job.tags),
        };
        if let Some(place) = place {
            place.clone_from(tags);
        }
    }
}

/// What is left of an ARN without `arn:PARTITION:batch:REGION:ACCOUNT:`; else the text.
fn end(text: &str) -> &str {
    match text.starts_with("arn:") {
        true => text.splitn(6, ':').nth(5).unwrap_or_default(),
        false => text,
    }
}
