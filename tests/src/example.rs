//! The lambda phage example, run in each of the ways it can be.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{self, Finished};

/// Where the example is.
pub fn directory() -> PathBuf {
    program::root().join("deploy/examples/lambda-phage")
}

/// What a run found.
#[derive(Debug, PartialEq, Eq)]
pub struct Findings {
    /// `result.txt`: reads, aligned reads, variants.
    pub figures: String,
    /// The records of the VCF file, without its header, which names paths and commands.
    pub variants: Vec<String>,
}

impl Findings {
    /// What lies in the directory of a run.
    pub fn read(directory: &Path) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name))
                .unwrap_or_else(|error| panic!("{name} in {}: {error}", directory.display()))
        };
        let variants = read("variants.vcf");
        let records = variants.lines().filter(|line| !line.starts_with('#'));
        Self { figures: read("result.txt"), variants: records.map(str::to_owned).collect() }
    }

    /// What the commands find without Windrow.
    pub fn by_hand(work: &Path) -> Self {
        let script = directory().join("by-hand.sh");
        Finished::run(Command::new(script).arg(work)).ok();
        Self::read(work)
    }
}
