//! What every part of Windrow shares: ids, units, the API types, the wire types between coordinator
//! and agents, subjects, stream settings, configuration and telemetry.
//!
//! Nothing in here decides anything about jobs and nothing does I/O beyond reading configuration.
#![warn(missing_docs)]

pub mod access;
pub mod api;
pub mod codec;
pub mod config;
pub mod ids;
pub mod sabotage;
pub mod streams;
pub mod subjects;
pub mod telemetry;
pub mod time;
pub mod units;
pub mod wire;
