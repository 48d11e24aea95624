//! What the machine is, and how busy it was.

use std::fs;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

/// Facts to read figures by. Nothing in here says whose machine it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) processor: String,
}

impl Machine {
    /// Of this machine.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = |file: &str| fs::read_to_string(file).with_context(|| format!("read `{file}`"));
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&text("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.trim_end_matches(" kB").parse().context("MemTotal")?;
        let release = text("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            memory_mib: memory_kib / 1024,
            // Without what its builder added to the version.
            kernel: release.trim().split('-').next().unwrap_or_default().to_owned(),
            processor: field(&text("/proc/cpuinfo")?, "model name").unwrap_or_default(),
        })
    }
}

/// A look at the use of all cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    at: Instant,
    /// Seconds that the cores together were busy since the machine started.
    busy: f64,
    cores: f64,
}

impl Load {
    /// Now.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("read `/proc/stat`")?;
        let first = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guests are part of user.
        let ticks: Vec<f64> =
            first.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        anyhow::ensure!(ticks.len() == 8, "the first line of `/proc/stat` is `{first}`");
        let idle = ticks[3] + ticks[4];
        let cores = text.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1);
        Ok(Self {
            at: Instant::now(),
            busy: (ticks.iter().sum::<f64>() - idle) / super::cpu::TICKS_PER_SECOND,
            cores: f64::from(u32::try_from(cores).unwrap_or(1).max(1)),
        })
    }

    /// CPU seconds that everybody used since then.
    pub(crate) fn busy_until(self, now: Self) -> f64 {
        now.busy - self.busy
    }

    /// Share (0 to 1) of all cores that others used since then, when ours used `own` CPU seconds.
    pub(crate) fn others_until(self, now: Self, own: f64) -> f64 {
        let all = (now.at - self.at).as_secs_f64() * self.cores;
        ((self.busy_until(now) - own) / all).clamp(0.0, 1.0)
    }
}
