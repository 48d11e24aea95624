//! Names of log files. A name says everything needed to ship the file, so that output is shipped
//! also after the agent restarted and has long forgotten the attempt.

use windrow_common::ids::{JobId, LeaseId};

use crate::executor::AttemptKey;

/// An attempt's output: which lease's child it is, and where it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The attempt.
    pub key: AttemptKey,
    /// Its job.
    pub job: JobId,
    /// Its number.
    pub attempt: u32,
}

impl LogKey {
    /// The file's name: `JOB_CHILD_ATTEMPT_LEASE.log`.
    pub fn file_name(&self) -> String {
        let AttemptKey { lease, child } = self.key;
        format!("{}_{child}_{}_{}.log", self.job, self.attempt, lease.0)
    }

    /// Reads a file's name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".log")?.split('_');
        let job = parts.next()?.parse().ok()?;
        let child = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok()?;
        let lease = LeaseId(parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self { key: AttemptKey { lease, child }, job, attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let key = AttemptKey { lease: LeaseId(9), child: 3 };
        let log = LogKey { key, job: JobId::from_u128(77), attempt: 2 };
        assert_eq!(LogKey::from_file_name(&log.file_name()), Some(log));
        assert_eq!(LogKey::from_file_name("x.log"), None);
        assert_eq!(LogKey::from_file_name(&format!("{}_1_1_1_1.log", log.job)), None);
    }
}
