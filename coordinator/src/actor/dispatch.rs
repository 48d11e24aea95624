//! Orders to agents: what journalled events mean for them, one message per agent and turn.

use std::collections::{BTreeMap, BTreeSet};

use rangemap::RangeSet;
use windrow_common::codec::to_msgpack;
use windrow_common::ids::{LeaseId, Name};
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::subjects::Subjects;
use windrow_common::wire;
use windrow_common::wire::lease::{Lease, Order, OrderMessage, SpecDigest, Stop, TaskSpec};

use crate::core::State;
use crate::core::event::{Event, Granted};
use crate::core::state::{Job, Phase};

/// What each session has been sent, so that a spec travels once, and confirmations travel with other
/// orders.
#[derive(Debug, Default)]
pub struct Dispatch {
    sent: BTreeMap<Name, Sent>,
    /// Agents with reports taken that they have not been told of.
    unconfirmed: BTreeSet<Name>,
}

/// What one session has been sent.
#[derive(Debug, Default)]
struct Sent {
    session: u64,
    specs: BTreeSet<SpecDigest>,
    /// The last report confirmed.
    confirmed: u64,
}

/// Orders by agent.
pub type Orders = BTreeMap<Name, Vec<Order>>;

/// The orders that follow from events. Called after they were journalled and applied.
pub fn orders(state: &State, events: &[Event]) -> Orders {
    let mut orders = Orders::new();
    for event in events {
        if let Event::LeaseGranted(granted) = event {
            let order = run(state, granted);
            orders.entry(granted.agent.clone()).or_default().extend(order);
        } else if let Event::NodesGranted(granted) = event {
            // The others' orders wait until the main node runs.
            let main = u64::from(state.jobs[&granted.job].main_child());
            run_node(&mut orders, state, LeaseId(granted.first_lease.0 + main));
        } else if let Event::NodesRenewed { leases, .. } = event {
            leases.iter().for_each(|(_, lease)| run_node(&mut orders, state, *lease));
        } else if let Event::NodesStopped { job } = event {
            let job = &state.jobs[job];
            stop(&mut orders, state, job, std::slice::from_ref(&(0..job.children.size())));
        } else if let Event::StopRequested { job, children, .. } = event {
            let job = &state.jobs[job];
            // A multi-node job is stopped by follow-up work, which knows what has begun.
            if job.nodes.is_none() {
                stop(&mut orders, state, job, children);
            }
        } else if let Event::ChildrenPreempted(preempted) = event {
            let job = &state.jobs[&preempted.job];
            if job.nodes.is_none() {
                stop(&mut orders, state, job, &preempted.children);
            }
        } else if let Event::LeaseRevoked { lease, agent, children } = event {
            let children = children.iter().map(|r| (r.start, r.end - r.start)).collect();
            let stop = Order::Stop(Stop { lease: *lease, children });
            orders.entry(agent.clone()).or_default().push(stop);
        } else if let Event::AgentDrained { agent, draining } = event {
            let order = if *draining { Order::Drain } else { Order::Undrain };
            orders.entry(agent.clone()).or_default().push(order);
        } else if let Event::AgentRegistered { agent, .. } = event {
            again(&mut orders, state, agent);
        }
    }
    orders
}

/// The last lease that the orders give.
pub fn last_lease(orders: &[Order]) -> Option<LeaseId> {
    let leases = orders.iter().filter_map(|order| match order {
        Order::Run(lease) => Some(lease.id),
        Order::Stop(_) | Order::Confirm { .. } | Order::Drain | Order::Undrain => None,
    });
    leases.max()
}

fn run(state: &State, granted: &Granted) -> Option<Order> {
    // It may have been settled again within the turn, by the loss of its agent.
    let lease = state.leases.get(&granted.lease)?;
    let job = &state.jobs[&granted.job];
    let spec = &state.specs[&job.spec].spec;
    Some(Order::Run(Lease {
        id: granted.lease,
        job: granted.job,
        array_size: job.array_size,
        first: granted.children.start,
        count: granted.children.end - granted.children.start,
        attempt: granted.attempt,
        spec: spec.task_digest,
        resources: lease.resources,
        timeout_seconds: spec.timeout_seconds,
        queue: job.queue.clone(),
        compute_environment: state.agents[&granted.agent].environment.clone(),
        nodes: None,
    }))
}

/// The order for a node's lease, unless it was settled again within the turn.
fn run_node(orders: &mut Orders, state: &State, id: LeaseId) {
    let Some(lease) = state.leases.get(&id) else { return };
    let job = &state.jobs[&lease.job];
    let (Some(nodes), Some(range)) = (&job.nodes, lease.children.first()) else { return };
    let node = range.start;
    let main = job.children.get(nodes.main);
    let main_agent = main.lease().map(|lease| &state.leases[&lease].agent);
    let order = Order::Run(Lease {
        id,
        job: lease.job,
        array_size: None,
        first: node,
        count: 1,
        attempt: job.children.get(node).live().map_or(1, |(attempt, _)| attempt),
        spec: state.specs[&lease.spec].spec.task_digest,
        resources: lease.resources,
        // The limit is that of the whole job.
        timeout_seconds: state.specs[&job.spec].spec.timeout_seconds.filter(|_| node == nodes.main),
        queue: job.queue.clone(),
        compute_environment: state.agents[&lease.agent].environment.clone(),
        nodes: Some(wire::lease::Nodes {
            count: nodes.count(),
            main: nodes.main,
            main_address: main_agent.and_then(|agent| state.agents[agent].address.clone()),
        }),
    });
    orders.entry(lease.agent.clone()).or_default().push(order);
}

