//! A deterministic simulation of a whole cluster: coordinators, agents and clients, all with the real
//! deciding code, on a model of NATS, a virtual clock and one thread. One seed gives one run, always the
//! same. [`oracle`] judges.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each node takes of all messages and timers those that concern it"
)]

pub mod agent;
pub mod arguments;
pub mod bus;
pub mod client;
pub mod coordinator;
pub mod host;
pub mod names;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod runner;
pub mod trace;
pub mod world;

pub use trace::Detail;
pub use world::{Outcome, run, run_plan};
