//! `windrow doctor`: looks at everything a cluster depends on and says what is wrong and what to do.

mod audit;
mod cluster;
mod host;
mod http;
mod nats;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::context::Context;
use crate::failure::{Exit, Result};
use crate::output::{Answer, Grid, Outcome, View};

/// How one thing looked at is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    Ok,
    /// It cannot be seen from here.
    Unknown,
    /// It works, and may not for long.
    Warning,
    /// It does not work, or may lose something.
    Failure,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    check: &'static str,
    verdict: Verdict,
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, verdict, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// All that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    checks: Vec<Check>,
}

/// Exit code 1 if anything is a failure.
pub(super) async fn run(context: &Context, args: DoctorArgs) -> Result<Outcome> {
    let mut report = examine(context, args.nats_monitor.as_deref()).await;
    if args.audit {
        report.checks.extend(audit::look(context).await);
    }
    let is_bad = report.checks.iter().any(|check| check.verdict == Verdict::Failure);
    let exit = if is_bad { Exit::Error } else { Exit::Done };
    Ok(Outcome { answer: Some(answer(&report)), exit })
}

/// Looks at everything; what cannot be reached is a finding like any other.
pub(super) async fn examine(context: &Context, monitor: Option<&str>) -> Report {
    let mut checks = Vec::new();
    match context.client().await {
        Ok(client) => {
            checks.extend(nats::server(&client).await);
            checks.push(nats::disk_writes(context, &client, monitor).await);
            checks.extend(nats::streams(&client).await);
            checks.extend(cluster::coordinator(&client).await);
            checks.extend(cluster::agents(&client).await);
        }
        Err(failure) => checks.push(
            Check::new("nats", Verdict::Failure, failure.message.clone())
                .hint(failure.hint.unwrap_or_default()),
        ),
    }
    checks.extend(host::look(context).await);
    Report { checks }
}

fn answer(report: &Report) -> Answer {
    let row = |check: &Check| {
        let verdict = format!("{:?}", check.verdict).to_uppercase();
        let hint = check.hint.as_deref().map_or(String::new(), |hint| format!("; {hint}"));
        vec![check.check.to_owned(), verdict, format!("{}{hint}", check.detail)]
    };
    let rows = report.checks.iter().map(row).collect();
    let wrong = report.checks.iter().filter(|check| check.verdict > Verdict::Unknown);
    let names = wrong.map(|check| check.check.to_owned()).collect();
    let view = View::Grid(Grid::new(&["CHECK", "VERDICT", "DETAIL"], rows), "nothing looked at");
    Answer::list(report, "checks", names, view)
}
