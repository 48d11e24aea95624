//! `windrow cluster ...`.

use serde_json::json;
use windrow_common::api::resources::{AcknowledgeAlarm, Alarm, DescribeCluster};

use crate::args::ClusterCommand;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View, or_dash};

pub(super) async fn run(context: &Context, command: ClusterCommand) -> Result<Answer> {
    match command {
        ClusterCommand::Status => status(context).await,
        ClusterCommand::Alarms => alarms(context).await,
        ClusterCommand::Acknowledge { alarms, note, by } => {
            acknowledge(context, alarms, note, by).await
        }
    }
}

async fn alarms(context: &Context) -> Result<Answer> {
    let status = context.client().await?.call(&DescribeCluster {}).await?;
    let rows = status.alarms.iter().map(|alarm| {
        let said = alarm.acknowledged.as_ref();
        vec![
            number(alarm),
            alarm.at.to_string(),
            or_dash(said.map(|said| format!("{} by {}", said.at, said.by))),
            or_dash(said.and_then(|said| said.note.clone())),
            alarm.text.clone(),
        ]
    });
    let grid = Grid::new(&["ALARM", "SINCE", "ACKNOWLEDGED", "NOTE", "TEXT"], rows.collect());
    let numbers = status.alarms.iter().map(number).collect();
    let response = json!({ "alarms": &status.alarms });
    Ok(Answer::list(&response, "alarms", numbers, View::Grid(grid, "no alarms")))
}

/// Its number; one that goes when its cause does has none.
fn number(alarm: &Alarm) -> String {
    or_dash((alarm.id > 0).then(|| alarm.id.to_string()))
}

async fn acknowledge(
    context: &Context,
    alarms: Vec<u64>,
    note: Option<String>,
    by: Option<String>,
) -> Result<Answer> {
    let client = context.client().await?;
    let by = by.unwrap_or_else(who);
    for id in &alarms {
        let request = AcknowledgeAlarm { id: *id, by: by.clone(), note: note.clone() };
        client.call(&request).await?;
    }
    let names: Vec<String> = alarms.iter().map(u64::to_string).collect();
    let text = names.iter().map(|name| format!("alarm {name}: acknowledged by {by}\n")).collect();
    Ok(Answer::one(&json!({ "acknowledged": alarms, "by": by, "note": note }), names, text))
}

/// The user's and the host's name, as far as they are known.
fn who() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let unknown = || "unknown".to_owned();
    format!("{}@{}", user.unwrap_or_else(unknown), host.unwrap_or_else(unknown))
}

async fn status(context: &Context) -> Result<Answer> {
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
    let open = status.alarms.iter().filter(|alarm| alarm.acknowledged.is_none());
    let alarms = open.map(|alarm| ("ALARM", format!("{} {}", alarm.at, alarm.text)));
    let lines =
        lines.into_iter().chain([("Leader", status.leader.clone()), ("Standbys", standbys)]);
    let lines: Vec<_> = lines.chain(alarms).collect();
    let text = lines.iter().map(|(key, value)| format!("{:<12}{value}\n", format!("{key}:")));
    Ok(Answer::one(&status, vec![status.cluster.clone()], text.collect()))
}
