//! SubmitJob.

use std::ops::Range;

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use windrow_common::api::ApiError;
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::jobs::{SubmitJob, SubmitJobResponse};
use windrow_common::api::resources::ResourceState;
use windrow_common::codec::to_msgpack;
use windrow_common::ids::{JobId, Name};
use windrow_common::sabotage;
use windrow_common::time::Timestamp;
use windrow_common::wire::lease::SpecDigest;

use super::definitions::{KIND_MULTINODE, check_tags, find_revision};
use super::{Answer, Decision, dependencies, quota};
use crate::core::State;
use crate::core::arn;
use crate::core::consumables;
use crate::core::event::{Event, Submitted};
use crate::core::find;
use crate::core::limits::{KEY_LENGTH_MAX, Limits, SCHEDULING_PRIORITY_MAX, TAGS_MAX, check_size};
use crate::core::spec::{self, ResolvedNodes};
use crate::core::state::{JobSpec, NodeGroup, Nodes, Phase, Queue};

pub(super) fn submit(
    state: &State,
    limits: &Limits,
    id: JobId,
    request: &SubmitJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let content = SubmitJob { idempotency_key: None, ..request.clone() };
    let key = key_of(request.idempotency_key.as_deref(), &content)?;
    if let Some(job) = known_by(state, key.as_ref())? {
        // Of the first request's name: the contents are the same.
        let response = response(job, &request.job_name);
        return Ok(Decision { events: Vec::new(), answer: Answer::Submitted(response) });
    }
    check_size("Job size", request, limits.submit_kib)?;
    let name = check_job_name(&request.job_name)?;
    let queue = find_queue(state, &request.job_queue)?;
    let (definition, revision) = find_revision(state, &request.job_definition)?;
    let resolved = resolve(&revision.definition, request, limits)?;
    for spec in resolved.specs() {
        consumables::check_known(state, &spec.consumables)?;
    }
    let (array_size, max_parallel) = check_array(request, limits)?;
    let depends_on = dependencies::check(state, limits, &request.depends_on, array_size)?;
    let (quota_share, quota) = quota::check_job(state, &queue, request)?;
    check_tags(&request.tags)?;
    let propagate_tags = check_propagation(&revision.definition, request)?;
    let (mut events, spec, nodes) = add_specs(state, resolved);
    let share = check_share(state, limits, &queue, request.share_identifier.as_deref())?;
    let share = share.or(quota_share);
    let priority = request.scheduling_priority_override;
    let priority = match priority.or(revision.definition.scheduling_priority) {
        None => 0,
        Some(priority) => check_scheduling_priority(priority)?,
    };
    let mut parameters = revision.definition.parameters.clone();
    parameters.extend(request.parameters.clone());
    let submitted = Submitted {
        name: name.clone(),
        queue,
        definition,
        spec,
        at: now,
        array_size,
        depends_on,
        parameters,
        tags: request.tags.clone(),
        key,
        max_parallel,
        propagate_tags,
        share,
        priority,
        nodes,
        rerun_of: None,
        only_failed: false,
        quota,
    };
    events.push(Event::JobSubmitted { job: id, submitted: Box::new(submitted) });
    Ok(Decision { events, answer: Answer::Submitted(response(id, request.job_name.as_str())) })
}

/// What a job runs.
enum Resolved {
    Single(Box<JobSpec>),
    Nodes(ResolvedNodes),
}

impl Resolved {
    fn specs(&self) -> &[JobSpec] {
        match self {
            Self::Single(spec) => std::slice::from_ref(spec),
            Self::Nodes(nodes) => &nodes.specs,
        }
    }
}

fn resolve(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
    limits: &Limits,
) -> Result<Resolved, ApiError> {
    if definition.kind == KIND_MULTINODE {
        return Ok(Resolved::Nodes(spec::resolve_nodes(definition, request, limits)?));
    }
    if request.node_overrides.is_some() {
        return Err(ApiError::invalid("nodeOverrides is for job definitions of type `multinode`")
            .hint("use containerOverrides"));
    }
    Ok(Resolved::Single(Box::new(spec::resolve(definition, request, limits)?)))
}

