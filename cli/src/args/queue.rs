//! `queue ...`.

use clap::{Args, Subcommand};
use windrow_common::api::resources::{
    JobStateTimeLimitAction, TimeLimitActionKind, TimeLimitState,
};
use windrow_common::ids::Name;

use super::TagWords;

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Create a queue.
    Create {
        /// Its name.
        name: Name,
        /// 0 to 1000; higher goes first.
        #[arg(long, default_value_t = 100)]
        priority: u32,
        /// Compute environments in the order to be tried, separated by commas.
        #[arg(long = "ce", value_delimiter = ',', default_value = "default", value_name = "NAMES")]
        compute_environments: Vec<String>,
        /// Take no submissions yet.
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        words: QueueWords,
        #[command(flatten)]
        tags: TagWords,
    },
    /// List queues.
    List,
    /// Show queues.
    Get {
        /// Names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Change a queue; what no flag names stays.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
        "priority", "compute_environments", "enable", "disable", "policy", "time_limit_action",
        "no_time_limit_actions",
    ]))]
    Update {
        /// Its name.
        name: String,
        /// 0 to 1000; higher goes first.
        #[arg(long)]
        priority: Option<u32>,
        /// Compute environments in the order to be tried, separated by commas.
        #[arg(long = "ce", value_delimiter = ',', value_name = "NAMES")]
        compute_environments: Vec<String>,
        /// Take submissions.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Take no more submissions; what is queued still runs.
        #[arg(long)]
        disable: bool,
        #[command(flatten)]
        words: QueueWords,
        /// Take all time limit actions away.
        #[arg(long, conflicts_with = "time_limit_action")]
        no_time_limit_actions: bool,
    },
    /// Show which jobs of a queue go next, and what it uses.
    Front {
        /// Its name.
        name: String,
    },
    /// Say what the jobs of a queue, or of all queues, wait for.
    Why {
        /// Its name. Default: all queues.
        name: Option<String>,
    },
    /// Delete a disabled queue. Its jobs are terminated, and it is gone when the last has ended.
    Delete {
        /// Its name.
        name: String,
    },
}

/// What a queue may have from the start or get later.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueueWords {
    /// Scheduling policy. A queue created without one never has one; one that has it can only
    /// exchange it for another of the same kind.
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// End a job that has stood first and could not start, with this reason, for so long: CANCEL it
    /// (the default), or TERMINATE. REASON is what its status reason begins with, such as
    /// `MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT`. May be given more than once; those a queue has
    /// are replaced.
    #[arg(long, value_parser = parse_time_limit, value_name = "REASON=SECONDS[:ACTION]")]
    pub(crate) time_limit_action: Vec<JobStateTimeLimitAction>,
}

fn parse_time_limit(text: &str) -> Result<JobStateTimeLimitAction, String> {
    let (reason, limit) =
        super::parse_pair(text).map_err(|_| "use REASON=SECONDS[:ACTION]".to_owned())?;
    let (seconds, action) = limit.split_once(':').unwrap_or((&limit, "CANCEL"));
    let seconds: u32 = seconds.parse().map_err(|_| "SECONDS is a whole number".to_owned())?;
    let action = match action.to_ascii_uppercase().as_str() {
        "CANCEL" => TimeLimitActionKind::Cancel,
        "TERMINATE" => TimeLimitActionKind::Terminate,
        _ => return Err("ACTION is CANCEL or TERMINATE".to_owned()),
    };
    Ok(JobStateTimeLimitAction {
        reason,
        state: TimeLimitState::Runnable,
        max_time_seconds: seconds,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_has_a_reason_seconds_and_perhaps_an_action() {
        let limit = |text| parse_time_limit(text).unwrap();
        let read = limit("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT=60:terminate");
        assert_eq!(read.reason, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT");
        assert_eq!((read.max_time_seconds, read.action), (60, TimeLimitActionKind::Terminate));
        assert_eq!(limit("ACTION_REQUIRED=60").action, TimeLimitActionKind::Cancel);
        for bad in ["A", "A=", "=60", "A=-1", "A=1m", "A=60:", "A=60:STOP"] {
            assert!(parse_time_limit(bad).is_err(), "{bad}");
        }
    }
}
