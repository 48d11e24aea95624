//! All decisions about jobs, attempts and agents: plain synchronous functions over plain data. No
//! I/O, no clock, no randomness in here; ids and times come inside the commands.
//!
//! [`decide`] reads the state and says what would happen; [`apply`] makes it so. Both sides of the
//! journal use the same [`apply`]: the leader right after deciding (it gives nothing out before the
//! journal has the events), and whoever replays.

pub mod alarms;
mod apply;
pub mod arn;
pub mod blocked;
pub mod children;
mod commands;
pub mod consumables;
pub mod deadlines;
pub mod disconnect;
pub mod event;
pub mod find;
pub mod finished;
pub mod index;
pub mod invariants;
pub mod limits;
pub mod listing;
pub mod policies;
pub mod quota;
pub mod reasons;
pub mod retry;
pub mod seldom;
pub mod services;
pub mod shelf;
pub mod spec;
pub mod state;
pub mod tags;
pub mod usage;

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod world;

pub use apply::apply;
pub use commands::{
    Answer, Command, Decision, NewAccessKey, ServiceCommand, Shelve, decide, dependencies,
};
pub use deadlines::next_deadline;
pub use state::State;
