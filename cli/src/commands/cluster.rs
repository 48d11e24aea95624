//! `windrow cluster ...`.

use windrow_common::api::resources::DescribeCluster;

use crate::args::ClusterCommand;
use crate::context::Context;
use crate::failure::Result;
use crate::output::Answer;

pub(super) async fn run(context: &Context, command: ClusterCommand) -> Result<Answer> {
    let ClusterCommand::Status = command;
    let status = context.client().await?.call(&DescribeCluster {}).await?;
    let children: Vec<String> =
        status.children.iter().map(|(name, number)| format!("{number} {name}")).collect();
    let lines = [
        ("Cluster", status.cluster.clone()),
        ("Version", status.version.clone()),
        ("Term", status.term.to_string()),
        ("Journal", format!("{} messages", status.journal_sequence)),
        ("Agents up", status.agents_up.to_string()),
        ("Jobs", status.jobs.to_string()),
        ("Children", if children.is_empty() { "-".to_owned() } else { children.join(", ") }),
        ("Fenced", format!("{} late results refused", status.fenced_results)),
        ("Memory", format!("{} MiB", status.memory_bytes >> 20)),
    ];
    let standbys = match status.standbys.as_slice() {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    let alarms =
        status.alarms.iter().map(|alarm| ("ALARM", format!("{} {}", alarm.at, alarm.text)));
    let lines =
        lines.into_iter().chain([("Leader", status.leader.clone()), ("Standbys", standbys)]);
    let lines: Vec<_> = lines.chain(alarms).collect();
    let text = lines.iter().map(|(key, value)| format!("{:<12}{value}\n", format!("{key}:")));
    Ok(Answer::one(&status, vec![status.cluster.clone()], text.collect()))
}
