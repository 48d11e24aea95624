//! Everything with I/O around the core: disk, NATS, clock, signals, output of jobs.

pub mod agent;
pub mod ballast;
pub mod clock;
pub mod directory;
pub mod event_loop;
pub mod executors;
pub mod gpus;
pub mod health;
pub mod inventory;
pub mod journal;
pub mod link;
pub mod log_budget;
pub mod log_key;
pub mod log_tail;
pub mod logs;
pub mod registration;
pub mod start;
