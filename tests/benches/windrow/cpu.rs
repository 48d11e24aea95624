//! CPU time of the whole system: its processes with their ended children, and the client.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use windrow_tests::Cluster;
use windrow_tests::part::processes_with;

/// The unit of `/proc/PID/stat`; the same on every Linux that user programs see.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds by part: `nats-server`, `coordinator`, `gateway`, `agent`, `keeper`, `jobs`, `windrow`, `client`.
pub(crate) type Seconds = BTreeMap<&'static str, f64>;

/// CPU seconds that a cluster and this process have used so far.
///
/// Parts are told by their command lines, which name the cluster's directory or its port.
pub(crate) fn of_cluster(cluster: &Cluster) -> anyhow::Result<Seconds> {
    let data = cluster.data().to_string_lossy().into_owned();
    let mut pids = processes_with(&[&data]);
    pids.extend(processes_with(&["windrow-coordinator", &cluster.nats_url()]));
    // It may name the directory in its environment only.
    pids.extend(cluster.state()["supervisor"]["pid"].as_i64().and_then(|p| i32::try_from(p).ok()));
    pids.sort_unstable();
    pids.dedup();
    let mut seconds = Seconds::new();
    for pid in pids {
        let Some((own, ended_children)) = times(pid) else { continue };
        let part = part(pid);
        *seconds.entry(part).or_default() += own;
        let of_children = if part == "keeper" { "jobs" } else { part };
        *seconds.entry(of_children).or_default() += ended_children;
    }
    for part in ["nats-server", "coordinator", "agent", "keeper", "windrow"] {
        anyhow::ensure!(seconds.contains_key(part), "no process of `{part}` was found to count");
    }
    seconds.insert("client", total(&getrusage(UsageWho::RUSAGE_SELF)?));
    Ok(seconds)
}

/// CPU seconds of this process's ended children.
pub(crate) fn of_children() -> anyhow::Result<f64> {
    Ok(total(&getrusage(UsageWho::RUSAGE_CHILDREN)?))
}

/// What was used from `before` to `after`.
pub(crate) fn difference(before: &Seconds, after: &Seconds) -> Seconds {
    let used = |part| after[part] - before.get(part).copied().unwrap_or(0.0);
    after.keys().map(|&part| (part, used(part))).collect()
}

fn part(pid: i32) -> &'static str {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let program = line.split(' ').next().unwrap_or_default();
    match program.rsplit('/').next().unwrap_or_default() {
        "windrow-agent" if line.contains(" keeper ") => "keeper",
        "windrow-agent" => "agent",
        "windrow-gateway" => "gateway",
        "windrow-coordinator" => "coordinator",
        "windrow" => "windrow",
        name if name.starts_with("nats-server") => "nats-server",
        _ => "jobs",
    }
}

/// CPU seconds of a process, and of its children that have ended.
fn times(pid: i32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 to 17, where the name in parentheses is field 2.
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> =
        rest.split(' ').skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let [user, system, children_user, children_system] = ticks[..] else { return None };
    Some(((user + system) / TICKS_PER_SECOND, (children_user + children_system) / TICKS_PER_SECOND))
}

fn total(usage: &Usage) -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| {
        let whole = u32::try_from(time.tv_sec()).unwrap_or(u32::MAX);
        let micros = u32::try_from(time.tv_usec()).unwrap_or(0);
        f64::from(whole) + f64::from(micros) / 1e6
    };
    seconds(usage.user_time()) + seconds(usage.system_time())
}
