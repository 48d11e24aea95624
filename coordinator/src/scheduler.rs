//! Which child goes to which agent next. A function of the state: [`Pass::next`] proposes one
//! placement, the core commits it, and the next proposal sees the state after it.
//!
//! Queues go by priority, then name; inside a queue the shares take turns ([`shares`]); inside a
//! share go retries, then higher scheduling priority, then the order of submission. Jobs are looked
//! at by *shape* (what a child needs): a shape that does not fit is out for the rest of its share's
//! turn, so a pass looks at the heads of shapes and never at the jobs behind them.
//!
//! What keeps a job back although there may be room is a [`Hold`]: it is passed over and takes
//! nobody's turn. The first shape of a queue that only lacks room keeps an agent ([`kept`]), so that
//! smaller jobs behind it fill in elsewhere, or there if they do not delay it.
//!
//! The same functions say why a job does not start: [`hold`] for the job, [`room::fit`] for each
//! agent, [`order::dispatch_order`] for who goes before.

pub mod explain;
mod gang;
pub mod hold;
mod kept;
pub mod order;
mod pass;
mod preempt;
pub mod room;
pub mod shares;

use windrow_common::ids::{JobId, Name};

pub use hold::{Hold, held_behind, hold, startable};
pub use kept::{Keeper, Kept, Reservation, Until, standing};
pub use pass::Pass;
pub use preempt::preemptions;
pub use room::{Unfit, fit};

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Up to `count` children of the job, as they come, on the agent.
    Children { job: JobId, agent: Name, count: u32 },
    /// All nodes of a multi-node job, each on its agent.
    Nodes { job: JobId, agents: Vec<Name> },
}

impl Placement {
    /// The job.
    pub fn job(&self) -> JobId {
        match self {
            Self::Children { job, .. } | Self::Nodes { job, .. } => *job,
        }
    }
}
