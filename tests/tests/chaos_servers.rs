//! Faults of the NATS servers, with three of them and real processes in network namespaces.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use windrow_common::api::ErrorKind;
use windrow_common::api::jobs::JobStatus;
use windrow_tests::chaos::client::Unanswered;
use windrow_tests::chaos::collect::{count, finish};
use windrow_tests::chaos::load::Order;
use windrow_tests::chaos::net::Cut;
use windrow_tests::chaos::node::Node;
use windrow_tests::chaos::{Options, Rig};
use windrow_tests::program::Finished;

/// Far more than anything here takes.
const LIMIT: u64 = 180;

/// Two agents are enough.
fn options() -> Options {
    Options { agents: 2, ..Default::default() }
}

/// Fault 12: each of the three servers is killed in turn, and later comes back.
#[test]
fn work_goes_on_while_each_server_is_killed_in_turn() {
    assert_works_without(&[0, 1, 2], Node::kill, Node::start);
}

/// Fault 12, as a partition: a server is cut off from the others and from whoever is connected to it.
#[test]
fn work_goes_on_while_a_server_is_cut_off() {
    assert_works_without(&[0], |node| node.cut(Cut::Both), |node| node.heal());
}

/// Takes one server after the other away; each comes back when the others have worked without it.
fn assert_works_without(servers: &[usize], away: fn(&mut Node), back: fn(&mut Node)) {
    let Some(mut rig) = Rig::start(&options()) else { return };
    let desk = rig.desk();
    for &server in servers {
        let name = rig.servers[server].name.clone();
        let before = desk.submit(&Order::array(60, 500));
        desk.fault_begins(&name, "away");
        away(&mut rig.servers[server]);
        // What was accepted is run, and more is accepted, without it.
        let meanwhile = desk.submit(&Order::array(20, 100));
        desk.wait(&before, LIMIT);
        desk.wait(&meanwhile, LIMIT);
        back(&mut rig.servers[server]);
        rig.wait_for_server(server);
        desk.fault_ends(&name);
    }
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 80 * servers.len());
}

/// Fault 13: two of three servers are lost. What runs goes on; requests are answered with an error that
/// says to repeat, or not at all; when they are back everything goes on.
#[test]
fn jobs_run_on_without_two_of_three_servers() {
    let Some(mut rig) = Rig::start(&options()) else { return };
    let desk = rig.desk();
    let job = desk.submit(&Order::array(40, 6_000));
    desk.wait_for_written(40, LIMIT);
    for server in [0, 1] {
        let name = rig.servers[server].name.clone();
        desk.fault_begins(&name, "killed");
        rig.servers[server].kill();
    }
    desk.wait_for_written(80, LIMIT);
    let request = desk.request(&Order::single(10), "job-2");
    match desk.client.ask_once(&request) {
        Err(Unanswered::Refused(error)) => assert_eq!(error.kind, ErrorKind::Unavailable),
        Err(Unanswered::Unknown(_)) => {}
        Ok(answer) => panic!("accepted without a journal: {answer:?}"),
    }
    for server in [0, 1] {
        rig.servers[server].start();
        desk.fault_ends(&rig.servers[server].name);
    }
    // The user repeats with the key; whether the first one arrived does not matter.
    desk.submit(&Order::single(10));
    desk.wait(&job, LIMIT);
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 41);
}

/// The stream with an agent's orders has no leader and gets none, while everything else goes on: it is
/// made anew on the other servers.
#[test]
fn an_agents_orders_come_although_their_stream_is_lost() {
    let Some(mut rig) = Rig::start(&Options { agents: 1, ..options() }) else { return };
    let desk = rig.desk();
    rig.client.put_orders_on("a1", "n3");
    desk.wait(&desk.submit(&Order::array(4, 100)), LIMIT);
    desk.fault_begins("n3", "away");
    rig.servers[2].power_off();
    let job = desk.submit(&Order::array(20, 100));
    desk.wait(&job, LIMIT);
    rig.servers[2].start();
    rig.wait_for_server(2);
    desk.fault_ends("n3");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 24);
}

/// All servers lose power at once and come back with their disks: what was acknowledged is there.
#[test]
fn everything_is_there_after_all_servers_lost_power() {
    let Some(mut rig) = Rig::start(&options()) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(100, 1_000));
    for round in 1..=2 {
        desk.wait_for_written(60 * round, LIMIT);
        for server in &mut rig.servers {
            desk.fault_begins(&server.name, "killed");
            server.kill();
        }
        for server in &mut rig.servers {
            server.start();
            desk.fault_ends(&server.name);
        }
    }
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 100);
}

/// Fault 14 on one of three: a server comes back with its disk as it was a while ago, as after a restore
/// or with lost writes. The others have what it lacks.
#[test]
fn a_server_whose_store_was_put_back_catches_up() {
    let Some(mut rig) = Rig::start(&options()) else { return };
    let desk = rig.desk();
    let (store, copy) = (rig.path("n1-store"), rig.path("n1-copy"));
    let first = desk.submit(&Order::array(40, 100));
    desk.wait(&first, LIMIT);
    rig.servers[0].kill();
    copy_directory(&store, &copy);
    rig.servers[0].start();
    rig.wait_for_server(0);
    let second = desk.submit(&Order::array(40, 100));
    desk.wait(&second, LIMIT);
    desk.fault_begins("n1", "store put back");
    rig.servers[0].kill();
    std::fs::remove_dir_all(&store).unwrap();
    copy_directory(&copy, &store);
    rig.servers[0].start();
    rig.wait_for_server(0);
    desk.fault_ends("n1");
    // It takes part in decisions again.
    desk.fault_begins("n2", "killed");
    rig.servers[1].kill();
    let third = desk.submit(&Order::array(40, 100));
    desk.wait(&third, LIMIT);
    rig.servers[1].start();
    desk.fault_ends("n2");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 120);
}

fn copy_directory(from: &Path, to: &Path) {
    Finished::run(Command::new("cp").arg("-a").args([from, to])).ok();
}
