//! Results as people and programs read them.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use windrow_common::time::wall_clock;

use super::latency::Milliseconds;
use super::machine::Machine;
use super::options::Options;
use super::{agents, array, control, docker, fsync, http, latency, queries, recovery, submit};

/// Of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) commit: Option<String>,
    pub(crate) machine: Machine,
    pub(crate) array: Option<array::Outcome>,
    pub(crate) control: Option<control::Outcome>,
    pub(crate) latency: Option<latency::Outcome>,
    pub(crate) submit: Option<submit::Outcome>,
    pub(crate) http: Option<http::Outcome>,
    pub(crate) recovery: Option<recovery::Outcome>,
    pub(crate) agents: Option<agents::Outcome>,
    pub(crate) docker: Option<docker::Outcome>,
    pub(crate) fsync: Option<fsync::Outcome>,
    pub(crate) queries: Option<queries::Outcome>,
}

impl Results {
    /// Nothing measured yet.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            date: wall_clock().to_string(),
            commit: options.commit.clone(),
            machine: Machine::read()?,
            array: None,
            control: None,
            latency: None,
            submit: None,
            http: None,
            recovery: None,
            agents: None,
            docker: None,
            fsync: None,
            queries: None,
        })
    }

    /// Writes `PREFIX.json` and `PREFIX.md`.
    pub(crate) fn write(&self, prefix: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (extension, text) in [("json", json), ("md", self.to_markdown())] {
            let path = format!("{}.{extension}", prefix.display());
            std::fs::write(&path, text).with_context(|| format!("write `{path}`"))?;
        }
        Ok(())
    }

    /// Tables.
    pub(crate) fn to_markdown(&self) -> String {
        let Machine { cores, memory_mib, kernel, processor } = &self.machine;
        let commit = self.commit.as_deref().unwrap_or("not given");
        let mut text = format!(
            "# Benchmarks, {}\n\nCommit {commit}. {cores} cores ({processor}), {memory_mib} MiB, \
             Linux {kernel}. \"Others\" is the share of all cores that other work used meanwhile.\n",
            self.date
        );
        // Writing to a string does not fail.
        let _ = self.array.as_ref().map(|found| array_tables(&mut text, found));
        let _ = self.control.as_ref().map(|found| control_table(&mut text, found));
        let _ = self.latency.as_ref().map(|found| latency_table(&mut text, found));
        let _ = self.submit.as_ref().map(|found| submit_table(&mut text, found));
        let _ = self.http.as_ref().map(|found| http_table(&mut text, found));
        let _ = self.recovery.as_ref().map(|found| recovery_table(&mut text, found));
        let _ = self.agents.as_ref().map(|found| found.write(&mut text));
        let _ = self.docker.as_ref().map(|found| found.write(&mut text));
        let _ = self.fsync.as_ref().map(|found| found.write(&mut text));
        let _ = self.queries.as_ref().map(|found| found.write(&mut text));
        text
    }
}

fn array_tables(text: &mut String, found: &array::Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "\n## array: {} x `/bin/true`, {} at a time\n\nMedian rate: {:.3} of the floor's (target at \
         least 0.5). Median CPU of the whole system: {:.2} x the floor's (at most 1.6).\n\n| pair | tasks/s (others) \
         | floor/s (others) | rate ratio | CPU ms per task | floor | CPU ratio | journal messages |\n\
         |---|---|---|---|---|---|---|---|",
        found.children, found.slots, found.rate_ratio_median, found.cpu_ratio_median
    )?;
    for (index, pair) in found.pairs.iter().enumerate() {
        writeln!(
            text,
            "| {} | {:.0} ({:.2}) | {:.0} ({:.2}) | {:.3} | {:.3} | {:.3} | {:.2} | {} |",
            index + 1,
            pair.windrow_per_second,
            pair.windrow_others,
            pair.floor_per_second,
            pair.floor_others,
            pair.rate_ratio(),
            pair.windrow_cpu_ms_each,
            pair.floor_cpu_ms_each,
            pair.cpu_ratio(),
            pair.journal_messages
        )?;
    }
    parts_table(text, found)
}

fn parts_table(text: &mut String, found: &array::Outcome) -> std::fmt::Result {
    let Some(first) = found.pairs.first() else { return Ok(()) };
    writeln!(text, "\n| part | CPU ms per task, median |\n|---|---|")?;
    for part in first.parts_cpu_ms_each.keys() {
        let of_pairs = found.pairs.iter().filter_map(|pair| pair.parts_cpu_ms_each.get(part));
        let sample: Vec<f64> = of_pairs.copied().collect();
        writeln!(text, "| {part} | {:.3} |", super::statistics::median(&sample))?;
    }
    Ok(())
}

