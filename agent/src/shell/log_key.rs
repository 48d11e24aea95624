//! Names of log files. A name says everything needed to ship the file, so that output is shipped
//! also after the agent restarted and has long forgotten the attempt.

use windrow_common::ids::{JobId, LeaseId};
use windrow_common::wire::lease::{Lease, TaskSpec};

use crate::executor::AttemptKey;

/// At the end of the name of a file that several containers write to.
const SEVERAL: &str = "_several";

/// An attempt's output: which lease's child it is, and where it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The attempt.
    pub key: AttemptKey,
    /// Its job.
    pub job: JobId,
    /// Its number.
    pub attempt: u32,
    /// Whether several containers write to it: then a restarted agent counts in the file how much of
    /// each one's output it has, and no part of it may go before the attempt ends.
    pub several: bool,
}

impl LogKey {
    /// Of a lease's child.
    pub fn of(lease: &Lease, child: u32, spec: &TaskSpec) -> Self {
        let key = AttemptKey { lease: lease.id, child };
        let several = spec.containers.len() > 1;
        Self { key, job: lease.job, attempt: lease.attempt, several }
    }

    /// The file's name: `JOB_CHILD_ATTEMPT_LEASE.log`, of several containers
    /// `JOB_CHILD_ATTEMPT_LEASE_several.log`.
    pub fn file_name(&self) -> String {
        let AttemptKey { lease, child } = self.key;
        let several = if self.several { SEVERAL } else { "" };
        format!("{}_{child}_{}_{}{several}.log", self.job, self.attempt, lease.0)
    }

    /// Reads a file's name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".log")?;
        let (name, several) = name.strip_suffix(SEVERAL).map_or((name, false), |name| (name, true));
        let mut parts = name.split('_');
        let job = parts.next()?.parse().ok()?;
        let child = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok()?;
        let lease = LeaseId(parts.next()?.parse().ok()?);
        let key = AttemptKey { lease, child };
        parts.next().is_none().then_some(Self { key, job, attempt, several })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let key = AttemptKey { lease: LeaseId(9), child: 3 };
        let log = LogKey { key, job: JobId::from_u128(77), attempt: 2, several: false };
        assert_eq!(LogKey::from_file_name(&log.file_name()), Some(log));
        let several = LogKey { several: true, ..log };
        assert_eq!(LogKey::from_file_name(&several.file_name()), Some(several));
        assert_eq!(LogKey::from_file_name("x.log"), None);
        assert_eq!(LogKey::from_file_name(&format!("{}_1_1_1_1.log", log.job)), None);
    }
}
