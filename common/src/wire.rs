//! What travels between coordinator and agents, in MessagePack with field names. Append only:
//! fields are added with a default, variants are added at the end, nothing is renamed. Golden files
//! under `common/golden/` hold the bytes of each type.

pub mod agent;
pub mod container;
pub mod lease;

/// Version of the types in this module. A receiver refuses a higher one.
pub const VERSION: u16 = 1;
