//! What is kept of one child and of its attempts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::ContainerEnd;

/// One child's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Child {
    /// Never leased; whether it waits, may run or has failed is told by the range sets.
    Untried,
    /// May run again, but not before a time if there is one.
    Retrying {
        attempt: u32,
        charged: u32,
        #[serde(default)]
        not_before: Option<Timestamp>,
    },
    /// Leased, not known to run.
    Starting { lease: LeaseId, attempt: u32, charged: u32 },
    /// Runs.
    Running { lease: LeaseId, attempt: u32, charged: u32, started_at: Timestamp },
    /// Ended for good.
    Ended { succeeded: bool, attempt: u32, last: Attempt },
    /// A node of a multi-node job whose part in the attempt is over: what follows is decided for all
    /// nodes at once.
    Settled { attempt: u32, charged: u32, end: NodeEnd, last: Attempt },
}

/// How a node's part in an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeEnd {
    /// By itself, well.
    Succeeded,
    /// By itself, badly.
    Failed,
    /// It ran too long.
    TimedOut,
    /// It was stopped, or never started, because the attempt was over.
    Stopped,
    /// Its host was lost, or its agent gave it back: the attempt is over.
    Lost,
    /// It was stopped to make room for others: the attempt is over.
    Preempted,
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The agent's number.
    pub agent: u32,
    /// When it started; absent if it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its exit status.
    pub exit_code: Option<i32>,
    /// The job's status reason; absent: the normal one.
    pub status_reason: Option<Arc<str>>,
    /// The container's reason.
    pub reason: Option<Arc<str>>,
    /// Where its output ends.
    pub log_bytes: u64,
    /// How each of several containers ended; behind a pointer, because most attempts have one.
    #[serde(default)]
    pub containers: Option<Arc<Vec<ContainerEnd>>>,
}

/// Why and when children ended that were never tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeverRan {
    /// The status reason.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl Child {
    /// Attempt number and attempts charged so far, of a leased child.
    pub fn live(&self) -> Option<(u32, u32)> {
        match self {
            Self::Starting { attempt, charged, .. } | Self::Running { attempt, charged, .. } => {
                Some((*attempt, *charged))
            }
            Self::Untried | Self::Retrying { .. } | Self::Ended { .. } | Self::Settled { .. } => {
                None
            }
        }
    }

    /// Since when it runs, of a running child.
    pub fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Running { started_at, .. } => Some(*started_at),
            Self::Untried
            | Self::Retrying { .. }
            | Self::Starting { .. }
            | Self::Ended { .. }
            | Self::Settled { .. } => None,
        }
    }

    /// Until when it backs off, of a child that does.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self {
            Self::Retrying { not_before, .. } => *not_before,
            Self::Untried
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Ended { .. }
            | Self::Settled { .. } => None,
        }
    }

    /// The lease of a leased child.
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Starting { lease, .. } | Self::Running { lease, .. } => Some(*lease),
            Self::Untried | Self::Retrying { .. } | Self::Ended { .. } | Self::Settled { .. } => {
                None
            }
        }
    }
}
