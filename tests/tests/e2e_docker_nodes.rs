//! A multi-node parallel job in Docker, whose nodes talk over TCP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use windrow_tests::cluster::free_port;
use windrow_tests::image::{BUSYBOX, is_docker_left_out, make_busybox};
use windrow_tests::{Cluster, wait_until};

/// The main node takes one connection at a time and answers it, until every other node has said that
/// it was answered; the others go on saying so. Any connection may end before either side was heard.
const SCRIPT: &str = r#"
port=$1
if [ $AWS_BATCH_JOB_NODE_INDEX = $AWS_BATCH_JOB_MAIN_NODE_INDEX ]; then
    : >/tmp/heard
    answered() { grep answered /tmp/heard | sort -u; }
    until [ $(answered | grep -c .) -ge $((AWS_BATCH_JOB_NUM_NODES - 1)) ]; do
        echo welcome | timeout 5 nc -l -p $port >>/tmp/heard
    done
    echo heard $(answered)
else
    address=$AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS
    word=here
    while :; do
        answer=$(echo $word-$AWS_BATCH_JOB_NODE_INDEX | timeout 5 nc $address $port 2>/dev/null)
        if [ $word = here ] && [ "$answer" = welcome ]; then
            echo $answer
            word=answered
        fi
        sleep 0.1
    done
fi
"#;

/// The networks of the cluster's containers that run.
fn networks(cluster: &Cluster) -> Vec<String> {
    let format = "{{.Label \"windrow.state-directory\"}} {{.Networks}}";
    let list = Command::new("docker").args(["ps", "--format", format]).output().unwrap();
    let data = cluster.data().display().to_string();
    let lines = String::from_utf8(list.stdout).unwrap();
    let ours = lines.lines().filter(|line| line.starts_with(&data));
    ours.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn nodes_in_containers_reach_the_main_node_over_tcp() {
    if is_docker_left_out() {
        return;
    }
    make_busybox();
    let cluster = Cluster::start_with(&["--agents", "3", "--vcpus-per-agent", "1"]);
    let port = free_port().to_string();
    let options = ["--nodes", "3", "--image", BUSYBOX, "--vcpus", "1", "--memory", "32", "--"];
    let id = cluster.submit(&[&options[..], &["sh", "-c", SCRIPT, "sh", &port]].concat());
    let job = cluster.ended(&id, 120);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
    assert_eq!(cluster.windrow(&["logs", &format!("{id}#0")]).ok(), "heard answered-1 answered-2");
    assert_eq!(cluster.windrow(&["logs", &format!("{id}#2")]).ok(), "welcome");
    let host = |node: u32| {
        let detail = cluster.job(&format!("{id}#{node}"));
        detail["attempts"][0]["container"]["containerInstanceArn"].as_str().unwrap().to_owned()
    };
    let hosts: BTreeSet<String> = (0..3).map(host).collect();
    assert_eq!(hosts.len(), 3, "each node on an agent of its own");
    wait_until("the containers to be removed", 60, || networks(&cluster).is_empty().then_some(()));
}

#[test]
fn nodes_have_their_hosts_network_and_end_with_their_job() {
    if is_docker_left_out() {
        return;
    }
    make_busybox();
    let cluster = Cluster::start_with(&["--agents", "2", "--vcpus-per-agent", "1"]);
    let options = ["--nodes", "2", "--image", BUSYBOX, "--vcpus", "1", "--memory", "32", "--"];
    let id = cluster.submit(&[&options[..], &["sleep", "3600"]].concat());
    let both = || Some(networks(&cluster)).filter(|networks| networks.len() == 2);
    let found = wait_until("both containers to run", 60, both);
    assert_eq!(found, ["host", "host"], "or nodes on other hosts could not reach them");
    cluster.windrow(&["job", "terminate", &id, "--reason", "enough"]).ok();
    assert_eq!(cluster.ended(&id, 60)["statusReason"], "enough");
    wait_until("the containers to be removed", 60, || networks(&cluster).is_empty().then_some(()));
}
