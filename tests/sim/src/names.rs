//! Names of the simulated cluster's streams and buckets.

use windrow_common::ids::Name;
use windrow_common::subjects::Subjects;

pub const JOURNAL: &str = "SIM_JOURNAL";
pub const SUBMIT: &str = "SIM_SUBMIT";
pub const LEASES: &str = "SIM_LEASE";
pub const REPORTS: &str = "SIM_REPORT";
pub const HISTORY: &str = "SIM_HISTORY";
pub const DEAD: &str = "SIM_DEAD";
pub const EVENTS: &str = "SIM_EVENTS";
pub const SNAPSHOTS: &str = "SIM_SNAPSHOTS";
pub const LEADER: &str = "SIM_LEADER";
/// Where the journal is published.
pub const JOURNAL_SUBJECT: &str = "sim.journal";
/// Where the marks of published events are.
pub const EVENTS_SUBJECT: &str = "sim.events";
/// The one compute environment and the queues on it.
pub const ENVIRONMENT: &str = "e";

/// The subjects of the cluster `sim`.
pub fn subjects() -> Subjects {
    Subjects::new(name("sim"))
}

/// A name that is known to be one.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name of ours is a name")
}

/// An agent's name.
pub fn agent(index: u8) -> Name {
    name(&format!("agent{index}"))
}