/// Interns the specs: the events that takes, the job's own (of a multi-node job the main node's), and
/// the nodes.
fn add_specs(state: &State, resolved: Resolved) -> (Vec<Event>, SpecDigest, Option<Box<Nodes>>) {
    let mut events = Vec::with_capacity(2);
    let mut add = |spec: JobSpec| {
        let digest = spec::digest(&spec);
        if !state.specs.contains_key(&digest) {
            events.push(Event::SpecAdded { digest, spec: spec.into() });
        }
        digest
    };
    let nodes = match resolved {
        Resolved::Single(spec) => {
            let digest = add(*spec);
            return (events, digest, None);
        }
        Resolved::Nodes(nodes) => nodes,
    };
    let specs: Vec<SpecDigest> = nodes.specs.into_iter().map(add).collect();
    let group = |(nodes, index): (Range<u32>, usize)| NodeGroup { nodes, spec: specs[index] };
    let nodes = Nodes {
        main: nodes.main,
        groups: nodes.groups.into_iter().map(group).collect(),
        properties: nodes.properties,
        phase: Phase::Idle,
    };
    let main = nodes.group(nodes.main).expect("groups cover all nodes").spec;
    (events, main, Some(Box::new(nodes)))
}

/// A message of the submission stream, by its sequence and time there: taken once, whatever comes of it.
pub(super) fn from_stream(
    state: &State,
    limits: &Limits,
    (sequence, published): (u64, Timestamp),
    id: JobId,
    request: &SubmitJob,
    now: Timestamp,
) -> Decision {
    // A store that was put back to an older copy gives its numbers to new messages, which are later.
    let until = state.submitted_until;
    let came_again = until > Timestamp(0) && published > until;
    if state.submissions.contains(&sequence) && !came_again {
        return taken_before(state, limits, id, request, now);
    }
    let mut decision = submit(state, limits, id, request, now)
        .unwrap_or_else(|error| Decision { events: Vec::new(), answer: Answer::Refused(error) });
    decision.events.push(Event::SubmissionTaken { sequence, published });
    decision
}

/// A submission that comes again after its turn was stored. If it was refused, its dead letter may not
/// have been: the coordinator can have died in between. It stays refused, even if what it lacked is
/// there now. One without a key cannot be told from one that was accepted.
fn taken_before(
    state: &State,
    limits: &Limits,
    id: JobId,
    request: &SubmitJob,
    now: Timestamp,
) -> Decision {
    let refused = match submit(state, limits, id, request, now) {
        // It is the job of its key.
        Ok(decision) if decision.events.is_empty() => None,
        Ok(_) => Some(
            ApiError::conflict(
                "the submission was refused when it first came; now it would not be",
            )
            .hint("publish it again under another message id"),
        ),
        Err(error) => Some(error),
    };
    let refused =
        refused.filter(|_| request.idempotency_key.as_ref().is_some_and(|k| !k.is_empty()));
    Decision { events: Vec::new(), answer: refused.map_or(Answer::Done, Answer::Refused) }
}

fn response(id: JobId, name: &str) -> SubmitJobResponse {
    SubmitJobResponse {
        job_arn: arn::job(id.into()),
        job_id: id.to_string(),
        job_name: name.to_owned(),
    }
}

/// An idempotency key, and a digest of what was asked under it.
pub(super) type Key = (String, u64);

/// The key of a request, whose `content` is all of it but the key.
pub(super) fn key_of(key: Option<&str>, content: &impl Serialize) -> Result<Option<Key>, ApiError> {
    let Some(key) = key.filter(|k| !k.is_empty()) else {
        return Ok(None);
    };
    if key.len() > KEY_LENGTH_MAX {
        return Err(ApiError::invalid(format!(
            "idempotencyKey is {} bytes long, at most {KEY_LENGTH_MAX} are allowed",
            key.len()
        )));
    }
    let hash = Sha256::digest(to_msgpack(content));
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Ok(Some((key.to_owned(), u64::from_be_bytes(first))))
}

/// The job that an earlier request under this key led to.
///
/// Errors: that request asked for something else.
pub(super) fn known_by(state: &State, key: Option<&Key>) -> Result<Option<JobId>, ApiError> {
    let Some((key, digest)) = key else { return Ok(None) };
    if sabotage::is("submit-dedup-missing") {
        return Ok(None);
    }
    let known = state.idempotency.get(key).copied().or_else(|| state.shelf.key(key));
    let Some((job, first)) = known else { return Ok(None) };
    if first == *digest {
        return Ok(Some(job));
    }
    Err(ApiError::conflict(format!(
        "idempotency key `{key}` was used for job {job} with other content"
    ))
    .hint("use a new key for a new job, or repeat the first request unchanged"))
}

