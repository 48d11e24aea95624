//! Faults of coordinators, with three servers that replicate and real processes in network namespaces.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Instant;

use windrow_common::api::jobs::JobStatus;
use windrow_tests::chaos::collect::{count, finish};
use windrow_tests::chaos::load::Order;
use windrow_tests::chaos::net::Cut;
use windrow_tests::chaos::node::Node;
use windrow_tests::chaos::random::Dice;
use windrow_tests::chaos::{Options, Rig};

/// Far more than anything here takes.
const LIMIT: u64 = 240;
const CHILDREN: u32 = 10_000;
const KILLS: usize = 25;

/// Fault 6, 25 times: the coordinator is killed at random moments of an array of 10,000 children. Of
/// each exactly one result is accepted, and no child runs twice.
#[test]
fn an_array_survives_25_kills_of_its_coordinator() {
    let options = Options { agents: 2, vcpus: 4, ..Default::default() };
    let Some(mut rig) = Rig::start(&options) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(CHILDREN, 0));
    let mut dice = Dice::new(25);
    let lines = 2 * CHILDREN as usize;
    let mut recoveries = Vec::new();
    for kill in 0..KILLS {
        let moment = lines * kill / KILLS + dice.index(lines / KILLS);
        desk.wait_for_written(moment, LIMIT);
        desk.fault_begins("c1", "killed");
        rig.coordinators[0].kill();
        let before = desk.written();
        let killed = Instant::now();
        rig.coordinators[0].start();
        if before < lines {
            // What agents had still begins without a coordinator: this waits until that is used up.
            desk.wait_for_written((before + lines / 100).min(lines), LIMIT);
        }
        recoveries.push(killed.elapsed());
        desk.fault_ends("c1");
    }
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), CHILDREN as usize);
    assert_eq!(history.runs.len(), CHILDREN as usize, "no child ran twice");
    recoveries.sort();
    let (median, longest) = (recoveries[KILLS / 2], recoveries[KILLS - 1]);
    eprintln!(
        "{KILLS} kills: the next 1 % of the work began after {median:?} (median), {longest:?} (longest)"
    );
}

/// A coordinator without a standby is cut off for longer than the lease time. The agents are not silent for
/// that: the time in which nobody listened does not count.
#[test]
fn nothing_is_lost_while_the_coordinator_is_cut_off() {
    let Some(rig) = Rig::start(&Options { agents: 2, ..Default::default() }) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(200, 2_000));
    desk.wait_for_written(60, LIMIT);
    desk.fault_begins("c1", "cut off");
    rig.coordinators[0].cut(Cut::Both);
    std::thread::sleep(std::time::Duration::from_millis(2 * rig.lease_ttl()));
    rig.coordinators[0].heal();
    desk.fault_ends("c1");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 200);
    assert_eq!(history.runs.len(), 200, "no child ran twice");
}

/// Faults 8 and 9: the leader is killed, stands still, is cut off from everybody, hears nothing, is not
/// heard. Each time another leads, and what is submitted is run before the former one is back.
#[test]
fn work_goes_on_whatever_becomes_of_the_leader() {
    let Some(mut rig) = Rig::start(&with_standbys()) else { return };
    let desk = rig.desk();
    type Do = fn(&mut Node);
    let faults: [(&str, Do, Do); 5] = [
        ("killed", Node::kill, Node::start),
        ("stands still", |node| node.freeze(), |node| node.thaw()),
        ("cut off", |node| node.cut(Cut::Both), |node| node.heal()),
        ("hears nothing", |node| node.cut(Cut::In), |node| node.heal()),
        ("is not heard", |node| node.cut(Cut::Out), |node| node.heal()),
    ];
    for (what, begin, end) in faults {
        let before = desk.submit(&Order::array(40, 500));
        let leader = rig.wait_for_leader();
        let name = rig.coordinators[leader].name.clone();
        desk.fault_begins(&name, what);
        let began = Instant::now();
        begin(&mut rig.coordinators[leader]);
        rig.wait_for_successor(leader);
        eprintln!("a leader that {what}: another answers after {:?}", began.elapsed());
        let meanwhile = desk.submit(&Order::array(20, 100));
        desk.wait(&before, LIMIT);
        desk.wait(&meanwhile, LIMIT);
        end(&mut rig.coordinators[leader]);
        desk.fault_ends(&name);
        rig.wait_for_standbys();
    }
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 60 * faults.len());
    assert_eq!(history.runs.len(), 60 * faults.len(), "no child ran twice");
}

/// What is no reason for another to lead, or leaves nobody to: a standby is killed, the leader is cut off
/// from one NATS server, its clock jumps an hour ahead and back, all coordinators are killed at once.
#[test]
fn work_goes_on_whatever_becomes_of_the_others() {
    let Some(mut rig) = Rig::start(&with_standbys()) else { return };
    let desk = rig.desk();
    let leader = rig.wait_for_leader();
    let standby = (leader + 1) % rig.coordinators.len();
    let round = |rig: &Rig, name: &str, what: &str, fault: &mut dyn FnMut()| {
        desk.fault_begins(name, what);
        let before = desk.submit(&Order::array(40, 500));
        fault();
        let meanwhile = desk.submit(&Order::array(20, 100));
        desk.wait(&before, LIMIT);
        desk.wait(&meanwhile, LIMIT);
        rig.wait_for_leader()
    };
    let name = rig.coordinators[standby].name.clone();
    rig.coordinators[standby].kill();
    assert_eq!(round(&rig, &name, "killed", &mut || {}), leader, "nobody minds");
    rig.coordinators[standby].start();
    desk.fault_ends(&name);

    let name = rig.coordinators[leader].name.clone();
    let server = rig.servers[0].host.address;
    round(&rig, &name, "cut off from a server", &mut || rig.coordinators[leader].cut_from(server));
    rig.coordinators[leader].heal();
    desk.fault_ends(&name);

    let leader = rig.wait_for_leader();
    let name = rig.coordinators[leader].name.clone();
    for seconds in [3_600, -3_600, 0] {
        let mut jump = || {
            if !rig.coordinators[leader].set_clock(seconds) {
                eprintln!("SKIPPED: its clock cannot be set: libfaketime is missing");
            }
        };
        assert_eq!(round(&rig, &name, &format!("{seconds} s off"), &mut jump), leader);
        desk.fault_ends(&name);
    }

    let job = desk.submit(&Order::array(200, 500));
    for node in &mut rig.coordinators {
        desk.fault_begins(&node.name, "killed");
        node.kill();
    }
    for node in &mut rig.coordinators {
        node.start();
        desk.fault_ends(&node.name);
    }
    desk.wait(&job, LIMIT);
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), history.runs.len(), "no child ran twice");
    assert_eq!(history.runs.len(), 5 * 60 + 200);
}

/// Three coordinators, and no more agents than they need.
fn with_standbys() -> Options {
    Options { coordinators: 3, agents: 2, ..Default::default() }
}
