//! What the end-to-end tests share: the real programs, a cluster of them in a directory of its own,
//! and waiting on conditions with a limit. Everything panics on failure, as tests want.

pub mod agent;
pub mod chaos;
pub mod cluster;
pub mod example;
pub mod image;
pub mod nats;
pub mod part;
pub mod program;
pub mod started;
pub mod wait;

pub use cluster::Cluster;
pub use wait::wait_until;
