//! Multi-node jobs when hosts are lost, orders do not arrive, or agents give nodes back.

use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::quota::ResourceSharingStrategy;
use windrow_common::api::resources::DrainAgent;
use windrow_common::ids::JobRef;
use windrow_common::wire::agent::{EndCause, Held, Report};

use super::{end, nodes, phase, request, start, stop_all, taken, with_agents};
use crate::core::Command;
use crate::core::event::Preempted;
use crate::core::quota::Preemption;
use crate::core::state::Phase;

#[test]
fn a_lost_host_ends_the_whole_attempt_uncharged() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let first = start(&mut w, &agents);
    let (lost, _) = first[1].clone();
    w.lose(&lost);
    assert_eq!(w.status(job), JobStatus::Running);
    assert_eq!(stop_all(&mut w, &first), 2);
    assert_eq!(w.status(job), JobStatus::Runnable, "two hosts are too few");
    let reason = format!("Host EC2 (instance {lost}) terminated.");
    assert_eq!(w.detail(job).attempts[0].status_reason.as_deref(), Some(reason.as_str()));
    let mut agents = agents.to_vec();
    agents.push(w.agent("d", 2));
    let second = start(&mut w, &agents);
    assert!(second.iter().all(|(_, lease)| lease.attempt == 2));
    // The lost host comes back with its node: fenced.
    let held = vec![Held { lease: first[1].1.id, children: vec![(1, 1)], ..Held::default() }];
    assert_eq!(w.register(lost.as_str(), 2, held.clone()), held);
    end(&mut w, &second[0], EndCause::Exited, 0);
    stop_all(&mut w, &second);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    w.check_replay();
}

#[test]
fn a_main_node_that_fails_for_want_of_a_lost_peer_is_not_charged() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let first = start(&mut w, &agents);
    // Its connection broke long before the coordinator gave the host up.
    end(&mut w, &first[0], EndCause::Exited, 1);
    let survivors = [first[0].clone(), first[2].clone()];
    stop_all(&mut w, &survivors);
    assert_eq!(w.status(job), JobStatus::Running);
    w.lose(&first[1].0);
    assert_eq!(w.status(job), JobStatus::Runnable);
    w.check_replay();
}

#[test]
fn a_host_lost_before_the_main_node_runs_takes_the_attempt_with_it() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let main = taken(&mut w, &agents).remove(0);
    let other = agents.iter().find(|agent| **agent != main.0).unwrap();
    w.lose(other);
    assert_eq!(phase(&w, job), Phase::Ending);
    assert_eq!(stop_all(&mut w, std::slice::from_ref(&main)), 1);
    assert_eq!(w.status(job), JobStatus::Runnable);
    assert!(w.state.leases.is_empty());
    w.register(other.as_str(), 2, Vec::new());
    assert_eq!(start(&mut w, &agents)[0].1.attempt, 2);
    w.check_replay();
}

#[test]
fn a_job_that_takes_its_hosts_down_ends_failed() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    for _ in 0..=crate::core::limits::HOST_LOSSES_MAX {
        assert_eq!(w.status(job), JobStatus::Starting);
        let all = start(&mut w, &agents);
        w.lose(&all[0].0);
        stop_all(&mut w, &all[1..]);
        w.register(all[0].0.as_str(), 2, Vec::new());
    }
    assert_eq!(w.status(job), JobStatus::Failed);
}

#[test]
fn a_main_node_handed_back_before_its_start_takes_nothing_from_the_job() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let (agent, lease) = taken(&mut w, &agents).remove(0);
    w.does(Command::DrainAgent(DrainAgent { agent: agent.to_string(), drain: true }));
    let children = vec![(0, 1)];
    w.report(&agent, vec![Report::Returned { lease: lease.id, job, children }]);
    assert_eq!(nodes(&w, job), vec![JobStatus::Runnable; 3]);
    assert!(w.state.leases.is_empty());
    w.does(Command::DrainAgent(DrainAgent { agent: agent.to_string(), drain: false }));
    assert_eq!(start(&mut w, &agents)[0].1.attempt, 1);
    w.check_replay();
}

