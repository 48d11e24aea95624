//! The Windrow coordinator: owns all decisions about jobs and agents.
//!
//! `core` decides, `scheduler` proposes, `view` answers questions, `actor` takes messages and gives
//! messages; all four are pure. `shell` connects them to NATS: journal, snapshots, requests, agents.

pub mod actor;
pub mod config;
pub mod core;
pub mod scheduler;
pub mod shell;
pub mod view;
