//! `windrow events`: what happened to jobs, from the event stream.

use async_nats::jetstream::consumer::DeliverPolicy;
use serde_json::Value;
use time::OffsetDateTime;
use windrow_common::ids::JobRef;
use windrow_common::time::Timestamp;

use crate::args::{EventsArgs, OutputFormat};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Grid, Outcome, View, or_dash, write_out};
use crate::stream::StreamReader;
use crate::wait::limit;

/// Prints the events there are; with `-f` also those that come, until interrupted.
pub(super) async fn run(context: &Context, args: EventsArgs) -> Result<Outcome> {
    let client = context.waiting_client().await?;
    if !args.follow {
        return read_kept(&client, &args).await.map(Outcome::from);
    }
    tokio::select! {
        failed = follow(context, &client, &args) => failed.map(|()| Outcome::exit(Exit::Done)),
        () = limit(context.timeout()) => Ok(Outcome::exit(Exit::Done)),
        _ = tokio::signal::ctrl_c() => Ok(Outcome::exit(Exit::Interrupted)),
    }
}

async fn read_kept(client: &Client, args: &EventsArgs) -> Result<Answer> {
    let mut reader = reader(client, args)?;
    let mut left = reader.pending().await?;
    let mut events = Vec::new();
    while left > 0 {
        let (message, pending) = reader.next().await?;
        left = pending;
        events.extend(wanted(&message.payload, args)?);
    }
    let names = events.iter().map(|event| text(event, "/id")).collect();
    let rows = events.iter().map(row).collect();
    let headers = &["TIME", "JOB", "STATUS", "QUEUE", "NAME", "REASON"];
    let view = View::Grid(Grid::new(headers, rows), "no events");
    Ok(Answer::list(&serde_json::json!({ "events": events }), "events", names, view))
}

async fn follow(context: &Context, client: &Client, args: &EventsArgs) -> Result<()> {
    let mut reader = reader(client, args)?;
    loop {
        let (message, _) = reader.next().await?;
        for event in wanted(&message.payload, args)? {
            let line = match context.printer.format() {
                OutputFormat::Json | OutputFormat::Jsonl => event.to_string(),
                OutputFormat::Name => text(&event, "/id"),
                OutputFormat::Table => row(&event).join("  "),
            };
            write_out(format!("{line}\n").as_bytes())?;
        }
    }
}

/// Without a start, all that is kept; with `-f`, what comes from now on.
fn reader<'a>(client: &'a Client, args: &EventsArgs) -> Result<StreamReader<'a>> {
    let subjects = client.subjects();
    let filter = match (args.job, &args.queue) {
        (Some(id), _) => subjects.event_of(id.job),
        (None, Some(queue)) => subjects.events_of_queue(queue),
        (None, None) => subjects.event_all(),
    };
    let start = match args.since {
        Some(since) => DeliverPolicy::ByStartTime { start_time: moment(since)? },
        None if args.follow => DeliverPolicy::New,
        None => DeliverPolicy::All,
    };
    Ok(StreamReader::new(client, client.event_stream(), filter, start))
}

fn moment(at: Timestamp) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .map_err(|e| Failure::error(format!("--since {at} is no time that can be asked for: {e}")))
}

/// The records of a message that were asked for, as they are.
fn wanted(payload: &[u8], args: &EventsArgs) -> Result<Vec<Value>> {
    let records: Vec<Value> = serde_json::from_slice(payload).map_err(|e| {
        Failure::error(format!("the event stream holds a message that is no batch of events: {e}"))
            .hint("use the version of `windrow` that the coordinator has")
    })?;
    let is_wanted = |record: &Value| args.job.is_none_or(|id| is_of(record, id));
    Ok(records.into_iter().filter(is_wanted).collect())
}

/// Whether the record is of this job, or of a child of it that the id names.
fn is_of(record: &Value, id: JobRef) -> bool {
    let Some(child) = id.child else { return true };
    if let Some(children) = record["children"].as_str() {
        let bounds = children.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
        return matches!(bounds, Some((Ok(first), Ok(last))) if (first..=last).contains(&child));
    }
    record["subject"] == id.to_string()
}

fn row(event: &Value) -> Vec<String> {
    let subject = text(event, "/subject");
    let job = match event["children"].as_str() {
        Some(children) => format!("{subject}:{children}"),
        None => subject,
    };
    let queue = text(event, "/data/jobQueue");
    let queue = queue.rsplit('/').next().unwrap_or_default().to_owned();
    let reason = event.pointer("/data/statusReason").and_then(Value::as_str);
    vec![
        text(event, "/time"),
        job,
        text(event, "/data/status"),
        queue,
        text(event, "/data/jobName"),
        or_dash(reason.map(str::to_owned)),
    ]
}

fn text(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_child_is_found_by_its_id_and_in_ranges() {
        let job = "01900000-0000-7000-8000-000000000001";
        let child: JobRef = format!("{job}:5").parse().unwrap();
        assert!(is_of(&json!({"subject": format!("{job}:5")}), child));
        assert!(!is_of(&json!({"subject": format!("{job}:6")}), child));
        assert!(is_of(&json!({"subject": job, "children": "0-5"}), child));
        assert!(!is_of(&json!({"subject": job, "children": "6-9"}), child));
        assert!(!is_of(&json!({"subject": job}), child));
        assert!(is_of(&json!({"subject": job}), job.parse().unwrap()));
    }
}
