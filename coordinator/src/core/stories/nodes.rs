//! Multi-node parallel jobs: all nodes or none, the main node's end is the job's.

mod definitions;
mod faults;

use windrow_common::api::definitions::{
    ContainerProperties, EvaluateOnExit, NodeProperties, NodeRangeProperty, RegisterJobDefinition,
    ResourceRequirement, RetryBackoff, RetryStrategy,
};
use windrow_common::api::jobs::{CancelJob, JobStatus, ListJobs, SubmitJob};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::{Lease, Order};

use crate::core::Command;
use crate::core::state::Phase;
use crate::core::world::{World, on};
use crate::view;

fn container(vcpus: &str) -> ContainerProperties {
    let need =
        |kind: &str, value: &str| ResourceRequirement { kind: kind.into(), value: value.into() };
    ContainerProperties {
        command: Some(vec!["true".into()]),
        resource_requirements: Some(vec![need("VCPU", vcpus), need("MEMORY", "100")]),
        ..Default::default()
    }
}

pub(in crate::core) fn range(target: &str, vcpus: &str) -> NodeRangeProperty {
    NodeRangeProperty {
        target_nodes: target.into(),
        container: Some(container(vcpus)),
        ..Default::default()
    }
}

pub(in crate::core) fn multinode(
    name: &str,
    count: u32,
    ranges: Vec<NodeRangeProperty>,
) -> RegisterJobDefinition {
    RegisterJobDefinition {
        job_definition_name: name.into(),
        kind: "multinode".into(),
        node_properties: Some(NodeProperties {
            num_nodes: count,
            main_node: 0,
            node_range_properties: ranges,
        }),
        ..Default::default()
    }
}

/// Definition `m`: a main node of one core, two others of two cores. Agents a, b and c of two cores.
fn world() -> World {
    let mut w = World::new();
    let definition = multinode("m", 3, vec![range("0:0", "1"), range("1:", "2")]);
    w.does(Command::RegisterDefinition(Box::new(definition)));
    w
}

fn with_agents() -> (World, [Name; 3]) {
    let mut w = world();
    let agents = ["a", "b", "c"].map(|name| w.agent(name, 2));
    (w, agents)
}

fn request(w: &World, attempts: u32) -> SubmitJob {
    SubmitJob { job_definition: "m".into(), ..w.retrying(attempts) }
}

