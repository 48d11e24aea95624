//! Reasons in AWS Batch's own words: clients and `evaluateOnExit` rules look for them.

use windrow_common::api::jobs::DependencyCondition;

use super::state::{Awaited, Dependency};

/// Status reason of an attempt that ran to its end, well or not.
pub const ENDED: &str = "Essential container in task exited";
/// Status reason of an attempt that could not be started.
pub const START_FAILED: &str = "Task failed to start";
/// Status reason of an attempt that ran too long.
pub const TIMED_OUT: &str = "Job attempt duration exceeded timeout";
/// Status reason of a node that was stopped because its job's attempt was over.
pub const NODE_STOPPED: &str = "Stopped with the other nodes of its job";
/// Status reason of a job whose dependency failed.
pub const DEPENDENCY_FAILED: &str = "Dependent Job failed";
/// Status reason of an array parent with a failed child.
pub const CHILD_FAILED: &str = "Array Child Job failed";
/// Status reason of a job whose quota share was deleted.
pub const SHARE_DELETED: &str = "Quota share was deleted";
/// The container's reason when it ran out of memory.
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// Status reason of a job whose dependency ended otherwise than it waits for.
pub fn dependency_failed(dependency: &Dependency) -> String {
    if dependency.condition != DependencyCondition::Failed {
        return DEPENDENCY_FAILED.to_owned();
    }
    let awaited = match &dependency.on {
        Awaited::Job(job) => format!("job {job}"),
        Awaited::Child(job, child) => format!("job {job}:{child}"),
        Awaited::NToN(job) => format!("the child of the same index of job {job}"),
        Awaited::Sequential => "the child before it".to_owned(),
    };
    format!("{DEPENDENCY_FAILED} - {awaited} SUCCEEDED, and this one was to run if it FAILED")
}

/// How the status reason of an attempt begins that made room for another job.
pub const PREEMPTED: &str = "PREEMPTION_COMPLETED";

/// Status reason of an attempt that made room for another job.
pub fn preempted(preemption: &super::quota::Preemption) -> String {
    format!("{PREEMPTED}: made room for job {} of quota share {}", preemption.by, preemption.share)
}

/// Status reason of a job while it is being stopped to make room.
pub fn being_preempted(preemption: &super::quota::Preemption) -> String {
    format!(
        "PREEMPTION_IN_PROGRESS: makes room for job {} of quota share {}",
        preemption.by, preemption.share
    )
}

/// Status reason of a job that blocked its queue for too long; what was done with it, and the reason
/// for which it did not start.
pub fn time_limit(done: &str, reason: &str) -> String {
    format!("{done} by JobStateTimeLimit action due to reason: {reason}")
}

/// Status reason of an attempt whose host was lost.
pub fn host_lost(agent: &windrow_common::ids::Name) -> String {
    format!("Host EC2 (instance {agent}) terminated.")
}
