//! The coordinator's I/O: everything the core must not do. `leader` brings the parts up, `event_loop`
//! turns inputs into journalled events and their effects.

pub mod audit;
pub mod election;
pub mod event_loop;
pub mod event_stream;
pub mod history;
pub mod inputs;
pub mod journal;
pub mod leader;
pub mod leadership;
pub mod lease_streams;
pub mod memory;
pub mod nats;
pub mod outside;
pub mod phases;
mod read_only;
mod repair;
pub mod snapshot;
pub mod snapshot_task;
mod standby;
pub mod streams;
