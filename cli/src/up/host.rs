//! What `windrow up` needs to know of the machine: where programs are, and how much each agent may
//! offer when several share it.

use std::ffi::OsString;
use std::path::PathBuf;

use windrow_common::units::{MiB, MilliCpu, Resources};

/// Share of the memory left to the system when several agents divide the rest: one tenth.
const MEMORY_RESERVE_DIVISOR: u64 = 10;

/// Where programs are looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// Directory of this program.
    pub(super) beside: Option<PathBuf>,
    /// The `PATH` variable.
    pub(super) path: Option<OsString>,
}

impl Variables {
    pub(super) fn read() -> Self {
        let own = std::env::current_exe().ok();
        let beside = own.and_then(|program| Some(program.parent()?.to_owned()));
        Self { beside, path: std::env::var_os("PATH") }
    }
}

/// The program beside this one, else on PATH.
pub(super) fn find_program(name: &str, variables: &Variables) -> Option<PathBuf> {
    let path = variables.path.iter().flat_map(std::env::split_paths);
    let mut places = variables.beside.iter().cloned().chain(path);
    places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()))
}

/// What each of `agents` may offer when they divide this machine; none when it cannot be found out.
pub(super) fn share(agents: u32) -> Option<Resources> {
    let cores = std::thread::available_parallelism().ok()?.get();
    let memory = memory_total(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    divide(u32::try_from(cores).ok()?, memory, agents)
}

/// Total memory in MiB, from the text of `/proc/meminfo`.
fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

fn divide(cores: u32, memory: u64, agents: u32) -> Option<Resources> {
    let cpu = cores.checked_mul(1000)?.checked_div(agents)?;
    let usable = memory - memory / MEMORY_RESERVE_DIVISOR;
    let memory = u32::try_from(usable.checked_div(agents.into())?).ok()?;
    Some(Resources { cpu: MilliCpu(cpu), memory: MiB(memory), gpu: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_divide_the_machine() {
        assert_eq!(divide(2, 8000, 4), Some(Resources::new(500, 1800)));
        assert_eq!(divide(2, 8000, 0), None);
        assert_eq!(memory_total("MemTotal:       8388608 kB\nMemFree: 1 kB\n"), Some(8192));
        assert_eq!(memory_total("nonsense"), None);
    }

    #[test]
    fn programs_beside_ours_come_first() {
        let (own, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let variables = Variables {
            beside: Some(own.path().to_owned()),
            path: Some(path.path().as_os_str().to_owned()),
        };
        assert_eq!(find_program("tool", &variables), None);
        std::fs::write(path.path().join("tool"), "").unwrap();
        assert_eq!(find_program("tool", &variables), Some(path.path().join("tool")));
        std::fs::write(own.path().join("tool"), "").unwrap();
        assert_eq!(find_program("tool", &variables), Some(own.path().join("tool")));
    }
}
