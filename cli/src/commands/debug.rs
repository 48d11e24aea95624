//! `windrow debug bundle`: what somebody who helps from afar needs to see, in one file, without secrets.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use windrow_common::api::Operation;
use windrow_common::api::definitions::DescribeJobDefinitions;
use windrow_common::api::explain::ExplainQueue;
use windrow_common::api::jobs::ListJobs;
use windrow_common::api::policies::ListSchedulingPolicies;
use windrow_common::api::resources::{
    DescribeCluster, DescribeComputeEnvironments, DescribeJobQueues, ListAgents,
};
use windrow_common::streams::{Retention, Streams};
use windrow_common::time::wall_clock;

use super::doctor;
use crate::args::DebugCommand;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Attempt, Result};
use crate::output::Answer;
use crate::redact;

/// Of each log the end is taken, in bytes.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Jobs listed; those submitted last.
const JOBS_MAX: u32 = 1000;

pub(super) async fn run(context: &Context, command: DebugCommand) -> Result<Answer> {
    let DebugCommand::Bundle { file } = command;
    let now = wall_clock();
    let stamp = now.to_string().replace([':', '-'], "");
    let name = format!("windrow-debug-{}", stamp.split('.').next().unwrap_or_default());
    let path = file.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let files = collect(context).await;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let summary = json!({ "file": path, "contents": names });
    pack(&path, &name, &files).attempt(|| format!("write `{}`", path.display()))?;
    let shown = path.display().to_string();
    let text = format!(
        "{shown}: {} files. Environment values, parameters, arguments of commands and whatever is named like \
         a secret are left out; look through it before you pass it on.\n",
        files.len()
    );
    Ok(Answer::one(&summary, vec![shown], text))
}

/// Names and contents. What cannot be had is in it as an error.
async fn collect(context: &Context) -> Vec<(String, String)> {
    let mut files = vec![
        ("version.json".to_owned(), pretty(&json!({ "windrow": env!("CARGO_PKG_VERSION") }))),
        ("doctor.json".to_owned(), pretty(&doctor::examine(context, None).await)),
    ];
    if let Ok(client) = context.client().await {
        files.extend(answers(&client).await);
        files.push(("streams.json".to_owned(), streams(&client).await));
    }
    files.extend(local(context));
    files
}

async fn answers(client: &Client) -> Vec<(String, String)> {
    let jobs = ListJobs {
        job_status: Some("ALL".to_owned()),
        max_results: Some(JOBS_MAX),
        ..Default::default()
    };
    vec![
        ask(client, "cluster", &DescribeCluster {}).await,
        ask(client, "agents", &ListAgents {}).await,
        ask(client, "compute-environments", &DescribeComputeEnvironments::default()).await,
        ask(client, "queues", &DescribeJobQueues::default()).await,
        ask(client, "job-definitions", &DescribeJobDefinitions::default()).await,
        ask(client, "scheduling-policies", &ListSchedulingPolicies::default()).await,
        ask(client, "why", &ExplainQueue::default()).await,
        ask(client, "jobs", &jobs).await,
    ]
}

async fn ask<O: Operation>(client: &Client, name: &str, request: &O) -> (String, String) {
    match client.call(request).await {
        Ok(response) => {
            let mut response = serde_json::to_value(response).unwrap_or(Value::Null);
            redact::value(&mut response);
            (format!("{name}.json"), pretty(&response))
        }
        Err(failure) => (format!("{name}.error.txt"), redact::text(&failure.message)),
    }
}

/// What each stream says about itself.
async fn streams(client: &Client) -> String {
    let mut all = Vec::new();
    for stream in Streams::new(client.subjects().clone()).all(&Retention::default()) {
        let found = client.jetstream().get_stream(&stream.name).await;
        all.push(match found {
            Ok(found) => {
                let info = found.cached_info();
                json!({
                    "config": info.config,
                    "messages": info.state.messages,
                    "bytes": info.state.bytes,
                    "firstSequence": info.state.first_sequence,
                    "lastSequence": info.state.last_sequence,
                    "consumers": info.state.consumer_count,
                })
            }
            Err(e) => json!({ "name": stream.name, "error": e.to_string() }),
        });
    }
    pretty(&all)
}

/// What `windrow up` has on this machine.
fn local(context: &Context) -> Vec<(String, String)> {
    let Ok(layout) = context.layout() else { return Vec::new() };
    let mut files = Vec::new();
    if let Some(cluster) = layout.read_cluster() {
        let mut cluster = serde_json::to_value(cluster).unwrap_or(Value::Null);
        redact::value(&mut cluster);
        files.push(("up/cluster.json".to_owned(), pretty(&cluster)));
    }
    if let Ok(text) = std::fs::read_to_string(layout.nats_config()) {
        files.push(("up/nats-server.conf".to_owned(), redact::text(&text)));
    }
    let logs = layout.log("x");
    let logs = logs.parent().map(std::fs::read_dir);
    let mut paths: Vec<PathBuf> =
        logs.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Ok(text) = end_of(&path) {
            files.push((format!("up/logs/{name}"), redact::text(&text)));
        }
    }
    files
}

fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("answers have a JSON form") + "\n"
}

/// A compressed archive with one directory.
fn pack(path: &Path, directory: &str, files: &[(String, String)]) -> std::io::Result<()> {
    let file = std::fs::File::create_new(path)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(wall_clock().0 / 1000);
        archive.append_data(&mut header, format!("{directory}/{name}"), content.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}
