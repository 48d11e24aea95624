//! Logging set-up shared by the services. Jobs' own output never passes here.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Starts logging to standard error. `filter` is in `tracing`'s syntax, such as `info` or
/// `info,windrow_agent=debug`; `json` writes one object per line. Wrong filters are an error text.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| format!("log filter `{filter}`: {e}; use for example `info` or `debug`"))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(colour);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|e| format!("start logging: {e}"))
}
