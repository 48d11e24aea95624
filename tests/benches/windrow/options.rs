//! The command line.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// First argument of the floor's process.
pub(crate) const SPAWN: &str = "spawn-floor";

/// What this process is to be.
pub(crate) enum Mode {
    /// Starts `/bin/true` so often, from so many threads.
    Spawn { count: u32, threads: u32 },
    /// Measures.
    Measure(Options),
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bench {
    /// An array of short processes against starting them without Windrow.
    Array,
    /// From submission to the first instruction of the job.
    Latency,
    /// Arrays and single jobs that take no time to run.
    Control,
    /// Time and memory of submitting an array of a million.
    SubmitMillion,
    /// Single submissions over HTTP against NATS requests.
    Http,
    /// From the end of a coordinator to the first job started by its successor.
    Recovery,
    /// Up to ten thousand agents, idle and with an array.
    Agents,
    /// Containers against the engine's API.
    Docker,
    /// Synced before each acknowledgement, against the default of the NATS server.
    Fsync,
    /// Answers to questions, with many jobs.
    Queries,
}

impl Bench {
    const ALL: [Self; 10] = [
        Self::Array,
        Self::Control,
        Self::Latency,
        Self::SubmitMillion,
        Self::Http,
        Self::Recovery,
        Self::Agents,
        Self::Docker,
        Self::Fsync,
        Self::Queries,
    ];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Control => "control",
            Self::Latency => "latency",
            Self::SubmitMillion => "submit-million",
            Self::Http => "http",
            Self::Recovery => "recovery",
            Self::Agents => "agents",
            Self::Docker => "docker",
            Self::Fsync => "fsync",
            Self::Queries => "queries",
        }
    }
}

/// What to measure, and how often.
pub(crate) struct Options {
    /// In this order.
    pub(crate) benches: Vec<Bench>,
    /// Children of the array, and processes of its floor.
    pub(crate) children: u32,
    /// Pairs of array and floor, and of HTTP and NATS, of `docker` and `fsync`; runs of `control` and `agents`.
    pub(crate) pairs: u32,
    /// Single jobs of `latency`.
    pub(crate) tries: u32,
    /// Arrays of a million.
    pub(crate) submissions: u32,
    /// Single jobs that each way of `http` submits in a pair.
    pub(crate) singles: u32,
    /// Single jobs queued, of `queries` and `recovery`; children of the array of the latter.
    pub(crate) jobs: u32,
    /// Numbers of agents of `agents`.
    pub(crate) agents: Vec<u32>,
    /// Times that `recovery` kills the coordinator in each state.
    pub(crate) restarts: u32,
    /// Where results go: this with `.json` and `.md` added.
    pub(crate) results: Option<PathBuf>,
    /// Commit that is measured, for the results.
    pub(crate) commit: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            benches: Vec::new(),
            children: 10_000,
            pairs: 5,
            tries: 100,
            submissions: 20,
            singles: 20_000,
            jobs: 1_000_000,
            agents: vec![1, 10, 100, 1_000, 10_000],
            restarts: 5,
            results: None,
            commit: None,
        }
    }
}

/// Reads the command line. Errors: unknown words, values that are no numbers.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Mode> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` wants a value"));
        match word.as_str() {
            SPAWN => {
                return Ok(Mode::Spawn { count: value()?.parse()?, threads: value()?.parse()? });
            }
            "--children" => options.children = number(&value()?)?,
            "--pairs" => options.pairs = number(&value()?)?,
            "--tries" => options.tries = number(&value()?)?,
            "--submissions" => options.submissions = number(&value()?)?,
            "--singles" => options.singles = number(&value()?)?,
            "--jobs" => options.jobs = number(&value()?)?,
            "--agents" => {
                options.agents = value()?.split(',').map(number).collect::<Result<_, _>>()?;
            }
            "--restarts" => options.restarts = number(&value()?)?,
            "--results" => options.results = Some(value()?.into()),
            "--commit" => options.commit = Some(value()?),
            // `cargo bench` adds it.
            "--bench" => {}
            name => match Bench::ALL.into_iter().find(|bench| bench.name() == name) {
                Some(bench) => options.benches.push(bench),
                None => bail!(
                    "unknown argument `{name}`; use array, control, latency, submit-million, http, recovery, agents, docker, fsync, queries, \
                     --children N, --pairs N, --tries N, --submissions N, --singles N, --jobs N, --restarts N, --agents N,N, \
                     --results PREFIX, --commit ID"
                ),
            },
        }
    }
    if options.benches.is_empty() {
        options.benches = Bench::ALL.to_vec();
    }
    Ok(Mode::Measure(options))
}

fn number(text: &str) -> anyhow::Result<u32> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => bail!("`{text}` is not a number from 1 on"),
    }
}
