//! Submitting single jobs over HTTP, each stored before its answer, beside the same by NATS requests: rate and
//! CPU time of each part.

use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::cpu::{self, Seconds};
use super::floor::PROGRAM;
use super::machine::Load;
use super::options::Options;
use super::rig::{Rig, job};
use super::statistics::median;
use super::submit::{NOBODY, create_queue};

/// Connections, and NATS requests on their way at once.
const CONNECTIONS: u32 = 8;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) submissions: u32,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) rate_ratio_median: f64,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// Both ways, one after the other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pair {
    pub(crate) http: Way,
    pub(crate) nats: Way,
}

/// One way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Way {
    pub(crate) per_second: f64,
    /// CPU milliseconds of each submission.
    pub(crate) parts_cpu_ms_each: Seconds,
}

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let rig = Rig::start().await?;
    create_queue(&rig, NOBODY).await?;
    let address = rig.gateway_address()?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(&address).await?);
    }
    // Code and connections are warm when measuring begins.
    over_http(&mut connections, CONNECTIONS).await?;
    over_nats(&rig, CONNECTIONS).await?;
    let load = Load::read()?;
    let count = options.singles;
    let mut pairs = Vec::new();
    for _ in 0..options.pairs {
        let http = measured(&rig, count, async || over_http(&mut connections, count).await).await?;
        let nats = measured(&rig, count, async || over_nats(&rig, count).await).await?;
        pairs.push(Pair { http, nats });
    }
    let ratios: Vec<f64> =
        pairs.iter().map(|pair| pair.http.per_second / pair.nats.per_second).collect();
    Ok(Outcome {
        submissions: count,
        rate_ratio_median: median(&ratios),
        pairs,
        busy: load.others_until(Load::read()?, 0.0),
    })
}

async fn measured(
    rig: &Rig,
    count: u32,
    submit: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Way> {
    let (before, start) = (cpu::of_cluster(&rig.cluster)?, Instant::now());
    submit().await?;
    let seconds = start.elapsed().as_secs_f64();
    let used = cpu::difference(&before, &cpu::of_cluster(&rig.cluster)?);
    let each = |seconds: f64| seconds * 1e3 / f64::from(count);
    let parts_cpu_ms_each = used.into_iter().map(|(part, s)| (part, each(s))).collect();
    Ok(Way { per_second: f64::from(count) / seconds, parts_cpu_ms_each })
}

/// All connections at once, each one request after the other.
async fn over_http(connections: &mut [Connection], count: u32) -> anyhow::Result<()> {
    let request = json!({
        "jobName": "bench", "jobQueue": NOBODY, "jobDefinition": "adhoc",
        "containerOverrides": {"command": [PROGRAM]},
    });
    let each = count / CONNECTIONS;
    let all = connections.iter_mut().map(async |connection| {
        for _ in 0..each {
            connection.call("submitjob", &request).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(all).await.map(drop)
}

async fn over_nats(rig: &Rig, count: u32) -> anyhow::Result<()> {
    let request = job(NOBODY, &[PROGRAM], None);
    let all = (0..CONNECTIONS).map(async |_| {
        for _ in 0..count / CONNECTIONS {
            rig.submit(&request).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(all).await.map(drop)
}

/// One connection that is kept.
pub(crate) struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// To the gateway at this address.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect to the gateway")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { address: address.to_owned(), sender })
    }

    /// The answer; it must be a good one.
    pub(crate) async fn call(&mut self, operation: &str, content: &Value) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/{operation}"))
            .header("host", &self.address)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(content.to_string())))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await.context("ask the gateway")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::ensure!(status == StatusCode::OK, "{operation}: {status} {body:?}");
        Ok(serde_json::from_slice(&body)?)
    }
}
