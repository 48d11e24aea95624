//! Answers to questions with many jobs queued and an array of a million done, over NATS and over HTTP, beside the same
//! with few.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use windrow_common::api::Operation;
use windrow_common::api::explain::ExplainJob;

use super::control::{Kind, ZERO, measured, until_over};
use super::floor::PROGRAM;
use super::http::Connection;
use super::latency::Milliseconds;
use super::machine::Load;
use super::options::Options;
use super::recovery::submit_singles;
use super::rig::{Rig, job};
use super::submit::{NOBODY, create_queue};
use super::zero::Zero;

/// Queued jobs, and children done, of the few.
const FEW: u32 = 1_000;
/// Children of the array, of the many.
const CHILDREN: u32 = 1_000_000;
/// Ids of one DescribeJobs: the most that AWS takes.
const DESCRIBED: usize = 100;
/// A page that is not among the first ones.
const LATE_PAGE: u32 = 5;
const QUESTIONS: u32 = 100;
const VCPUS: u32 = 64;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) queued: u32,
    pub(crate) rows: Vec<Row>,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// One question.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) few: Ways,
    pub(crate) many: Ways,
}

/// Asked both ways, in turn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ways {
    pub(crate) nats: Milliseconds,
    /// Absent: the gateway has AWS Batch's operations only.
    pub(crate) http: Option<Milliseconds>,
}

/// A question: what it is, its operation, and its request.
type Question = (String, &'static str, Value);

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let load = Load::read()?;
    let few = answers(FEW, FEW).await?;
    let many = answers(options.jobs, CHILDREN).await?;
    let rows = few.into_iter().zip(many).map(|((what, few), (_, many))| Row { what, few, many });
    let rows = rows.collect();
    Ok(Outcome { queued: options.jobs, rows, busy: load.others_until(Load::read()?, 0.0) })
}

/// In a cluster of its own, with so many jobs queued and children done.
async fn answers(queued: u32, children: u32) -> anyhow::Result<Vec<(String, Ways)>> {
    let rig = Rig::start().await?;
    let address = rig.gateway_address()?;
    create_queue(&rig, ZERO).await?;
    create_queue(&rig, NOBODY).await?;
    let _zero = Zero::start(&rig.cluster.nats_url(), ZERO, VCPUS)?;
    // Code and connections are warm when measuring begins.
    rig.submit(&job(ZERO, &[PROGRAM], Some(100))).await?;
    until_over(&rig).await?;
    measured(&rig, children, Kind::Array).await?;
    submit_singles(&rig, NOBODY, queued).await?;
    let mut connection = Connection::open(&address).await?;
    let mut found = Vec::new();
    for (what, operation, request) in questions(&rig, children).await? {
        found.push((what, both(&rig, &mut connection, operation, &request).await?));
    }
    Ok(found)
}

async fn questions(rig: &Rig, children: u32) -> anyhow::Result<Vec<Question>> {
    let list = json!({"jobQueue": NOBODY, "jobStatus": "RUNNABLE", "maxResults": DESCRIBED});
    let (jobs, late) = pages(rig, &list).await?;
    let newest = jobs.first().context("no job is queued")?.clone();
    let done = json!({"jobQueue": ZERO, "jobStatus": "SUCCEEDED"});
    let (arrays, _) = pages(rig, &done).await?;
    let array = arrays.first().and_then(Value::as_str).context("no array is done")?;
    let child = format!("{array}:{}", children / 2);
    let named = json!({"name": "JOB_NAME", "values": ["bench"]});
    let named = json!({"jobQueue": NOBODY, "filters": [named], "maxResults": DESCRIBED});
    let of_array = json!({"arrayJobId": array, "jobStatus": "SUCCEEDED", "maxResults": DESCRIBED});
    let (_, late_children) = pages(rig, &of_array).await?;
    let question = |what: &str, operation, request| (what.to_owned(), operation, request);
    Ok(vec![
        question("DescribeJobs of 100 queued jobs", "DescribeJobs", json!({"jobs": jobs})),
        question("DescribeJobs of one child", "DescribeJobs", json!({"jobs": [child]})),
        question("ListJobs, first page of 100", "ListJobs", list),
        question("ListJobs, a late page", "ListJobs", late),
        question("ListJobs by name", "ListJobs", named),
        question("ListJobs of an array's children, first page", "ListJobs", of_array),
        question("ListJobs of an array's children, a late page", "ListJobs", late_children),
        question("ExplainJob of the newest", ExplainJob::NAME, json!({"jobId": newest})),
    ])
}

/// The ids on the first page, and the request for a late one.
async fn pages(rig: &Rig, list: &Value) -> anyhow::Result<(Vec<Value>, Value)> {
    let first = asked(rig, "ListJobs", list).await?;
    let jobs = first["jobSummaryList"].as_array().context("a page has jobs")?;
    let ids = jobs.iter().map(|job| job["jobId"].clone()).collect();
    let (mut page, mut request) = (first, list.clone());
    for _ in 0..LATE_PAGE {
        if page["nextToken"].is_null() {
            break;
        }
        request["nextToken"] = page["nextToken"].take();
        page = asked(rig, "ListJobs", &request).await?;
    }
    Ok((ids, request))
}

async fn asked(rig: &Rig, operation: &str, request: &Value) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&rig.ask(operation, request.to_string().into_bytes()).await?)?)
}

async fn both(
    rig: &Rig,
    connection: &mut Connection,
    operation: &str,
    request: &Value,
) -> anyhow::Result<Ways> {
    let path = operation.to_lowercase();
    let (mut nats, mut http) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        let start = Instant::now();
        asked(rig, operation, request).await?;
        nats.push(start.elapsed().as_secs_f64() * 1e3);
        if operation != ExplainJob::NAME {
            let start = Instant::now();
            connection.call(&path, request).await?;
            http.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let http = (!http.is_empty()).then(|| Milliseconds::of(&http));
    Ok(Ways { nats: Milliseconds::of(&nats), http })
}

impl Outcome {
    /// As a table.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n## queries: with {} single jobs queued and an array of {CHILDREN} done, beside {FEW} of both\n\n\
             {QUESTIONS} questions each, over NATS and HTTP in turn. All cores were {:.2} busy.\n\n\
             | p50 / p99 ms | NATS, few | NATS, many | ratio of p50 | HTTP, few | HTTP, many | ratio of p50 |\n\
             |---|---|---|---|---|---|---|",
            self.queued, self.busy
        )?;
        for Row { what, few, many } in &self.rows {
            write!(text, "| {what} |")?;
            for (few, many) in [(Some(few.nats), Some(many.nats)), (few.http, many.http)] {
                let (Some(few), Some(many)) = (few, many) else {
                    text.push_str(" - | - | - |");
                    continue;
                };
                write!(
                    text,
                    " {:.2} / {:.2} | {:.2} / {:.2} | {:.2} |",
                    few.p50,
                    few.p99,
                    many.p50,
                    many.p99,
                    many.p50 / few.p50
                )?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}