/// Whether the attempts get the tags of definition and job; together they must not be too many.
fn check_propagation(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
) -> Result<bool, ApiError> {
    let wanted = request.propagate_tags.or(definition.propagate_tags).unwrap_or(false);
    let mut all = definition.tags.clone();
    all.extend(request.tags.clone());
    if wanted && all.len() > TAGS_MAX {
        return Err(ApiError::invalid(format!(
            "propagateTags: job definition and job have {} tags together, at most {TAGS_MAX} are allowed",
            all.len()
        )));
    }
    Ok(wanted)
}

pub(super) fn check_job_name(name: &str) -> Result<Name, ApiError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    name.parse().ok().filter(|_| starts_well).ok_or_else(|| {
        ApiError::invalid("Job name should match valid pattern")
            .hint("use 1 to 128 letters, digits, `-` and `_`, the first a letter or digit")
    })
}

/// The queue of this name or ARN, if it takes ordinary jobs.
pub(super) fn find_queue(state: &State, text: &str) -> Result<Name, ApiError> {
    let (name, queue) = find_enabled_queue(state, text)?;
    if queue.is_service() {
        return Err(ApiError::invalid(format!(
            "job queue `{name}` is of type SAGEMAKER_TRAINING and takes service jobs only"
        ))
        .hint("submit to a queue with compute environments, or use SubmitServiceJob"));
    }
    Ok(name)
}

/// The queue of this name or ARN, if it takes jobs of any kind.
pub(super) fn find_enabled_queue<'a>(
    state: &'a State,
    text: &str,
) -> Result<(Name, &'a Queue), ApiError> {
    let (name, queue) = find::queue(state, text)?;
    if queue.state == ResourceState::Disabled {
        return Err(ApiError::invalid(format!("JobQueue {name} is DISABLED and takes no jobs."))
            .hint(format!("enable it with `windrow queue update {name} --enable`")));
    }
    Ok((name, queue))
}

/// A scheduling priority within AWS's range.
pub(super) fn check_scheduling_priority(priority: u32) -> Result<u32, ApiError> {
    match priority {
        0..=SCHEDULING_PRIORITY_MAX => Ok(priority),
        _ => Err(ApiError::invalid(format!(
            "scheduling priority must be from 0 to {SCHEDULING_PRIORITY_MAX}, got {priority}"
        ))),
    }
}

/// The share a job belongs to: one that is given if the queue is divided by shares, none otherwise.
pub(super) fn check_share(
    state: &State,
    limits: &Limits,
    queue: &Name,
    given: Option<&str>,
) -> Result<Option<Name>, ApiError> {
    let given = given.filter(|share| !share.is_empty());
    match (state.fair_share(queue), given) {
        (None, None) => Ok(None),
        (None, Some(share)) => Err(ApiError::invalid(format!(
            "shareIdentifier `{share}`: job queue `{queue}` has no fair-share scheduling policy"
        ))
        .hint("leave it out, or name a queue that was created with such a policy")),
        (Some(_), None) => Err(ApiError::invalid(format!(
            "job queue `{queue}` has a fair-share scheduling policy: shareIdentifier must be given"
        ))
        .hint("with the command line, `--share NAME`")),
        (Some(_), Some(share)) => {
            let share: Name =
                share.parse().map_err(|e| ApiError::invalid(format!("shareIdentifier: {e}")))?;
            let active = state.usage.get(queue).map(|queue| &queue.shares);
            let count = active.map_or(0, BTreeMap::len);
            if count >= limits.active_shares && !active.is_some_and(|a| a.contains_key(&share)) {
                return Err(ApiError::invalid(format!(
                    "share `{share}` would be one more than the {} active shares that job queue `{queue}` may have",
                    limits.active_shares
                ))
                .hint("wait until another share has been without jobs for the policy's window"));
            }
            Ok(Some(share))
        }
    }
}

/// The array's size and how many children may run at a time.
fn check_array(
    request: &SubmitJob,
    limits: &Limits,
) -> Result<(Option<u32>, Option<u32>), ApiError> {
    let size = request.array_properties.as_ref().and_then(|array| array.size);
    let max_parallel = request.array_properties.as_ref().and_then(|array| array.max_parallel);
    match (size, max_parallel) {
        (None, Some(_)) => {
            Err(ApiError::invalid("arrayProperties.maxParallel is for array jobs: give a size"))
        }
        (Some(_), Some(0)) => {
            Err(ApiError::invalid("arrayProperties.maxParallel must be at least 1, got 0"))
        }
        (Some(size), _) if !(2..=limits.array_size).contains(&size) => Err(ApiError::invalid(
            format!("array size must be from 2 to {}, got {size}", limits.array_size),
        )
        .hint("a single job has no size; cut a larger array into several")),
        (Some(_) | None, _) => Ok((size, max_parallel)),
    }
}
