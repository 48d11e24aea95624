//! Amounts with their unit in the type.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Processor time in thousandths of a core (vCPU 1 is 1000).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

/// Memory in mebibytes (2^20 bytes).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MiB(pub u32);

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vcpus(self.0.into()))
    }
}

/// Thousandths of a core as people write vCPUs: `2`, `0.25`. For sums, which [`MilliCpu`] does not
/// hold.
pub fn vcpus(milli_cpu: u64) -> String {
    let text = format!("{}.{:03}", milli_cpu / 1000, milli_cpu % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an attempt needs, or what an agent has. Two of equal value are one *shape*.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Resources {
    /// Processor.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: MiB,
    /// Whole GPUs.
    #[serde(default)]
    pub gpu: u32,
}

impl Resources {
    /// From thousandths of a core and MiB, without GPUs.
    pub const fn new(milli_cpu: u32, mib: u32) -> Self {
        Self { cpu: MilliCpu(milli_cpu), memory: MiB(mib), gpu: 0 }
    }

    /// The same with this many GPUs.
    #[must_use]
    pub const fn with_gpu(self, gpu: u32) -> Self {
        Self { gpu, ..self }
    }

    /// How many of `need` go into this, at most `limit`. A zero in `need` puts no bound.
    pub fn count_of(self, need: Self, limit: u32) -> u32 {
        let by_cpu = self.cpu.0.checked_div(need.cpu.0).unwrap_or(limit);
        let by_memory = self.memory.0.checked_div(need.memory.0).unwrap_or(limit);
        let by_gpu = self.gpu.checked_div(need.gpu).unwrap_or(limit);
        by_cpu.min(by_memory).min(by_gpu).min(limit)
    }

    /// Whether `need` goes into this.
    pub fn fits(self, need: Self) -> bool {
        need.cpu <= self.cpu && need.memory <= self.memory && need.gpu <= self.gpu
    }

    /// The sum; saturates, so that a sum of large needs stays "too much".
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::new(
            self.cpu.0.saturating_add(other.cpu.0),
            self.memory.0.saturating_add(other.memory.0),
        )
        .with_gpu(self.gpu.saturating_add(other.gpu))
    }

    /// What is left, zero where `other` is larger.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self::new(
            self.cpu.0.saturating_sub(other.cpu.0),
            self.memory.0.saturating_sub(other.memory.0),
        )
        .with_gpu(self.gpu.saturating_sub(other.gpu))
    }

    /// Of each resource by itself, the larger amount.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            gpu: self.gpu.max(other.gpu),
        }
    }

    /// Of each resource by itself, the smaller amount.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
            gpu: self.gpu.min(other.gpu),
        }
    }

    /// `count` times this; saturates.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self::new(self.cpu.0.saturating_mul(count), self.memory.0.saturating_mul(count))
            .with_gpu(self.gpu.saturating_mul(count))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vCPU, {} MiB", self.cpu, self.memory)?;
        match self.gpu {
            0 => Ok(()),
            1 => f.write_str(", 1 GPU"),
            more => write!(f, ", {more} GPUs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_display() {
        let host = Resources::new(4000, 8192);
        assert_eq!(host.count_of(Resources::new(1000, 4096), 10), 2);
        assert_eq!(host.count_of(Resources::new(0, 0), 10), 10);
        assert_eq!(host.count_of(Resources::new(500, 1), 3), 3);
        assert_eq!([0, 1_500, 10_000].map(vcpus), ["0", "1.5", "10"]);
        assert_eq!(vcpus(5_000_000_000_250), "5000000000.25");
        assert_eq!(Resources::new(250, 64).to_string(), "0.25 vCPU, 64 MiB");
        assert_eq!(host.less(Resources::new(5000, 1)), Resources::new(0, 8191));
    }

    #[test]
    fn gpus_count_like_the_rest() {
        let (host, need) =
            (Resources::new(8000, 8192).with_gpu(4), Resources::new(1000, 1).with_gpu(2));
        assert_eq!(host.count_of(need, 10), 2);
        assert!(host.fits(need) && !Resources::new(8000, 8192).fits(need));
        assert_eq!(host.less(need.times(2)).gpu, 0);
        assert_eq!(need.plus(need).gpu, 4);
        assert_eq!(need.to_string(), "1 vCPU, 1 MiB, 2 GPUs");
    }
}
