//! Faults of coordinators, with three servers that replicate and real processes in network namespaces.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Instant;

use windrow_common::api::jobs::JobStatus;
use windrow_tests::chaos::collect::{count, finish};
use windrow_tests::chaos::load::Order;
use windrow_tests::chaos::net::Cut;
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

/// A coordinator is cut off for longer than the lease time. The agents are not silent for that: the
/// time in which nobody listened does not count.
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