/// Takes the run orders of all agents: the leases with their agents, main node's first.
fn taken(w: &mut World, agents: &[Name]) -> Vec<(Name, Lease)> {
    let of = |agent: &Name, w: &mut World| {
        w.leases(agent).into_iter().map(|lease| (agent.clone(), lease)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = agents.iter().flat_map(|agent| of(agent, w)).collect();
    all.sort_by_key(|(_, lease)| lease.first);
    all
}

/// The main node starts, then the others: all leases, by node.
fn start(w: &mut World, agents: &[Name]) -> Vec<(Name, Lease)> {
    let mut all = taken(w, agents);
    assert_eq!(all.len(), 1, "only the main node is ordered at first");
    let (agent, lease) = all[0].clone();
    let started = w.started(&lease, lease.first);
    w.report(&agent, vec![started]);
    let others = taken(w, agents);
    for (agent, lease) in &others {
        let started = w.started(lease, lease.first);
        w.report(agent, vec![started]);
    }
    all.extend(others);
    all
}

fn end(w: &mut World, (agent, lease): &(Name, Lease), cause: EndCause, code: i32) {
    let ended = w.ended(lease, lease.first, cause, code);
    w.report(agent, vec![ended]);
}

/// Nodes that were told to stop do so.
fn stop_all(w: &mut World, nodes: &[(Name, Lease)]) -> usize {
    let mut stopped = 0;
    for node in nodes {
        let orders = w.orders.entry(node.0.clone()).or_default();
        let before = orders.len();
        orders.retain(|order| !matches!(order, Order::Stop(stop) if stop.lease == node.1.id));
        if orders.len() < before {
            end(w, node, EndCause::Stopped, 143);
            stopped += 1;
        }
    }
    stopped
}

fn phase(w: &World, job: JobId) -> Phase {
    w.state.jobs[&job].nodes.as_ref().unwrap().phase
}

fn nodes(w: &World, job: JobId) -> Vec<JobStatus> {
    (0..w.state.jobs[&job].children.size()).map(|node| w.child(job, node)).collect()
}

#[test]
fn all_nodes_are_leased_at_once_or_none() {
    let mut w = world();
    let job = w.submit(request(&w, 1));
    let mut agents = vec![w.agent("a", 2), w.agent("b", 2)];
    assert_eq!(w.status(job), JobStatus::Runnable);
    assert!(w.state.leases.is_empty(), "no part of it is ever held");
    agents.push(w.agent("c", 2));
    assert_eq!(w.status(job), JobStatus::Starting);
    assert_eq!(w.state.leases.len(), 3);
    let main = taken(&mut w, &agents);
    assert_eq!(main.len(), 1, "the others wait for the main node");
    let (agent, lease) = &main[0];
    assert_eq!((lease.first, lease.count, lease.array_size), (0, 1, None));
    let place = lease.nodes.as_ref().unwrap();
    assert_eq!((place.count, place.main), (3, 0));

    let started = w.started(lease, 0);
    w.report(agent, vec![started.clone()]);
    assert_eq!(w.status(job), JobStatus::Running);
    let others = taken(&mut w, &agents);
    assert_eq!(others.iter().map(|(_, l)| l.first).collect::<Vec<_>>(), vec![1, 2]);
    let address = w.state.agents[agent].address.clone();
    assert!(address.is_some());
    for (other, lease) in &others {
        assert_ne!(other, agent, "each has a host of its own");
        assert_eq!(lease.nodes.as_ref().unwrap().main_address, address);
        assert_eq!(lease.resources.cpu.0, 2000);
    }
    // The agent says it again after a new registration.
    w.report(agent, vec![started]);
    assert!(taken(&mut w, &agents).is_empty(), "the others are ordered once");
    w.check_replay();
}

#[test]
fn one_host_may_hold_all_nodes() {
    let mut w = world();
    let agent = w.agent("laptop", 8);
    let job = w.submit(request(&w, 1));
    let all = start(&mut w, std::slice::from_ref(&agent));
    assert_eq!(all.len(), 3);
    end(&mut w, &all[0], EndCause::Exited, 0);
    assert_eq!(stop_all(&mut w, &all), 2);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    assert_eq!(w.state.agents[&agent].leased, Default::default());
}

#[test]
fn the_main_nodes_exit_decides_and_the_others_are_stopped() {
    for (code, status) in [(0, JobStatus::Succeeded), (3, JobStatus::Failed)] {
        let (mut w, agents) = with_agents();
        let job = w.submit(request(&w, 1));
        let all = start(&mut w, &agents);
        end(&mut w, &all[1], EndCause::Exited, 1);
        assert_eq!(w.status(job), JobStatus::Running, "another node's failure changes nothing");
        assert_eq!(w.child(job, 1), JobStatus::Failed);
        end(&mut w, &all[0], EndCause::Exited, code);
        assert_eq!(w.status(job), JobStatus::Running, "until the last node has ended");
        assert_eq!(stop_all(&mut w, &all), 1);
        assert_eq!(w.status(job), status);
        assert_eq!(nodes(&w, job), vec![status, JobStatus::Failed, status]);
        let detail = w.detail(job);
        assert_eq!(detail.container.unwrap().outcome.exit_code, Some(code));
        assert_eq!(detail.status_reason.as_deref(), Some("Essential container in task exited"));
        assert_eq!(detail.stopped_at, Some(w.now.0));
        let stopped = w.detail(JobRef::node(job, 2));
        let reason = "Stopped with the other nodes of its job";
        assert_eq!(stopped.status_reason.as_deref(), Some(reason));
        assert_eq!(w.state.queues[&"q".parse().unwrap()].active_jobs, 0);
        w.check_replay();
    }
}

#[test]
fn a_main_node_that_ends_at_once_ends_the_job() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let main = taken(&mut w, &agents).remove(0);
    // The start was not worth a report of its own.
    end(&mut w, &main, EndCause::Exited, 0);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    assert!(taken(&mut w, &agents).is_empty());
    assert!(w.state.leases.is_empty());
    assert!(w.detail(JobRef::node(job, 1)).attempts[0].started_at.is_none());
    w.check_replay();
}

#[test]
fn a_failed_main_node_starts_all_nodes_again_once_all_have_ended() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 2));
    let first = start(&mut w, &agents);
    end(&mut w, &first[2], EndCause::Exited, 0);
    end(&mut w, &first[0], EndCause::Exited, 7);
    assert_eq!(w.status(job), JobStatus::Running);
    assert!(taken(&mut w, &agents).is_empty(), "not beside a node of the attempt before");
    stop_all(&mut w, &first);
    assert_eq!(w.status(job), JobStatus::Starting);
    let second = start(&mut w, &agents);
    assert!(second.iter().all(|(_, lease)| lease.attempt == 2));
    end(&mut w, &second[0], EndCause::Exited, 7);
    stop_all(&mut w, &second);
    assert_eq!(w.status(job), JobStatus::Failed);
    for node in 0..3 {
        assert_eq!(w.detail(JobRef::node(job, node)).attempts.len(), 2, "each keeps its attempts");
    }
    let attempts = w.detail(job).attempts;
    assert_eq!(attempts.iter().map(|a| a.container.exit_code).collect::<Vec<_>>(), [Some(7); 2]);
    w.check_replay();
}