#[test]
fn another_node_handed_back_ends_the_attempt() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let main = taken(&mut w, &agents).remove(0);
    let started = w.started(&main.1, 0);
    w.report(&main.0, vec![started]);
    let others = taken(&mut w, &agents);
    let (agent, lease) = &others[0];
    let children = vec![(lease.first, 1)];
    w.report(agent, vec![Report::Returned { lease: lease.id, job, children }]);
    assert_eq!(stop_all(&mut w, &[main, others[1].clone()]), 2);
    assert_eq!(start(&mut w, &agents)[0].1.attempt, 2);
    assert_eq!(w.detail(JobRef::node(job, 1)).attempts.len(), 1);
    w.check_replay();
}

#[test]
fn a_new_session_keeps_the_nodes_and_repeats_what_was_lost() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    // The main node's order is lost on the way; the others hold nothing yet.
    let (agent, lost) = taken(&mut w, &agents).remove(0);
    for agent in &agents {
        assert!(w.register(agent.as_str(), 2, Vec::new()).is_empty());
    }
    let again = taken(&mut w, &agents);
    assert_eq!(again.len(), 1, "only what had been ordered is ordered again");
    let (_, main) = again[0].clone();
    assert_eq!((main.first, main.attempt), (0, 1));
    assert!(main.id > lost.id, "agents take leases in rising order only");
    let started = w.started(&main, 0);
    w.report(&agent, vec![started]);
    let others = taken(&mut w, &agents);
    // One order reached its agent, the other did not.
    let (kept, missed) = (&others[0], &others[1]);
    let held =
        vec![Held { lease: kept.1.id, children: vec![(kept.1.first, 1)], ..Held::default() }];
    w.register(kept.0.as_str(), 2, held);
    w.register(missed.0.as_str(), 2, Vec::new());
    let repeated = taken(&mut w, &agents);
    assert_eq!(repeated.len(), 1);
    assert_eq!(repeated[0].1.first, missed.1.first);
    assert_eq!(w.status(job), JobStatus::Running);
    // A node that ran and is not held any more is lost.
    w.register(agent.as_str(), 2, Vec::new());
    assert_eq!(phase(&w, job), Phase::Ending);
    w.check_replay();
}

#[test]
fn a_stop_is_told_again_to_a_new_session() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let all = start(&mut w, &agents);
    end(&mut w, &all[0], EndCause::Exited, 0);
    let (agent, lease) = &all[1];
    let held = vec![Held { lease: lease.id, children: vec![(lease.first, 1)], ..Held::default() }];
    w.register(agent.as_str(), 2, held);
    assert_eq!(stop_all(&mut w, &all), 2);
    assert_eq!(w.status(job), JobStatus::Succeeded);
}

#[test]
fn a_preempted_node_takes_its_whole_attempt_with_it_uncharged() {
    for begun in [false, true] {
        let (mut w, agents) = with_agents();
        w.quota_queue();
        w.quota_share("s", 8, ResourceSharingStrategy::Reserve);
        let job = w.submit(SubmitJob { job_definition: "m".into(), ..w.shared("s") });
        let all = if begun { start(&mut w, &agents) } else { taken(&mut w, &agents) };
        let preemption = Preemption { by: job, share: "s".parse().unwrap(), agent: None };
        let children = std::iter::once(2..3).collect();
        w.does(Command::Preempt(Preempted { job, children, preemption }));
        assert_eq!(phase(&w, job), Phase::Ending);
        stop_all(&mut w, &all);
        assert!(w.state.preemptions.is_empty());
        assert_eq!(start(&mut w, &agents)[0].1.attempt, 2);
        let reason = w.detail(job).attempts[0].status_reason.clone().unwrap();
        assert!(reason.starts_with("PREEMPT"), "{reason}");
        w.check_replay();
    }
}
