//! The Windrow agent: takes leases from the coordinator and runs their children on this host.
//!
//! It decides nothing about other jobs or hosts. `core` holds what it knows and decides, without
//! I/O; `executor` runs attempts; `shell` connects both to NATS, disk and clock.

pub mod config;
pub mod core;
pub mod executor;
pub mod keeper;
#[cfg(test)]
mod malformed;
pub mod shell;