#[test]
fn all_nodes_back_off_together() {
    let (mut w, agents) = with_agents();
    let mut request = request(&w, 2);
    let backoff = RetryBackoff { initial_seconds: Some(10), ..RetryBackoff::default() };
    request.retry_strategy.as_mut().unwrap().backoff = Some(backoff);
    let job = w.submit(request);
    let all = start(&mut w, &agents);
    end(&mut w, &all[0], EndCause::Exited, 1);
    stop_all(&mut w, &all);
    assert_eq!(nodes(&w, job), vec![JobStatus::Runnable; 3]);
    w.advance(9);
    assert!(w.state.leases.is_empty(), "not before its time");
    w.advance(1);
    assert_eq!(start(&mut w, &agents)[2].1.attempt, 2);
    w.check_replay();
}

#[test]
fn rules_on_exits_look_at_the_main_node_only() {
    let (mut w, agents) = with_agents();
    let rule = EvaluateOnExit {
        on_exit_code: Some("7".into()),
        action: "EXIT".into(),
        ..Default::default()
    };
    let strategy =
        RetryStrategy { attempts: Some(5), evaluate_on_exit: vec![rule], ..Default::default() };
    let job = w.submit(SubmitJob { retry_strategy: Some(strategy), ..request(&w, 1) });
    let first = start(&mut w, &agents);
    end(&mut w, &first[1], EndCause::Exited, 7);
    end(&mut w, &first[0], EndCause::Exited, 1);
    stop_all(&mut w, &first);
    let second = start(&mut w, &agents);
    end(&mut w, &second[0], EndCause::Exited, 7);
    stop_all(&mut w, &second);
    assert_eq!(w.status(job), JobStatus::Failed);
}

#[test]
fn terminate_stops_all_nodes_whatever_has_begun() {
    for begin in 0..3 {
        let (mut w, agents) = with_agents();
        let job = w.submit(request(&w, 5));
        let mut all = match begin {
            0 => Vec::new(),
            1 => taken(&mut w, &agents),
            _ => start(&mut w, &agents),
        };
        w.terminate(&job.to_string());
        if begin == 0 {
            all = taken(&mut w, &agents);
        }
        stop_all(&mut w, &all);
        assert_eq!(nodes(&w, job), vec![JobStatus::Failed; 3], "{begin}");
        let detail = w.detail(job);
        assert_eq!(detail.status_reason.as_deref(), Some("stop it"));
        assert!(detail.is_terminated);
        assert!(w.state.leases.is_empty());
        w.check_replay();
    }
}

#[test]
fn terminate_while_the_nodes_stop_prevents_another_attempt() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 5));
    let all = start(&mut w, &agents);
    end(&mut w, &all[0], EndCause::Exited, 1);
    w.terminate(&job.to_string());
    stop_all(&mut w, &all);
    assert_eq!(w.status(job), JobStatus::Failed);
    assert!(taken(&mut w, &agents).is_empty());
}

#[test]
fn cancel_ends_what_waits_and_nodes_end_only_with_their_job() {
    let (mut w, agents) = with_agents();
    let running = w.submit(request(&w, 1));
    let waiting = w.submit(request(&w, 1));
    w.cancel(&running.to_string());
    w.cancel(&waiting.to_string());
    assert_eq!(w.status(running), JobStatus::Starting);
    assert_eq!(nodes(&w, waiting), vec![JobStatus::Failed; 3]);
    let node = JobRef::node(running, 1).to_string();
    let error = w.refused(Command::Cancel(CancelJob { job_id: node, reason: "no".into() }));
    assert!(error.message.contains("only as a whole"), "{}", error.message);
    let all = start(&mut w, &agents);
    end(&mut w, &all[0], EndCause::Exited, 0);
    stop_all(&mut w, &all);
    assert_eq!(w.status(running), JobStatus::Succeeded);
    w.check_replay();
}

