//! `dependsOn`: what a submission may name, and which waiting children get on when something ended.
//!
//! There are no cycles: a job can only name jobs that exist, and nobody can add a dependency to a
//! job later.

use std::collections::BTreeMap;
use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::ApiError;
use windrow_common::api::jobs::{DependencyCondition, DependencyType, JobDependency};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::time::Timestamp;

use super::fail;
use crate::core::State;
use crate::core::arn;
use crate::core::children::{NeverRan, Ranges};
use crate::core::event::Event;
use crate::core::limits::{EVENT_RANGES_MAX, Limits};
use crate::core::reasons;
use crate::core::state::{Awaited, Dependency, Job, Met};

/// Reads the entries of a request for a job, or an array of this size.
pub(super) fn check(
    state: &State,
    limits: &Limits,
    entries: &[JobDependency],
    array_size: Option<u32>,
) -> Result<Vec<Dependency>, ApiError> {
    if entries.len() > limits.dependencies {
        return Err(ApiError::invalid(format!(
            "Job cannot have more than {} dependencies, got {}",
            limits.dependencies,
            entries.len()
        )));
    }
    let one = |entry: &JobDependency| {
        let on = awaited(state, entry, array_size)?;
        Ok(Dependency { on, condition: entry.condition.unwrap_or_default() })
    };
    entries.iter().map(one).collect()
}

fn awaited(
    state: &State,
    entry: &JobDependency,
    array_size: Option<u32>,
) -> Result<Awaited, ApiError> {
    let id = entry.job_id.as_deref().filter(|id| !id.is_empty()).map(arn::plain);
    let Some(text) = id else {
        return match entry.kind {
            Some(DependencyType::Sequential) if array_size.is_some() => Ok(Awaited::Sequential),
            Some(DependencyType::Sequential) => Err(ApiError::invalid(
                "dependsOn type SEQUENTIAL without a jobId is for array jobs only",
            )
            .hint("give an array size, or the id of the job to wait for")),
            Some(DependencyType::NToN) | None => {
                Err(ApiError::invalid("dependsOn needs a jobId, or the type SEQUENTIAL"))
            }
        };
    };
    let on: JobRef = text.parse().map_err(|e| ApiError::invalid(format!("dependsOn: {e}")))?;
    let unknown = || {
        ApiError::not_found(format!("dependsOn: job {text} does not exist"))
            .hint("a job must be submitted before others can depend on it")
    };
    let job = state.jobs.get(&on.job).filter(|job| job.has(on)).ok_or_else(unknown)?;
    if on.is_node {
        return Err(ApiError::invalid(format!(
            "dependsOn: {text} is a node; others depend on a multi-node job as a whole"
        ))
        .hint(format!("name the job: {}", on.job)));
    }
    match (entry.kind, on.child) {
        (Some(DependencyType::NToN), None) => check_n_to_n(on.job, job.array_size, array_size),
        (Some(DependencyType::NToN), Some(_)) => Err(ApiError::invalid(format!(
            "dependsOn type N_TO_N needs an array job, {text} is one child"
        ))),
        (Some(DependencyType::Sequential) | None, Some(child)) => Ok(Awaited::Child(on.job, child)),
        (Some(DependencyType::Sequential) | None, None) => Ok(Awaited::Job(on.job)),
    }
}

fn check_n_to_n(
    on: JobId,
    on_size: Option<u32>,
    own_size: Option<u32>,
) -> Result<Awaited, ApiError> {
    let shown = |size: Option<u32>| size.map_or("no array".to_owned(), |s| format!("size {s}"));
    if on_size.is_some() && on_size == own_size {
        return Ok(Awaited::NToN(on));
    }
    Err(ApiError::invalid(format!(
        "dependsOn type N_TO_N needs two arrays of the same size: job {on} has {}, this one {}",
        shown(on_size),
        shown(own_size)
    )))
}