fn stop(orders: &mut Orders, state: &State, job: &Job, children: &[std::ops::Range<u32>]) {
    let mut by_lease = BTreeMap::<LeaseId, Vec<(u32, u32)>>::new();
    for (lease, child) in job.children.leased_in(children) {
        let ranges = by_lease.entry(lease).or_default();
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == child => *count += 1,
            Some(_) | None => ranges.push((child, 1)),
        }
    }
    for (lease, children) in by_lease {
        let agent = state.leases[&lease].agent.clone();
        orders.entry(agent).or_default().push(Order::Stop(Stop { lease, children }));
    }
}

/// What a new session has to be told again: stops of what it still holds, and a drain.
fn again(orders: &mut Orders, state: &State, name: &Name) {
    let agent = &state.agents[name];
    for lease in &agent.leases {
        if windrow_common::sabotage::is("stop-forgotten-on-registration") {
            break;
        }
        let id = state.leases[lease].job;
        let job = &state.jobs[&id];
        let all = 0..job.children.size();
        let preempted = state.preemptions.range((id, 0)..=(id, u32::MAX));
        let preempted: RangeSet<u32> = preempted.map(|((_, c), _)| *c..*c + 1).collect();
        let preempted: Vec<_> = preempted.into_iter().collect();
        let stopping = match &job.nodes {
            Some(nodes) if nodes.phase == Phase::Ending => vec![std::slice::from_ref(&all)],
            Some(_) => Vec::new(),
            None => {
                let stops = job.rare.stops.iter().map(|(children, _)| children.as_slice());
                stops.chain([preempted.as_slice()]).collect()
            }
        };
        for children in stopping {
            let mut found = Orders::new();
            stop(&mut found, state, job, children);
            let own = found.remove(name).unwrap_or_default();
            let of_lease = |o: &Order| matches!(o, Order::Stop(stop) if stop.lease == *lease);
            orders.entry(name.clone()).or_default().extend(own.into_iter().filter(of_lease));
        }
    }
    if agent.status == windrow_common::api::resources::AgentStatus::Draining {
        orders.entry(name.clone()).or_default().push(Order::Drain);
    }
}

impl Dispatch {
    /// Notes that reports were taken.
    pub fn note_taken(&mut self, events: &[Event]) {
        for event in events {
            if let Event::ReportsTaken { agent, .. } = event {
                self.unconfirmed.insert(agent.clone());
            }
        }
    }

    /// Agents that have not been told of reports taken.
    pub fn unconfirmed(&self) -> Vec<Name> {
        self.unconfirmed.iter().cloned().collect()
    }

    /// Packs an agent's orders, and the confirmation of its reports, into messages: (subject, payload),
    /// in order.
    pub fn messages(
        &mut self,
        state: &State,
        subjects: &Subjects,
        name: &Name,
        mut orders: Vec<Order>,
    ) -> Vec<(String, Vec<u8>)> {
        self.unconfirmed.remove(name);
        let Some(agent) = state.agents.get(name) else { return Vec::new() };
        let sent = self.sent.entry(name.clone()).or_default();
        if sent.session != agent.session {
            *sent = Sent { session: agent.session, ..Sent::default() };
        }
        // Of this session only: the number begins anew with each.
        if agent.confirmed_reports > sent.confirmed {
            sent.confirmed = agent.confirmed_reports;
            orders.push(Order::Confirm { upto: sent.confirmed });
        }
        if orders.is_empty() {
            return Vec::new();
        }
        let subject = subjects.lease(&agent.environment, name);
        let mut messages = Vec::new();
        let mut message = Batch::new(state.term, agent.session);
        for order in orders {
            let spec = match &order {
                Order::Run(lease) if sent.specs.insert(lease.spec) => spec_of(state, lease),
                Order::Run(_)
                | Order::Stop(_)
                | Order::Confirm { .. }
                | Order::Drain
                | Order::Undrain => None,
            };
            let bytes = size(&order, spec.as_ref());
            if !message.has_room(bytes) {
                messages.push((subject.clone(), message.finish()));
                message = Batch::new(state.term, agent.session);
            }
            message.add(order, spec, bytes);
        }
        messages.push((subject, message.finish()));
        messages
    }
}

fn spec_of(state: &State, lease: &Lease) -> Option<(SpecDigest, TaskSpec)> {
    let job = state.jobs.get(&lease.job)?;
    Some((lease.spec, state.specs[&job.spec_of(lease.first)].spec.task.clone()))
}

