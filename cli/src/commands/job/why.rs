//! `windrow job why`.

use std::fmt::Write;

use windrow_common::api::explain::{ExplainJob, Explanation};
use windrow_common::ids::JobRef;
use windrow_common::units::vcpus;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, time_or_dash};

pub(super) async fn run(context: &Context, id: JobRef) -> Result<Answer> {
    let client = context.client().await?;
    let explanation = client.call(&ExplainJob { job_id: id.to_string() }).await?;
    let names = vec![explanation.code.to_string()];
    let text = details(&explanation);
    Ok(Answer::one(&explanation, names, text))
}

/// The reason first, then what there is to know beside it.
fn details(why: &Explanation) -> String {
    format!("{}  {}  {}\n{}", why.job_id, why.status, why.code, about(why))
}

/// The reason in a sentence and what there is to know beside it, of whichever job it is.
pub(crate) fn about(why: &Explanation) -> String {
    let mut text = format!("{}\n", why.message);
    let mut line = |key: &str, value: String| {
        writeln!(text, "{:<12}{value}", format!("{key}:")).expect("a string takes every write");
    };
    if let Some(hint) = &why.hint {
        line("Hint", hint.clone());
    }
    if why.since.is_some() {
        line("Since", time_or_dash(why.since));
    }
    for unmet in &why.unmet {
        line("Waits for", format!("{} {}", unmet.job_id, unmet.status));
    }
    if why.nodes_considered > 0 {
        let excluded = why.excluded.iter().map(|(reason, count)| format!("{count} {reason}"));
        let excluded = excluded.collect::<Vec<_>>().join(", ");
        let excluded = if excluded.is_empty() { "all could run it" } else { &excluded };
        line("Agents", format!("{} looked at: {excluded}", why.nodes_considered));
    }
    if let Some(nearest) = &why.nearest_fit {
        let missing = nearest.missing.iter().map(|(kind, amount)| lacks(kind, *amount));
        let missing = missing.collect::<Vec<_>>().join(", ");
        let missing = if missing.is_empty() { "its room is kept".to_owned() } else { missing };
        line("Nearest", format!("{}: {missing}", nearest.agent));
    }
    if let Some(ahead) = &why.ahead {
        let more = if ahead.is_at_least { "at least " } else { "" };
        let work = ahead.vcpu_seconds.map(|s| format!(", {s} vCPU seconds")).unwrap_or_default();
        line("Before it", format!("{more}{} jobs, {} children{work}", ahead.jobs, ahead.children));
    }
    if let Some(position) = why.position {
        line("Position", position.to_string());
    }
    if let Some(estimate) = &why.estimate {
        let (p50, p90) = (estimate.p50, estimate.p90);
        let basis = &estimate.basis;
        line(
            "Starts",
            format!("as likely as not within {p50} s, 9 times in 10 within {p90} s, by {basis}"),
        );
    }
    if let Some(reason) = why.no_estimate.as_ref().filter(|_| why.ahead.is_some()) {
        line("Starts", format!("nobody can tell: {reason}"));
    }
    if !why.children.is_empty() {
        let children = why.children.iter().map(|(status, count)| format!("{count} {status}"));
        line("Children", children.collect::<Vec<_>>().join(", "));
    }
    text
}

fn lacks(kind: &str, amount: u64) -> String {
    match kind {
        "VCPU" => format!("lacks {} vCPU", vcpus(amount)),
        "MEMORY" => format!("lacks {amount} MiB"),
        other => format!("lacks {amount} {other}"),
    }
}
