//! What a job waits for.

use serde::{Deserialize, Serialize};
use windrow_common::api::jobs::{DependencyCondition, JobStatus};
use windrow_common::ids::JobId;

/// One entry of `dependsOn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// What has to end.
    pub on: Awaited,
    /// How it has to end.
    pub condition: DependencyCondition,
}

/// What has to end before a job, or a child of it, may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// The whole of a job: of an array every child.
    Job(JobId),
    /// One child of an array.
    Child(JobId, u32),
    /// For child i: child i of that array.
    NToN(JobId),
    /// For child i: child i - 1 of the same array.
    Sequential,
}

/// How far a dependency, or all of them, have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// Nothing more to wait for.
    Yes,
    /// What is waited for goes on.
    NotYet,
    /// It has ended in another way.
    Never,
}

impl Dependency {
    /// The job that has to get on; `own` for a dependency on the job itself.
    pub fn job(&self, own: JobId) -> JobId {
        match self.on {
            Awaited::Job(job) | Awaited::Child(job, _) | Awaited::NToN(job) => job,
            Awaited::Sequential => own,
        }
    }

    /// Whether it is about single children: children of the job may be at different points.
    pub fn is_by_child(&self) -> bool {
        matches!(self.on, Awaited::NToN(_) | Awaited::Sequential)
    }

    /// Whether it holds when what is waited for has this status.
    pub fn met(&self, status: JobStatus) -> Met {
        use DependencyCondition::{Any, Failed, Success};
        match (status, self.condition) {
            (JobStatus::Succeeded, Success | Any) | (JobStatus::Failed, Any | Failed) => Met::Yes,
            (JobStatus::Succeeded, Failed) | (JobStatus::Failed, Success) => Met::Never,
            (
                JobStatus::Submitted
                | JobStatus::Pending
                | JobStatus::Runnable
                | JobStatus::Starting
                | JobStatus::Running,
                _,
            ) => Met::NotYet,
        }
    }
}
