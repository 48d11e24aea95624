//! Faults of agents and their hosts, with real processes in network namespaces. Every history is
//! judged by the checker; what a test asserts besides is what its fault is about.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use nix::sys::signal::Signal;
use windrow_common::api::disconnect::DisconnectPolicy;
use windrow_common::api::jobs::JobStatus;
use windrow_tests::chaos::collect::{count, finish};
use windrow_tests::chaos::history::History;
use windrow_tests::chaos::load::Order;
use windrow_tests::chaos::net::Cut;
use windrow_tests::chaos::node::Node;
use windrow_tests::chaos::{Options, Rig};
use windrow_tests::part::signal;
use windrow_tests::wait_until;

/// Far more than anything here takes.
const LIMIT: u64 = 120;

/// One NATS server and two agents: what is about agents does not need more.
fn small() -> Options {
    Options { servers: 1, agents: 2, ..Default::default() }
}

/// Attempts that ended because their host was lost.
fn lost(history: &History) -> usize {
    let children = history.jobs.values().flat_map(|job| &job.children);
    children.flat_map(|child| &child.attempts).filter(|attempt| attempt.is_lost()).count()
}

/// Fault 1: `kill -9` of an agent whose jobs run; it comes back within the lease time.
#[test]
fn a_killed_agent_adopts_what_runs() {
    let Some(mut rig) = Rig::start(&small()) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(100, 1_000));
    for round in 1..=3 {
        desk.wait_for_written(40 * round, LIMIT);
        desk.fault_begins("a1", "killed");
        rig.agents[0].kill();
        rig.agents[0].start();
        desk.fault_ends("a1");
    }
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 100);
    assert_eq!(lost(&history), 0, "it was never away for the lease time");
    assert_eq!(history.runs.len(), 100);
}

/// Fault 2: an agent's host loses power; its work runs elsewhere, uncharged.
#[test]
fn work_of_a_host_without_power_runs_elsewhere() {
    let Some(mut rig) = Rig::start(&small()) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(100, 1_000));
    desk.wait_for_written(60, LIMIT);
    desk.fault_begins("a1", "powered off");
    rig.agents[0].power_off();
    rig.wait_for_loss(0);
    // It comes back with an empty disk, as a new host would.
    std::fs::remove_dir_all(rig.state_directory("a1")).unwrap();
    rig.agents[0].start();
    desk.fault_ends("a1");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 100, "one attempt each, and losses are free");
    assert!(lost(&history) > 0);
}

/// Fault 1, the keeper's side: the parent of an agent's jobs is killed with them, the agent is not.
#[test]
fn jobs_of_a_killed_keeper_run_again() {
    let Some(rig) = Rig::start(&small()) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(100, 1_000));
    desk.wait_for_written(60, LIMIT);
    desk.fault_begins("a1", "keeper killed");
    for keeper in rig.agents[0].host.processes_with("windrow-agent keeper") {
        signal(keeper, Signal::SIGKILL);
    }
    desk.fault_ends("a1");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 100, "losses are free");
}

/// Fault 3: an agent is cut off, its jobs end meanwhile, and it is back within the lease time.
#[test]
fn results_of_a_short_partition_are_accepted_once() {
    let options = Options { lease_ttl: 30_000, ..small() };
    let Some(rig) = Rig::start(&options) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(100, 1_000));
    desk.wait_for_written(60, LIMIT);
    desk.fault_begins("a1", "cut off");
    rig.agents[0].cut(Cut::Both);
    // All that it has ends: whatever is written now comes from the other one.
    wait_until("its jobs to end", LIMIT, || {
        rig.agents[0].host.processes_with("windrow-chaos attempt").is_empty().then_some(())
    });
    rig.agents[0].heal();
    desk.fault_ends("a1");
    let history = finish(&rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 100);
    assert_eq!((history.runs.len(), lost(&history)), (100, 0), "nothing ran again");
}

/// Fault 4: the same, but the agent comes back when its work has been given to the other one. What
/// the latter runs counts; the former's results are refused, and what still runs there is stopped.
#[test]
fn a_long_partition_ends_with_one_result_each() {
    let Some(rig) = Rig::start(&small()) else { return };
    assert_replaced(&rig, Cut::Both);
}

/// Fault 5: an agent hears and is not heard. To the cluster it is lost, as in fault 4.
#[test]
fn an_agent_that_is_not_heard_is_given_up() {
    let Some(rig) = Rig::start(&small()) else { return };
    assert_replaced(&rig, Cut::Out);
}

/// Fault 5, the other way: an agent speaks and hears nothing. Its connection breaks for want of
/// answers, and with it the agent is lost.
#[test]
fn an_agent_that_hears_nothing_is_given_up() {
    let Some(rig) = Rig::start(&small()) else { return };
    assert_replaced(&rig, Cut::In);
}

/// Cuts the first agent off until it is lost, and for longer than its jobs run; heals when
/// replacements run.
fn assert_replaced(rig: &Rig, cut: Cut) {
    let desk = rig.desk();
    // The attempts outlast the lease time, so that both copies run at the same time.
    desk.submit(&Order::array(60, 12_000));
    desk.wait_for_written(40, LIMIT);
    desk.fault_begins("a1", &format!("cut off: {cut:?}"));
    rig.agents[0].cut(cut);
    rig.wait_for_loss(0);
    let before = desk.written();
    wait_until("replacements to run", LIMIT, || (desk.written() > before + 4).then_some(()));
    rig.agents[0].heal();
    desk.fault_ends("a1");
    let history = finish(rig, &desk, LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 60, "one attempt each, and losses are free");
    assert!(lost(&history) > 0);
}

/// *Strict*: never two live attempts of a child. An agent stands still, one is killed and stays away, one is
/// cut off, each until its work has been given to others. What attempts wrote shows that none of its
/// own lived until then, although the first two agents could do nothing about it.
#[test]
fn strict_never_has_two_live_attempts() {
    let policy = DisconnectPolicy {
        lost_after_seconds: Some(12),
        stop_after_seconds: Some(5),
        strict: Some(true),
        ..Default::default()
    };
    let mut options = Options { agents: 4, disconnect: Some(policy), ..small() };
    options.coordinator.push("limits.silence_seconds_min=5".to_owned());
    let Some(mut rig) = Rig::start(&options) else { return };
    let desk = rig.desk();
    desk.submit(&Order::array(60, 15_000));
    desk.wait_for_written(60, LIMIT);
    type Do = fn(&mut Node);
    let suffer: [(&str, Do, Do); 3] = [
        ("stands still", |node| node.freeze(), |node| node.thaw()),
        ("killed", Node::kill, Node::start),
        ("cut off", |node| node.cut(Cut::Both), |node| node.heal()),
    ];
    for (agent, (what, begin, _)) in rig.agents.iter_mut().zip(suffer) {
        desk.fault_begins(&agent.name, what);
        begin(agent);
    }
    (0..3).for_each(|agent| rig.wait_for_loss(agent));
    let before = desk.written();
    wait_until("replacements to run", LIMIT, || (desk.written() > before + 4).then_some(()));
    for (agent, (.., end)) in rig.agents.iter_mut().zip(suffer) {
        end(agent);
        desk.fault_ends(&agent.name);
    }
    let history = finish(&rig, &desk, 2 * LIMIT);
    assert_eq!(count(&history, JobStatus::Succeeded), 60, "one attempt each, and losses are free");
    assert!(lost(&history) > 0);
}
