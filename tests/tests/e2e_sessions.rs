//! Sessions of agents that were half made.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use windrow_common::streams::Streams;
use windrow_common::subjects::Subjects;
use windrow_tests::Cluster;

/// A coordinator dies after a new session is in the journal and before the former one's reader of orders
/// is exchanged: the next knows only of the new one, and the former's is in its way.
#[tokio::test]
async fn an_agent_joins_although_a_former_session_is_in_the_way() {
    let cluster = Cluster::start();
    let agents = cluster.windrow(&["agent", "list", "-o", "json"]).json();
    let agent = agents["agents"][0]["agent"].as_str().unwrap().parse().unwrap();
    let streams = Streams::new(Subjects::new("windrow".parse().unwrap()));
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let name = streams.leases(&Default::default()).name;
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
