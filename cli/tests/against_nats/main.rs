//! The program against a real NATS server, with a small responder in the place of the coordinator:
//! only what the CLI itself decides is tested here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must say so")]

mod jobs;
mod logs;
mod program;
mod prompt;
mod resources;
mod support;
