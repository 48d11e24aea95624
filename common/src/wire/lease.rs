//! Orders from the coordinator to one agent, kept in order on the agent's lease subject.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, LeaseId, Name};
use crate::units::Resources;
use crate::wire::agent::Executor;
use crate::wire::container::{ContainerSpec, Volume};

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

/// First 16 bytes of the SHA-256 of the encoding of a [`TaskSpec`], or of what holds one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(u128);

impl SpecDigest {
    /// Of a value's encoding.
    pub fn of<T: Serialize>(value: &T) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(crate::codec::to_msgpack(value));
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        Self(u128::from_be_bytes(first))
    }
}

impl std::fmt::Debug for SpecDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an attempt runs, after merging definition, overrides and parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// At least one, in the order in which they are started as far as their dependencies allow. A
    /// plain process is one without an image. All share one network, so they reach each other as
    /// `localhost`.
    pub containers: Vec<ContainerSpec>,
    /// What their mounts name.
    pub volumes: Vec<Volume>,
    /// Whether they use the host's network.
    pub host_network: bool,
    /// With whom they share memory and semaphores; absent: each has its own.
    pub ipc: Option<IpcMode>,
    /// With whom they share process numbers; absent: each has its own.
    pub pid: Option<PidMode>,
}

/// With whom containers share memory and semaphores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// With the host.
    Host,
    /// With the other containers of the task.
    Task,
    /// With nobody, and without `/dev/shm`.
    None,
}

/// With whom containers share process numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// With the host.
    Host,
    /// With the other containers of the task.
    Task,
}

impl TaskSpec {
    /// Of a single container or plain process, without volumes.
    pub fn single(container: ContainerSpec) -> Self {
        Self {
            containers: vec![container],
            volumes: Vec::new(),
            host_network: false,
            ipc: None,
            pid: None,
        }
    }

    /// How it has to be run.
    pub fn executor(&self) -> Executor {
        let is_process = self.containers.iter().all(|container| container.image.is_none());
        if is_process { Executor::Process } else { Executor::Docker }
    }

    /// Names this spec.
    pub fn digest(&self) -> SpecDigest {
        SpecDigest::of(self)
    }
}
