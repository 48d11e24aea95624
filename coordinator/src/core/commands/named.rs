//! The jobs that a command names: those of them that have left the memory are loaded back before it is
//! decided.

use std::collections::BTreeSet;

use windrow_common::api::jobs::JobDependency;
use windrow_common::ids::{JobId, JobRef};

use super::Command;
use crate::core::State;
use crate::core::arn;
use crate::core::tags::Tagged;

impl Command {
    /// Jobs that have to be known for it. Cancel and terminate name some too, but do nothing to a job
    /// that has ended.
    pub fn jobs(&self, state: &State) -> BTreeSet<JobId> {
        if state.shelf.page_count() == 0 {
            return BTreeSet::new();
        }
        if let Self::Submit { request, .. } | Self::SubmitFromStream { request, .. } = self {
            dependencies(&request.depends_on)
        } else if let Self::Rerun { request, .. } = self {
            let mut jobs = dependencies(&request.depends_on);
            jobs.extend(job(&request.job_id));
            // An earlier request under this key is answered with the name of its job.
            let key = request.idempotency_key.as_deref().and_then(|key| state.shelf.key(key));
            jobs.extend(key.map(|(job, _)| job));
            jobs
        } else if let Self::UpdateJob(request) = self {
            job(&request.job_id).into_iter().collect()
        } else if let Self::Tag(request) = self {
            Tagged::job(&request.resource_arn).into_iter().collect()
        } else if let Self::Untag(request) = self {
            Tagged::job(&request.resource_arn).into_iter().collect()
        } else {
            BTreeSet::new()
        }
    }
}

/// The jobs that `dependsOn` names.
pub fn dependencies(entries: &[JobDependency]) -> BTreeSet<JobId> {
    entries.iter().filter_map(|entry| job(entry.job_id.as_deref()?)).collect()
}

fn job(text: &str) -> Option<JobId> {
    arn::plain(text).parse::<JobRef>().ok().map(|id| id.job)
}
