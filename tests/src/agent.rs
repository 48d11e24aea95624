//! Agents outside `windrow up`, so that nobody restarts them.

use nix::sys::signal::Signal;

use crate::Cluster;
use crate::part::{Part, processes_with, signal};

/// Starts an agent of this name with so many vCPUs.
pub fn start(cluster: &Cluster, name: &str, vcpus: &str) -> Part {
    start_in(cluster, name, name, vcpus)
}

/// As [`start`], with a state directory and a log of that name.
pub fn start_in(cluster: &Cluster, name: &str, directory: &str, vcpus: &str) -> Part {
    let log = cluster.scratch().join(format!("{directory}.log"));
    let directory = cluster.scratch().join(directory);
    let mut command = cluster.program("windrow-agent");
    command.args(["--nats-url", &cluster.nats_url(), "--cluster", "windrow", "--name", name]);
    command.args(["--state-directory", &directory.to_string_lossy()]);
    command.args(["--compute-environment", "default", "--vcpus", vcpus, "--memory", "4096"]);
    Part::start(&mut command, &log)
}

/// Keepers of that agent: the processes that hold its jobs.
pub fn keepers(cluster: &Cluster, name: &str) -> Vec<i32> {
    let directory = cluster.scratch().join(name);
    processes_with(&["windrow-agent", "keeper", &directory.to_string_lossy()])
}

/// Ends the agent and its keeper at once, as if its host were gone.
pub fn kill_host(cluster: &Cluster, name: &str, agent: &mut Part) {
    agent.kill();
    for keeper in keepers(cluster, name) {
        signal(keeper, Signal::SIGKILL);
    }
}