fn control_table(text: &mut String, found: &control::Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "\n## control: what takes no time to run, one worker of 64 vCPUs, {} runs each\n\nCPU of a child of the \
         largest array: {:.2} x that of the smallest. CPU without the client, which the worker is part of. \
         Target: at least 10,000/s, 0.032 ms. All cores were {:.2} busy.\n\n| what | tasks/s, median [least to \
         most] | CPU ms per task | coordinator | nats-server | client | coordinator grew, bytes per task |\n\
         |---|---|---|---|---|---|---|",
        found.singles.runs.len(),
        found.growth,
        found.busy
    )?;
    let arrays = found.arrays.iter().map(|case| ("array", case));
    for (what, case) in arrays.chain([("single jobs", &found.singles)]) {
        let part = |part| case.median_of(|run| run.parts_cpu_ms_each[part]);
        let rates: Vec<f64> = case.runs.iter().map(|run| run.per_second).collect();
        writeln!(
            text,
            "| {what}, {} | {} | {:.4} | {:.4} | {:.4} | {:.4} | {:.1} |",
            case.tasks,
            super::statistics::spread(&rates, 0),
            case.median_of(control::Run::cpu_ms_each),
            part("coordinator"),
            part("nats-server"),
            part("client"),
            case.median_of(|run| run.bytes_each)
        )?;
    }
    Ok(())
}

fn latency_table(text: &mut String, found: &latency::Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "\n## latency: one job on an idle cluster, {} tries\n\nTargets: submit to start 3 ms p50, 18 ms p99. All \
         cores were {:.2} busy, and one more with other jobs where it says so.\n",
        found.tries, found.busy
    )?;
    milliseconds_table(
        text,
        &[
            ("submit to start", found.submit_to_start),
            ("submit to answer", found.submit_to_answer),
            ("submit to start, one core busy with other jobs", found.loaded_submit_to_start),
            ("submit to answer, one core busy with other jobs", found.loaded_submit_to_answer),
            ("floor: posix_spawn of the same program to its start", found.spawn_floor),
            ("floor: 512 bytes and fdatasync", found.sync_floor),
        ],
    )
}

fn submit_table(text: &mut String, found: &submit::Outcome) -> std::fmt::Result {
    let memory = |bytes: Option<&u64>| bytes.copied().unwrap_or_default() / 1024;
    writeln!(
        text,
        "\n## submit-million: {} arrays of 1,000,000, nobody to run them\n\nTarget: p50 at most 20 ms. \
         Coordinator: {} KiB resident before, {} KiB after all; {:.4} bytes per queued child. All cores \
         were {:.2} busy.\n",
        found.submissions,
        memory(found.memory_bytes.first()),
        memory(found.memory_bytes.last()),
        found.bytes_per_child,
        found.busy
    )?;
    milliseconds_table(text, &[("array of 1,000,000", found.million), ("array of 2", found.two)])
}

fn http_table(text: &mut String, found: &http::Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "\n## http: {} single submissions, 8 at a time, each stored before its answer\n\nMedian rate over \
         HTTP: {:.3} of that of NATS requests. Target: at least 3,000/s. All cores were {:.2} busy, the \
         client included.\n\n| pair | HTTP/s | NATS/s |\n|---|---|---|",
        found.submissions, found.rate_ratio_median, found.busy
    )?;
    for (index, pair) in found.pairs.iter().enumerate() {
        let (http, nats) = (pair.http.per_second, pair.nats.per_second);
        writeln!(text, "| {} | {http:.0} | {nats:.0} |", index + 1)?;
    }
    writeln!(text, "\n| part | HTTP: CPU ms each, median | NATS |\n|---|---|---|")?;
    for part in ["client", "gateway", "coordinator", "nats-server"] {
        let each = |way: fn(&http::Pair) -> &http::Way| {
            let of_pairs = found.pairs.iter().filter_map(|p| way(p).parts_cpu_ms_each.get(part));
            super::statistics::median(&of_pairs.copied().collect::<Vec<_>>())
        };
        let (http, nats) = (each(|pair| &pair.http), each(|pair| &pair.nats));
        writeln!(text, "| {part} | {http:.3} | {nats:.3} |")?;
    }
    Ok(())
}

fn recovery_table(text: &mut String, found: &recovery::Outcome) -> std::fmt::Result {
    writeln!(
        text,
        "\n## recovery: `kill -9` of the coordinator, {} times in each state\n\nFrom the kill to the \
         first answer of its successor, and to the first lease that it gives; the ratio is to \
         the median with nothing queued. Target: below 5 s. All cores were {:.2} busy.\n\n| state | \
         answers again after, p50 / max ms | schedules again after, p50 / max ms | ratio | longest \
         answer before, ms | snapshot, KiB | memory, MiB |\n|---|---|---|---|---|---|---|",
        found.restarts, found.busy
    )?;
    let base = found.cases.first().map_or(f64::NAN, |case| case.scheduled.p50);
    for case in &found.cases {
        writeln!(
            text,
            "| {} | {:.0} / {:.0} | {:.0} / {:.0} | {:.2} | {:.0} | {} | {} |",
            case.what,
            case.answered.p50,
            case.answered.max,
            case.scheduled.p50,
            case.scheduled.max,
            case.scheduled.p50 / base,
            case.longest_answer_ms,
            case.snapshot_bytes >> 10,
            case.memory_bytes >> 20
        )?;
    }
    Ok(())
}

fn milliseconds_table(text: &mut String, rows: &[(&str, Milliseconds)]) -> std::fmt::Result {
    writeln!(text, "| | p50 ms | p99 ms | max ms |\n|---|---|---|---|")?;
    for (what, Milliseconds { p50, p99, max }) in rows {
        writeln!(text, "| {what} | {p50:.2} | {p99:.2} | {max:.2} |")?;
    }
    Ok(())
}
