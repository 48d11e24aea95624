//! Multi-node parallel jobs with a real program, whose nodes talk over TCP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;
use windrow_tests::cluster::free_port;
use windrow_tests::part::{is_alive, signal};
use windrow_tests::{Cluster, agent, wait_until};

/// Every node but the main one connects to the main node and sends ten times its index; the main
/// node adds up what they send. With a file `hold` each first says that it is connected and then
/// waits until that file is gone.
const PROGRAM: &str = r#"
import os, socket, sys, time

scratch, port = sys.argv[1], int(sys.argv[2])
index = int(os.environ["AWS_BATCH_JOB_NODE_INDEX"])
count = int(os.environ["AWS_BATCH_JOB_NUM_NODES"])
main = int(os.environ["AWS_BATCH_JOB_MAIN_NODE_INDEX"])
address = os.environ.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS")

def hold():
    with open(f"{scratch}/node-{index}", "w") as file:
        file.write(str(os.getpid()))
    while os.path.exists(f"{scratch}/hold"):
        time.sleep(0.02)

if index == main:
    assert address is None
    with socket.create_server(("0.0.0.0", port)) as server:
        others = [server.accept()[0] for _ in range(count - 1)]
        hold()
        total = sum(int(other.makefile().readline()) for other in others)
    print("sum", total, flush=True)
    sys.exit(0 if total == sum(10 * i for i in range(count) if i != main) else 1)

# The main node was started first; its program may not listen yet.
for _ in range(1000):
    try:
        connection = socket.create_connection((address, port))
        break
    except OSError:
        time.sleep(0.02)
hold()
connection.sendall(f"{10 * index}\n".encode())
print("sent", 10 * index, flush=True)
time.sleep(3600)
"#;

/// The job's program and what it shares with the test.
struct Sum<'a> {
    cluster: &'a Cluster,
    scratch: PathBuf,
}

impl<'a> Sum<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let scratch = cluster.scratch();
        std::fs::write(scratch.join("sum.py"), PROGRAM).unwrap();
        Self { cluster, scratch }
    }

    fn submit(&self, nodes: &str) -> String {
        let port = free_port().to_string();
        let program = self.scratch.join("sum.py");
        let scratch = self.scratch.to_str().unwrap();
        let command = ["python3", program.to_str().unwrap(), scratch, &port];
        let mut all = vec!["--nodes", nodes, "--vcpus", "1", "--memory", "64", "--"];
        all.extend(command);
        self.cluster.submit(&all)
    }

    fn hold(&self) {
        std::fs::write(self.scratch.join("hold"), "").unwrap();
    }

    fn release(&self) {
        std::fs::remove_file(self.scratch.join("hold")).unwrap();
    }

    /// Process ids of all nodes, once all are connected.
    fn connected(&self, nodes: u32) -> Vec<i32> {
        let pid = |node: u32| {
            let file = self.scratch.join(format!("node-{node}"));
            std::fs::read_to_string(file).ok()?.parse::<i32>().ok()
        };
        wait_until("all nodes to connect", 60, || (0..nodes).map(pid).collect())
    }

    /// The node's host in the attempt, from 1.
    fn host(&self, job: &str, node: u32, attempt: usize) -> String {
        let detail = self.cluster.job(&format!("{job}#{node}"));
        let container = &detail["attempts"][attempt - 1]["container"];
        let arn = container["containerInstanceArn"].as_str();
        let arn = arn.unwrap_or_else(|| panic!("no attempt {attempt}: {detail:#}"));
        arn.rsplit('/').next().unwrap().to_owned()
    }
}

#[test]
fn nodes_find_the_main_node_whose_end_is_the_jobs() {
    let cluster = Cluster::start_with(&["--agents", "3", "--vcpus-per-agent", "1"]);
    let sum = Sum::new(&cluster);
    let id = sum.submit("3");
    let job = cluster.ended(&id, 60);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
    assert_eq!(job["nodeProperties"]["numNodes"], 3);
    assert_eq!(job["container"]["exitCode"], 0);
    let hosts: BTreeSet<String> = (0..3).map(|node| sum.host(&id, node, 1)).collect();
    assert_eq!(hosts.len(), 3, "each node has a host of its own");
    let main = cluster.windrow(&["logs", &format!("{id}#0")]).ok();
    assert_eq!(main, "sum 30");
    let printed = cluster.windrow(&["logs", &id]).ok();
    let lines: BTreeSet<&str> = printed.lines().collect();
    assert!(lines.contains("[0] sum 30") && lines.contains("[2] sent 20"), "{printed}");
    let shown = cluster.windrow(&["job", "get", &id]).ok();
    assert!(shown.contains("0 (main): SUCCEEDED, exit code 0"), "{shown}");
    let listed = cluster.windrow(&["job", "list", "--nodes", &id, "-o", "json"]).json();
    let rows = listed["jobSummaryList"].as_array().unwrap().clone();
    let ended = |row: &Value| row["status"] == "SUCCEEDED";
    assert!(rows.len() == 3 && rows.iter().all(ended), "{listed:#}");
}

#[test]
fn a_lost_host_starts_the_whole_job_again_elsewhere() {
    let options = ["lease_ttl=3s", "heartbeat=500ms"].map(|set| ["--coordinator-set", set]);
    let options = [["--agents", "2"], ["--vcpus-per-agent", "1"], options[0], options[1]].concat();
    let cluster = Cluster::start_with(&options);
    let mut doomed = agent::start(&cluster, "doomed", "1");
    let sum = Sum::new(&cluster);
    sum.hold();
    let id = sum.submit("3");
    let first = sum.connected(3);
    agent::kill_host(&cluster, "doomed", &mut doomed);
    let node = |node: u32| cluster.job(&format!("{id}#{node}"));
    let on_doomed = (0..3).find(|n| node(*n)["container"].to_string().contains("doomed")).unwrap();
    signal(first[on_doomed as usize], Signal::SIGKILL);
    wait_until("the others to be stopped", 60, || {
        first.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
    assert_eq!(cluster.job(&id)["status"], "RUNNABLE", "two hosts are too few");

    (0..3).for_each(|node| std::fs::remove_file(sum.scratch.join(format!("node-{node}"))).unwrap());
    let _heir = agent::start(&cluster, "heir", "1");
    sum.connected(3);
    sum.release();
    let job = cluster.ended(&id, 60);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "the loss was not charged: {job:#}");
    assert_eq!(attempts[0]["statusReason"], "Host EC2 (instance doomed) terminated.");
    let hosts: BTreeSet<String> = (0..3).map(|node| sum.host(&id, node, 2)).collect();
    assert!(hosts.contains("heir") && !hosts.contains("doomed"), "{hosts:?}");
}
