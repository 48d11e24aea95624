//! Whether the coordinator's memory is what its journal says.

use std::time::Duration;

use windrow_common::api::audit::{AuditCluster, AuditClusterResponse};

use super::{Check, Verdict};
use crate::context::Context;
use crate::failure::Result;

const NAME: &str = "audit";
/// A state with a million jobs takes about half a minute.
const LIMIT: Duration = Duration::from_secs(300);

/// Asks the coordinator to look.
pub(super) async fn look(context: &Context) -> Vec<Check> {
    match ask(context).await {
        Ok(answer) => findings(&answer),
        Err(failure) => vec![
            Check::new(NAME, Verdict::Unknown, failure.message)
                .hint(failure.hint.unwrap_or_default()),
        ],
    }
}

async fn ask(context: &Context) -> Result<AuditClusterResponse> {
    context.patient_client(LIMIT).await?.call(&AuditCluster {}).await
}

fn findings(answer: &AuditClusterResponse) -> Vec<Check> {
    let violation = |what: &String| {
        Check::new(NAME, Verdict::Failure, what.clone())
            .hint("keep a copy of the streams and send `windrow debug bundle` to the maintainers")
    };
    let found: Vec<Check> = answer.violations.iter().map(violation).collect();
    if !found.is_empty() {
        return found;
    }
    let compared = if answer.is_compared_whole { "byte by byte" } else { "by counts and numbers" };
    let detail = format!(
        "{} jobs and {} leases, replayed from snapshot {} to journal message {}, are as in memory ({compared})",
        answer.jobs, answer.leases, answer.snapshot_sequence, answer.journal_sequence
    );
    vec![Check::new(NAME, Verdict::Ok, detail)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_violation_is_a_failure() {
        let violations = vec!["INV-9: a".to_owned(), "INV-16: b".to_owned()];
        let found = findings(&AuditClusterResponse { violations, ..Default::default() });
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|check| check.verdict == Verdict::Failure));
        let fine = findings(&AuditClusterResponse { jobs: 3, ..Default::default() });
        assert!(fine[0].verdict == Verdict::Ok && fine[0].detail.starts_with("3 jobs"), "{fine:?}");
    }
}
