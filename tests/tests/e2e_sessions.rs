//! Sessions of agents: half made ones, and two agents for one.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use windrow_common::ids::Name;
use windrow_common::streams::Streams;
use windrow_common::subjects::Subjects;
use windrow_tests::{Cluster, agent, wait_until};

/// A coordinator dies after a new session is in the journal and before the former one's reader of orders
/// is exchanged: the next knows only of the new one, and the former's is in its way.
#[tokio::test]
async fn an_agent_joins_although_a_former_session_is_in_the_way() {
    let cluster = Cluster::start();
    let agents = cluster.windrow(&["agent", "list", "-o", "json"]).json();
    let agent: Name = agents["agents"][0]["agent"].as_str().unwrap().parse().unwrap();
    let streams = Streams::new(Subjects::new("windrow".parse().unwrap()));
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let name = streams.lease_stream(&agent);
    let leases = async_nats::jetstream::new(client).get_stream(name).await.unwrap();
    let environment = "default".parse().unwrap();
    let consumer = |session| streams.lease_consumer(&environment, &agent, session);
    let current = consumer(1).durable_name.unwrap();
    leases.delete_consumer(&current).await.unwrap();
    leases.create_consumer(consumer(1_000)).await.unwrap();

    let job = cluster.submit(&["--", "true"]);
    assert_eq!(cluster.ended(&job, 60)["status"], "SUCCEEDED");
    let old = consumer(1_000).durable_name.unwrap();
    assert!(leases.consumer_info(&old).await.is_err(), "`{old}` is still there");
}

/// Fault 49. The one that came later has the name; the other is told, and nothing runs twice.
#[tokio::test]
async fn two_agents_of_one_name_do_not_take_each_others_place_for_ever() {
    let cluster = Cluster::start_with(&["--agents", "0"]);
    let first = agent::start_in(&cluster, "twin", "first", "4");
    let log =
        |name: &str| std::fs::read_to_string(cluster.scratch().join(name)).unwrap_or_default();
    wait_until("the first agent joins", 30, || log("first.log").contains("joined").then_some(()));
    let (runs, go) = (cluster.scratch().join("runs"), cluster.scratch().join("go"));
    let script = format!(
        "echo start $$ >>{0}; until [ -e {1} ]; do sleep 0.1; done; echo end $$ >>{0}",
        runs.display(),
        go.display()
    );
    let job = cluster.submit(&["--", "sh", "-c", &script]);
    let lines = || std::fs::read_to_string(&runs).unwrap_or_default();
    let started = |times| move || (lines().matches("start").count() == times).then_some(());
    wait_until("the job runs on the first agent", 30, started(1));

    let _second = agent::start_in(&cluster, "twin", "second", "4");
    wait_until("the first agent is told", 60, || {
        log("first.log").contains("is not wanted").then_some(())
    });
    wait_until("the job runs on the second agent", 60, started(2));
    wait_until("what the first agent ran is killed", 60, || {
        (windrow_tests::part::processes_with(&[&script]).len() == 1).then_some(())
    });
    std::fs::write(&go, "").unwrap();
    let ended = cluster.ended(&job, 60);
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    assert_eq!(ended["attempts"].as_array().unwrap().len(), 2, "{ended:#}");
    assert_eq!((lines().matches("start").count(), lines().matches("end").count()), (2, 1));
    let joined = |name| log(name).matches("joined the cluster").count();
    assert_eq!((joined("first.log"), joined("second.log")), (1, 1), "neither took the place back");
    drop(first);
}