/// What an order takes in a message, about: it is small but for the ranges of a stop; a spec can be as
/// large as a request.
fn size(order: &Order, spec: Option<&(SpecDigest, TaskSpec)>) -> usize {
    let ranges = match order {
        Order::Stop(stop) => stop.children.len(),
        Order::Run(_) | Order::Confirm { .. } | Order::Drain | Order::Undrain => 0,
    };
    512 + 12 * ranges + spec.map_or(0, |(_, spec)| to_msgpack(spec).len())
}

/// A message being filled.
struct Batch {
    message: OrderMessage,
    bytes: usize,
}

impl Batch {
    fn new(term: u64, session: u64) -> Self {
        let message = OrderMessage {
            version: wire::VERSION,
            term,
            session,
            specs: Vec::new(),
            orders: Vec::new(),
        };
        Self { message, bytes: 0 }
    }

    /// A message takes its first order however large: limits on requests keep specs well below.
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= MESSAGE_BYTES_MAX
    }

    fn add(&mut self, order: Order, spec: Option<(SpecDigest, TaskSpec)>, bytes: usize) {
        self.bytes += bytes;
        self.message.orders.push(order);
        self.message.specs.extend(spec);
    }

    fn finish(self) -> Vec<u8> {
        to_msgpack(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::disconnect::Disconnect;
    use crate::core::event::Registered;
    use crate::core::{apply, state::Environment};
    use windrow_common::api::resources::ResourceState;
    use windrow_common::codec::from_msgpack;
    use windrow_common::units::Resources;

    fn registered(session: u64) -> Event {
        Event::AgentRegistered {
            agent: "a".parse().unwrap(),
            registered: Box::new(Registered {
                session,
                boot: 1,
                host: "h".into(),
                environment: "e".parse().unwrap(),
                resources: Resources::new(1000, 1000),
                executors: vec![],
                architecture: "X86_64".into(),
                version: "0".into(),
                address: None,
                gpus: Vec::new(),
                disconnect: Disconnect::default(),
                problems: Vec::new(),
                number: 0,
            }),
        }
    }

    #[test]
    fn a_confirmation_is_never_told_to_a_later_session() {
        let (mut state, mut dispatch) = (State::default(), Dispatch::default());
        let agent: Name = "a".parse().unwrap();
        let subjects = Subjects::new("c".parse().unwrap());
        let environment = Environment {
            state: ResourceState::Enabled,
            tags: BTreeMap::new(),
            unmanaged_vcpus: None,
            service_role: None,
            disconnect: Disconnect::default(),
        };
        let name = "e".parse().unwrap();
        let taken = Event::ReportsTaken { agent: agent.clone(), upto: 50 };
        let events = [Event::EnvironmentSet { name, environment }, registered(1), taken.clone()];
        events.iter().for_each(|event| apply(&mut state, event));
        dispatch.note_taken(&events);
        assert_eq!(dispatch.unconfirmed(), std::slice::from_ref(&agent));
        let mut later = state.clone();
        apply(&mut later, &registered(2));

        let messages = dispatch.messages(&state, &subjects, &agent, Vec::new());
        let message: OrderMessage = from_msgpack(&messages[0].1).unwrap();
        assert_eq!((message.session, message.orders), (1, vec![Order::Confirm { upto: 50 }]));
        assert!(dispatch.messages(&state, &subjects, &agent, Vec::new()).is_empty(), "told once");

        dispatch.note_taken(&[taken, registered(2)]);
        assert!(dispatch.messages(&later, &subjects, &agent, Vec::new()).is_empty());

        apply(&mut later, &Event::ReportsTaken { agent: agent.clone(), upto: 3 });
        let messages = dispatch.messages(&later, &subjects, &agent, Vec::new());
        let message: OrderMessage = from_msgpack(&messages[0].1).unwrap();
        assert_eq!((message.session, message.orders), (2, vec![Order::Confirm { upto: 3 }]));
    }

    #[test]
    fn orders_that_are_large_together_travel_one_after_the_other() {
        let (mut state, mut dispatch) = (State::default(), Dispatch::default());
        let agent: Name = "a".parse().unwrap();
        let subjects = Subjects::new("c".parse().unwrap());
        apply(&mut state, &registered(1));
        let stop = |lease: u64| {
            let children = (0..40_000).map(|n| (2 * n, 1)).collect();
            Order::Stop(Stop { lease: LeaseId(lease), children })
        };
        let orders = vec![stop(1), stop(2), Order::Drain, stop(3)];
        let messages = dispatch.messages(&state, &subjects, &agent, orders.clone());
        assert!(messages.iter().all(|(_, payload)| payload.len() <= MESSAGE_BYTES_MAX));
        let sent = messages.iter().map(|(_, payload)| from_msgpack(payload).unwrap());
        let sent: Vec<Vec<Order>> = sent.map(|message: OrderMessage| message.orders).collect();
        assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(sent.concat(), orders);
    }
}
