//! Chaos with real processes: a cluster over network namespaces, faults done to it, the history of
//! what clients saw and of what ran, and the checker that judges it.
//!
//! `net`, `clock` and `node` know namespaces and processes only, `rig` puts a cluster of them together, `client`
//! and `load` use it as users do, `truth` is what attempts write about themselves, `collect` gathers
//! all of that into a `history`, and `check` judges it without looking at anything else.

pub mod check;
pub mod client;
pub mod clock;
pub mod collect;
pub mod history;
pub mod load;
pub mod net;
pub mod node;
pub mod random;
pub mod rig;
pub mod truth;

pub use net::Net;
pub use rig::{Options, Rig};
