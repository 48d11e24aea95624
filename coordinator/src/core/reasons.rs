//! Reasons in AWS Batch's own words: clients and `evaluateOnExit` rules look for them.

/// Status reason of an attempt that ran to its end, well or not.
pub const ENDED: &str = "Essential container in task exited";
/// Status reason of an attempt that could not be started.
pub const START_FAILED: &str = "Task failed to start";
/// Status reason of an attempt that ran too long.
pub const TIMED_OUT: &str = "Job attempt duration exceeded timeout";
/// Status reason of a job whose dependency failed.
pub const DEPENDENCY_FAILED: &str = "Dependent Job failed";
/// Status reason of an array parent with a failed child.
pub const CHILD_FAILED: &str = "Array Child Job failed";
/// The container's reason when it ran out of memory.
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// Status reason of an attempt whose host was lost.
pub fn host_lost(agent: &windrow_common::ids::Name) -> String {
    format!("Host EC2 (instance {agent}) terminated.")
}
