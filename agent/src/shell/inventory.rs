//! What this host has.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use windrow_common::units::{MiB, MilliCpu, Resources};
use windrow_common::wire::agent::Gpu;

use crate::config::ResourcesConfig;

/// What jobs may use: configured values, or what the host (or the container the agent runs in) has,
/// less the reserve.
pub fn resources(config: &ResourcesConfig, gpus: &[Gpu]) -> Resources {
    let cpu = config.vcpus.map_or_else(host_cpu, |vcpus| vcpus.0);
    let memory = config
        .memory
        .map_or_else(|| MiB(host_memory().0.saturating_sub(config.memory_reserve)), MiB);
    Resources { cpu, memory, gpu: u32::try_from(gpus.len()).unwrap_or(u32::MAX) }
}

/// Processor architecture as AWS Batch spells it.
pub fn architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "X86_64".to_owned(),
        "aarch64" => "ARM64".to_owned(),
        other => other.to_uppercase(),
    }
}

/// The host's name.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Load average over one minute, in hundredths.
pub fn load() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let digits: String =
        text.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn host_cpu() -> MilliCpu {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    MilliCpu(u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(1000))
}

fn host_memory() -> MiB {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let bytes = System::new_with_specifics(kind).map_or(0, |system| {
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
        system.total_memory().min(limit)
    });
    MiB(u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
}
