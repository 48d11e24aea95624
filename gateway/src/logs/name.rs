//! Names of log streams: `DEFINITION/default/JOB[-INDEX]-ATTEMPT`, as DescribeJobs gives them. Pure.

use windrow_common::ids::{JobId, JobRef};

use super::page::Attempt;

/// Between a definition's name and the rest.
const MIDDLE: &str = "/default/";
/// Length of a job's id.
const ID_LENGTH: usize = 36;

/// What a job runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Array,
    Nodes,
}

/// What of a job is in the names of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Name of its definition.
    pub(super) definition: String,
    pub(super) kind: Kind,
}

impl Job {
    /// Name of the stream of this attempt, which is of this job.
    pub(super) fn stream(&self, of: Attempt) -> String {
        let Attempt { job, child, attempt } = of;
        match self.kind {
            Kind::Single => format!("{}{MIDDLE}{job}-{attempt}", self.definition),
            Kind::Array | Kind::Nodes => {
                format!("{}{MIDDLE}{job}-{child}-{attempt}", self.definition)
            }
        }
    }

    /// What the attempt is of, as DescribeJobs takes it.
    pub(super) fn reference(&self, of: Attempt) -> JobRef {
        match self.kind {
            Kind::Single => of.job.into(),
            Kind::Array => JobRef::child(of.job, of.child),
            Kind::Nodes => JobRef::node(of.job, of.child),
        }
    }
}

/// The attempt that a name is of, if it is one that we gave; the definition is still to be compared.
pub(super) fn attempt(name: &str) -> Option<Attempt> {
    let job = job(name)?;
    let (_, rest) = name.rsplit_once(MIDDLE)?;
    let numbers = rest.get(ID_LENGTH..)?.strip_prefix('-')?;
    let (child, attempt) = match numbers.split_once('-') {
        Some((child, attempt)) => (child.parse().ok()?, attempt),
        None => (0, numbers),
    };
    Some(Attempt { job, child, attempt: attempt.parse().ok()? })
}

/// The job that a name, or the beginning of one, is of.
pub(super) fn job(prefix: &str) -> Option<JobId> {
    let (_, rest) = prefix.rsplit_once(MIDDLE)?;
    rest.get(..ID_LENGTH)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let job = JobId::from_u128(77);
        let of = Attempt { job, child: 0, attempt: 2 };
        let single = Job { definition: "d".to_owned(), kind: Kind::Single };
        assert_eq!(single.stream(of), format!("d/default/{job}-2"));
        assert_eq!(attempt(&single.stream(of)), Some(of));
        let array = Job { kind: Kind::Array, ..single.clone() };
        let child = Attempt { child: 13, ..of };
        assert_eq!(array.stream(child), format!("d/default/{job}-13-2"));
        assert_eq!(attempt(&array.stream(child)), Some(child));
        assert_eq!(array.reference(child).to_string(), format!("{job}:13"));
        let nodes = Job { kind: Kind::Nodes, ..single };
        assert_eq!(nodes.reference(child).to_string(), format!("{job}#13"));
        assert_eq!(super::job(&format!("d/default/{job}")), Some(job));
    }

    #[test]
    fn other_names_are_none() {
        let id = JobId::from_u128(77);
        let names = [
            "",
            "d/default/x",
            "d/default/",
            &format!("d/default/{id}"),
            &format!("d/default/{id}-"),
            &format!("d/default/{id}-x"),
            &format!("{id}-1"),
            &format!("d/default/{id}-1-2-3"),
            &format!("d/default/{id}:1-1"),
            "d/default/ä",
        ];
        for name in names {
            assert_eq!(attempt(name), None, "{name}");
        }
    }
}
