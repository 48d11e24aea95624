//! The gateway: turns AWS Batch's HTTP API into requests over NATS, and their answers back. Holds no
//! state and decides nothing about jobs, so that several may run side by side.
//!
//! A request's way: `server` (connections, limits, TLS) -> `router` (size, authentication, route) ->
//! `translate` (outer form to ours and back) -> `coordinator` (NATS).

mod auth;
pub mod config;
mod coordinator;
mod error;
mod logs;
mod operations;
mod router;
mod routes;
pub mod server;
mod tls;
mod translate;
