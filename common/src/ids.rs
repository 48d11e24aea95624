//! Identifiers. Each is parsed once, at the edge; past it there are no raw strings.
//!
//! Every id that can become part of a NATS subject is drawn from a fixed alphabet (letters, digits,
//! `-`, `_`), so that a name can never widen a subject with `.`, `*` or `>`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a job id.
    #[error(
        "`{0}` is not a job id; a job id is a UUID, a child's id is `UUID:index`, a node's `UUID#index`"
    )]
    Job(String),
    /// Not a name.
    #[error("`{0}` is not a valid name; use 1 to 128 of the characters A-Z a-z 0-9 - _")]
    Name(String),
    /// Not a lease id.
    #[error("`{0}` is not a lease id; a lease id is `lease_` and a number")]
    Lease(String),
}

/// A job as AWS Batch shows it: a lower-case UUID. Version 7, so ids sort by time of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// Makes a new id from the clock and randomness. Edge only: the core receives ids.
    #[expect(clippy::disallowed_methods, reason = "the one place where job ids are made")]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Its last 32 bits, which are random in ids that were generated.
    pub fn random_bits(self) -> u32 {
        let [.., a, b, c, d] = self.0.into_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// An id from a number, for tests and fixtures.
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        // Only the hyphenated form: one job has one spelling.
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(Self(id)),
            Ok(_) | Err(_) => Err(Error::Job(text.to_owned())),
        }
    }
}

/// A job, one child of an array job, or one node of a multi-node parallel job: `UUID`, `UUID:index`
/// or `UUID#index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobRef {
    /// The job, or the array parent.
    pub job: JobId,
    /// The child's or node's index; absent for the job as a whole.
    pub child: Option<u32>,
    /// Whether the index is a node's.
    pub is_node: bool,
}

impl JobRef {
    /// A child of an array job.
    pub const fn child(job: JobId, index: u32) -> Self {
        Self { job, child: Some(index), is_node: false }
    }

    /// A node of a multi-node parallel job.
    pub const fn node(job: JobId, index: u32) -> Self {
        Self { job, child: Some(index), is_node: true }
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_node { '#' } else { ':' };
        match self.child {
            Some(child) => write!(f, "{}{mark}{child}", self.job),
            None => self.job.fmt(f),
        }
    }
}

impl FromStr for JobRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some(at) = text.find([':', '#']) else { return Ok(text.parse::<JobId>()?.into()) };
        let wrong = || Error::Job(text.to_owned());
        let job = text[..at].parse().map_err(|_| wrong())?;
        let index = text[at + 1..].parse().map_err(|_| wrong())?;
        let is_node = text[at..].starts_with('#');
        Ok(if is_node { Self::node(job, index) } else { Self::child(job, index) })
    }
}

impl From<JobId> for JobRef {
    fn from(job: JobId) -> Self {
        Self { job, child: None, is_node: false }
    }
}

/// A lease: one assignment of children to an agent. The number is the lease's generation, one
/// counter for the whole cluster that only rises: a child's later lease always has a higher one,
/// and a result that names an older lease is refused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease_{}", self.0)
    }
}

impl FromStr for LeaseId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let number = text.strip_prefix("lease_").and_then(|n| n.parse().ok());
        number.map(Self).ok_or_else(|| Error::Lease(text.to_owned()))
    }
}

/// A name of AWS Batch's alphabet: queue, compute environment, job definition, job, agent.
/// Always a single, literal subject token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(std::sync::Arc<str>);

/// Longest name, as AWS Batch has it.
pub const NAME_LENGTH_MAX: usize = 128;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let valid = (1..=NAME_LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(Error::Name(text.chars().take(200).collect()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_widen_a_subject() {
        for bad in ["", "a.b", "a.>", "*", "a b", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!("gpu-queue_1".parse::<Name>().unwrap().as_str(), "gpu-queue_1");
    }

    #[test]
    fn job_refs_round_trip_and_have_one_spelling() {
        let job = JobId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        for part in [JobRef::child(job, 7), JobRef::node(job, 7)] {
            assert_eq!(part.to_string().parse::<JobRef>().unwrap(), part);
        }
        assert_eq!(JobRef::node(job, 7).to_string(), format!("{job}#7"));
        assert_eq!(job.to_string().parse::<JobRef>().unwrap(), job.into());
        for bad in ["x", "0190000000007000800000000000000", "#1", ":1"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad}");
        }
        for end in [":", ":x", "#", "#x", "#1:2", ":1#2"] {
            assert!(format!("{job}{end}").parse::<JobRef>().is_err(), "{end}");
        }
        assert!("01900000000070008000000000000001".parse::<JobId>().is_err());
    }
}