#[test]
fn the_time_limit_is_the_main_nodes() {
    let (mut w, agents) = with_agents();
    let timeout = w.limited(60).timeout;
    let job = w.submit(SubmitJob { timeout, ..request(&w, 3) });
    let all = start(&mut w, &agents);
    let limits: Vec<_> = all.iter().map(|(_, lease)| lease.timeout_seconds).collect();
    assert_eq!(limits, vec![Some(60), None, None]);
    end(&mut w, &all[0], EndCause::TimedOut, 137);
    stop_all(&mut w, &all);
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Failed, "never tried again");
    assert_eq!(detail.status_reason.as_deref(), Some("Job attempt duration exceeded timeout"));
}

#[test]
fn dependents_wait_for_all_nodes() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    let all = start(&mut w, &agents);
    let dependent = w.submit(SubmitJob { depends_on: on(job), ..w.request() });
    let then = w.submit(SubmitJob { depends_on: on(dependent), ..request(&w, 1) });
    end(&mut w, &all[0], EndCause::Exited, 0);
    assert_eq!(w.status(dependent), JobStatus::Pending);
    stop_all(&mut w, &all);
    assert_eq!(w.status(dependent), JobStatus::Starting);
    assert_eq!(w.status(then), JobStatus::Pending);
    let single = taken(&mut w, &agents).remove(0);
    end(&mut w, &single, EndCause::Exited, 0);
    assert_eq!(w.status(then), JobStatus::Starting);
}

#[test]
fn two_jobs_never_hold_parts_of_what_both_need() {
    let (mut w, agents) = with_agents();
    let jobs = [w.submit(request(&w, 1)), w.submit(request(&w, 1))];
    for job in jobs {
        let all = start(&mut w, &agents);
        assert!(all.iter().all(|(_, lease)| lease.job == job));
        end(&mut w, &all[0], EndCause::Exited, 0);
        stop_all(&mut w, &all);
        assert_eq!(w.status(job), JobStatus::Succeeded);
    }
}

#[test]
fn a_stream_of_small_jobs_does_not_starve_a_large_one() {
    let mut w = world();
    let agents = ["a", "b", "c", "d"].map(|name| w.agent(name, 2));
    for _ in 0..8 {
        w.job();
    }
    let job = w.submit(request(&w, 1));
    for _ in 0..20 {
        w.job();
    }
    // Small jobs end one at a time, and new ones always wait.
    let mut ended = 0;
    while w.status(job) == JobStatus::Runnable {
        let mut held = taken(&mut w, &agents);
        assert!(!held.is_empty(), "something runs");
        end(&mut w, &held.remove(0), EndCause::Exited, 0);
        for (agent, lease) in held {
            w.orders.entry(agent).or_default().push(Order::Run(lease));
        }
        w.job();
        ended += 1;
        assert!(ended < 20, "kept from starting");
    }
    w.check_replay();
}

#[test]
fn nodes_are_described_and_listed() {
    let (mut w, agents) = with_agents();
    let job = w.submit(request(&w, 1));
    start(&mut w, &agents);
    let whole = w.detail(job);
    assert_eq!(whole.node_properties.unwrap().num_nodes, 3);
    assert_eq!(whole.node_details, None);
    let node = w.detail(JobRef::node(job, 2));
    assert_eq!(node.job_id, format!("{job}#2"));
    let details = node.node_details.unwrap();
    assert_eq!((details.node_index, details.is_main_node), (2, false));
    assert!(node.container.unwrap().outcome.container_instance_arn.is_some());
    assert!(w.detail(JobRef::node(job, 0)).node_details.unwrap().is_main_node);
    let unknown = [format!("{job}#3"), format!("{job}:1"), format!("{}#0", w.job())];
    let request = windrow_common::api::jobs::DescribeJobs { jobs: unknown.to_vec() };
    assert!(view::describe_jobs(&w.state, &request, w.now).unwrap().jobs.is_empty());
    let list = ListJobs { multi_node_job_id: Some(job.to_string()), ..Default::default() };
    let listed = view::list_jobs(&w.state, &list, w.now).unwrap().job_summary_list;
    let indices: Vec<_> =
        listed.iter().map(|row| row.node_properties.unwrap().node_index).collect();
    assert_eq!(indices, vec![Some(0), Some(1), Some(2)]);
    assert_eq!(listed[1].status, JobStatus::Running);
    let both = ListJobs { job_queue: Some("q".into()), ..list };
    assert!(view::list_jobs(&w.state, &both, w.now).is_err());
}