/// Releases or fails those of `ranges` that wait and whose dependencies say so.
pub(super) fn evaluate(
    state: &State,
    id: JobId,
    ranges: &[Range<u32>],
    now: Timestamp,
) -> Vec<Event> {
    let job = &state.jobs[&id];
    let waiting = job.children.pending_in(ranges);
    if waiting.is_empty() {
        return Vec::new();
    }
    let (mut released, mut failed) = (RangeSet::new(), BTreeMap::new());
    let by_job = worst(job, |dependency| met_by_job(state, dependency));
    let by_child = job.depends_on.iter().any(Dependency::is_by_child);
    for range in waiting {
        match by_job {
            (Met::Never, index) => fail_with(&mut failed, index, range),
            (Met::Yes, _) if !by_child => released.insert(range),
            (Met::NotYet, _) if !by_child => {}
            (Met::Yes | Met::NotYet, _) => {
                for child in range {
                    match (worst(job, |d| met_by_child(state, job, d, child)), by_job.0) {
                        ((Met::Never, index), _) => {
                            fail_with(&mut failed, index, child..child + 1);
                        }
                        ((Met::Yes, _), Met::Yes) => released.insert(child..child + 1),
                        ((Met::Yes | Met::NotYet, _), _) => {}
                    }
                }
            }
        }
    }
    starve(job, &mut failed);
    let mut events = Vec::new();
    for (index, children) in failed {
        let children: Ranges = children.into_iter().collect();
        let reason = reasons::dependency_failed(&job.depends_on[index]).into();
        events.extend(fail(id, &children, &NeverRan { reason, at: now }));
    }
    let released: Ranges = released.into_iter().collect();
    let parts = released.chunks(EVENT_RANGES_MAX);
    events.extend(parts.map(|part| Event::ChildrenReleased {
        job: id,
        children: part.to_vec(),
        at: now,
    }));
    events
}

/// Children that can never run, by the dependency that they fail for.
type Failed = BTreeMap<usize, RangeSet<u32>>;

fn fail_with(failed: &mut Failed, dependency: usize, children: Range<u32>) {
    failed.entry(dependency).or_default().insert(children);
}

/// In a sequential array the first child that can never run takes all with it that follow, in one
/// step; unless children may follow whatever became of the one before.
fn starve(job: &Job, failed: &mut Failed) {
    let breaks = |dependency: &Dependency| {
        dependency.on == Awaited::Sequential && dependency.condition != DependencyCondition::Any
    };
    let Some(index) = job.depends_on.iter().position(breaks) else { return };
    let first = failed.values().filter_map(|children| children.first()).map(|r| r.start).min();
    let Some(first) = first else { return };
    let rest = first..job.children.size();
    let mut waiting: RangeSet<u32> =
        job.children.pending_in(std::slice::from_ref(&rest)).into_iter().collect();
    for children in failed.values().flat_map(RangeSet::iter) {
        waiting.remove(children.clone());
    }
    waiting.into_iter().for_each(|children| fail_with(failed, index, children));
}

/// How far the job has got by `met`, and the first dependency that stands there.
fn worst(job: &Job, met: impl Fn(&Dependency) -> Met) -> (Met, usize) {
    let mut worst = (Met::Yes, 0);
    for (index, dependency) in job.depends_on.iter().enumerate() {
        let met = met(dependency);
        if met > worst.0 {
            worst = (met, index);
        }
    }
    worst
}

fn met_by_job(state: &State, dependency: &Dependency) -> Met {
    match &dependency.on {
        Awaited::Job(on) => dependency.met(state.jobs[on].status()),
        Awaited::Child(on, child) => dependency.met(state.jobs[on].children.status(*child)),
        Awaited::NToN(_) | Awaited::Sequential => Met::Yes,
    }
}

fn met_by_child(state: &State, job: &Job, dependency: &Dependency, child: u32) -> Met {
    match &dependency.on {
        Awaited::NToN(on) => dependency.met(state.jobs[on].children.status(child)),
        Awaited::Sequential if child > 0 => dependency.met(job.children.status(child - 1)),
        Awaited::Sequential | Awaited::Job(_) | Awaited::Child(..) => Met::Yes,
    }
}
