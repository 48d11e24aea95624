//! Benchmarks of the real programs: `windrow [NAME...] [OPTION...]`, by `tests/bench.sh`.
//!
//! Each one starts a cluster of its own and measures it side by side with a floor: what the machine
//! can do without Windrow. Others may use the machine at the same time, so ratios within one run are
//! what counts, and every table says how busy the others were.
//!
//! The same program is also the floor's process.

mod agents;
mod array;
mod control;
mod cpu;
mod docker;
mod floor;
mod fsync;
mod http;
mod latency;
mod machine;
mod options;
mod queries;
mod recovery;
mod report;
mod rig;
mod statistics;
mod submit;
mod zero;

use options::{Bench, Mode, Options};
use report::Results;

fn main() -> anyhow::Result<()> {
    match options::parse(std::env::args().skip(1))? {
        Mode::Spawn { count, threads } => floor::spawn_all(count, threads),
        Mode::Measure(options) => measure(&options),
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let mut results = Results::new(options)?;
    // One thread: the client is part of the system measured and should not look like more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for bench in &options.benches {
        eprintln!("==> {}", bench.name());
        match bench {
            Bench::Array => results.array = Some(runtime.block_on(array::run(options))?),
            Bench::Control => results.control = Some(runtime.block_on(control::run(options))?),
            Bench::Latency => results.latency = Some(runtime.block_on(latency::run(options))?),
            Bench::Http => results.http = Some(runtime.block_on(http::run(options))?),
            Bench::Agents => results.agents = Some(runtime.block_on(agents::run(options))?),
            Bench::Docker => results.docker = Some(runtime.block_on(docker::run(options))?),
            Bench::Fsync => results.fsync = Some(runtime.block_on(fsync::run(options))?),
            Bench::Queries => results.queries = Some(runtime.block_on(queries::run(options))?),
            Bench::Recovery => results.recovery = Some(runtime.block_on(recovery::run(options))?),
            Bench::SubmitMillion => results.submit = Some(runtime.block_on(submit::run(options))?),
        }
        // After each, since all of them take half an hour.
        if let Some(prefix) = &options.results {
            results.write(prefix)?;
        }
    }
    print!("{}", results.to_markdown());
    Ok(())
}
