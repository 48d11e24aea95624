//! Orders from the coordinator to one agent, kept in order on the agent's lease subject.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, LeaseId, Name};
use crate::units::Resources;

/// One message on an agent's lease subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMessage {
    /// [`super::VERSION`] of the sender.
    pub version: u16,
    /// The coordinator's term: agents ignore terms lower than the highest seen.
    pub term: u64,
    /// The agent's session this is meant for; others are ignored.
    pub session: u64,
    /// Job specs that the orders below name and this session has not been sent yet.
    pub specs: Vec<(SpecDigest, TaskSpec)>,
    /// To be carried out in this order.
    pub orders: Vec<Order>,
}

/// What an agent is told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Run these children when they fit.
    Run(Lease),
    /// Stop what runs of this lease and forget what has not started; report each child.
    Stop(Stop),
    /// The reports of this session up to this number are journalled: forget them.
    Confirm {
        /// Number of the last confirmed report.
        upto: u64,
    },
    /// Take no new work and hand back what has not started.
    Drain,
    /// Take work again.
    Undrain,
}

/// One assignment of children of one job to one agent.
///
/// All children are in the same attempt. The agent starts them in rising order as they fit, each
/// with its own attempt, result and log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The lease; its number is the generation that fences late results.
    pub id: LeaseId,
    /// The job or array parent.
    pub job: JobId,
    /// The array's size; absent for a single job, whose only child has index 0.
    pub array_size: Option<u32>,
    /// Index of the first child.
    pub first: u32,
    /// Number of children from `first` on, at least 1.
    pub count: u32,
    /// Attempt number of every child, from 1.
    pub attempt: u32,
    /// What to run.
    pub spec: SpecDigest,
    /// What each child needs while it runs.
    pub resources: Resources,
    /// Limit of each child's run time, from its start.
    pub timeout_seconds: Option<u32>,
    /// The job's queue, for the job's environment.
    pub queue: Name,
    /// The agent's compute environment, for the job's environment.
    pub compute_environment: Name,
    /// Set when the children are nodes of a multi-node parallel job.
    #[serde(default)]
    pub nodes: Option<Nodes>,
}

/// What a node of a multi-node parallel job must know of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// How many there are.
    pub count: u32,
    /// Index of the main node.
    pub main: u32,
    /// Where the main node's host is reached by the others; absent when its agent does not know.
    pub main_address: Option<String>,
}

/// Ends children of a lease early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The lease.
    pub lease: LeaseId,
    /// The children, as (first, count).
    pub children: Vec<(u32, u32)>,
}

/// First 16 bytes of the SHA-256 of a [`TaskSpec`]'s encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(u128);

impl std::fmt::Debug for SpecDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an attempt runs, after merging definition, overrides and parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The container image; absent: a plain process on the host.
    pub image: Option<String>,
    /// Program and arguments; empty: the image's own command.
    pub command: Vec<String>,
    /// Variables the user asked for, in order, without the `AWS_BATCH_` ones.
    pub environment: Vec<(String, String)>,
    /// User name or id, `user` or `user:group`.
    pub user: Option<String>,
    /// Directory to run in; absent: a fresh scratch directory, or the image's.
    pub working_directory: Option<String>,
    /// Host directories shown in the container.
    pub mounts: Vec<Mount>,
    /// Whether the container's own file system is read-only.
    pub readonly_root: bool,
    /// Whether the container has the host's privileges.
    pub privileged: bool,
}

impl TaskSpec {
    /// Names this spec.
    pub fn digest(&self) -> SpecDigest {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(crate::codec::to_msgpack(self));
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        SpecDigest(u128::from_be_bytes(first))
    }
}

/// A host directory shown inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the host; absent: an anonymous volume that goes with the container.
    pub source: Option<String>,
    /// Path in the container.
    pub target: String,
    /// Whether the job cannot write to it.
    pub read_only: bool,
}
