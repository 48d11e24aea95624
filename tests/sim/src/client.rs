//! A client: asks, asks again until it is answered, and tells the oracle what it was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use windrow_common::api::definitions::{
    ContainerProperties, JobTimeout, RegisterJobDefinition, ResourceRequirement, RetryStrategy,
};
use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::api::jobs::{
    ArrayProperties, CancelJob, DependencyType, DescribeJobs, DescribeJobsResponse, JobDependency,
    SubmitJob, SubmitJobResponse, TerminateJob,
};
use windrow_common::api::overrides::ContainerOverrides;
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue, DrainAgent,
    UpdateComputeEnvironment,
};
use windrow_common::api::{ApiError, Operation};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::ids::JobId;

use crate::bus::Demands;
use crate::names;
use crate::net::{Answer, Message, Net, Node, Op, Timer};
use crate::plan::{Ask, Job, Policy, Step};

/// After this many tries a refusal is taken as it is: before, the queue may not be there yet.
const REFUSALS_MAX: u32 = 12;

/// A client.
pub struct Client {
    node: Node,
    index: u8,
    steps: Vec<Step>,
    waiting: BTreeMap<u64, Waiting>,
    /// Steps not answered.
    open: usize,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Waiting {
    ask: Ask,
    request: Request,
    tries: u32,
    asked: u64,
    /// What it is about.
    job: Option<JobId>,
}

#[derive(Clone, Debug)]
struct Request {
    operation: &'static str,
    payload: Bytes,
}

impl Client {
    /// One that does this.
    pub fn new(index: u8, steps: Vec<Step>) -> Self {
        let open = steps.len();
        Self { node: Node::Client(index), index, steps, waiting: BTreeMap::new(), open }
    }

    /// Whether every step was answered.
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// What it waits for, for people.
    pub fn waits_for(&self) -> String {
        format!("client {} waits for {:?}", self.index, self.waiting.values().next())
    }

    /// Begins.
    pub fn start(&mut self, net: &mut Net) {
        net.connect(self.node);
        for (number, step) in self.steps.iter().enumerate() {
            net.timer(self.node, 0, step.at, Timer::Step(number));
        }
    }

    /// A timer of its own.
    pub fn on_timer(&mut self, net: &mut Net, timer: &Timer) {
        match timer {
            Timer::Step(number) => {
                let ask = self.steps[*number].ask.clone();
                self.begin(net, ask);
            }
            Timer::Unanswered(token) => self.on_answer(net, *token, &Answer::TimedOut),
            _ => {}
        }
    }

    fn begin(&mut self, net: &mut Net, ask: Ask) {
        let mut about = None;
        let mut any = |number: u64| {
            about = net.oracle.clients.any(number);
            about.map(|job| job.to_string())
        };
        let request = match &ask {
            Ask::Environment(policy) => Some(request(&CreateComputeEnvironment {
                compute_environment_name: names::ENVIRONMENT.to_owned(),
                kind: "UNMANAGED".to_owned(),
                disconnect: Some(disconnect(*policy)),
                ..Default::default()
            })),
            Ask::Disconnect(policy) => Some(request(&UpdateComputeEnvironment {
                compute_environment: names::ENVIRONMENT.to_owned(),
                disconnect: Some(disconnect(*policy)),
                ..Default::default()
            })),
            Ask::Queue(name) => Some(request(&queue(name))),
            Ask::Definition => Some(request(&definition())),
            Ask::Submit(job) | Ask::Publish(job) => {
                let after = job.after.and_then(&mut any);
                Some(request(&submit(job, after)))
            }
            Ask::Cancel(number) => any(*number)
                .map(|job_id| request(&CancelJob { job_id, reason: "not needed".to_owned() })),
            Ask::Terminate(number, child) => any(*number).map(|id| {
                let job_id = child.map_or(id.clone(), |child| format!("{id}:{child}"));
                request(&TerminateJob { job_id, reason: "stop".to_owned() })
            }),
            Ask::Describe(number) => {
                any(*number).map(|id| request(&DescribeJobs { jobs: vec![id] }))
            }
            Ask::Drain(agent, drain) => Some(request(&DrainAgent {
                agent: names::agent(*agent).to_string(),
                drain: *drain,
            })),
            Ask::Garbage(bytes) => {
                Some(Request { operation: SubmitJob::NAME, payload: bytes.clone().into() })
            }
        };
        match request {
            Some(request) => {
                let copies = if let Ask::Submit(job) = &ask { job.copies } else { 1 };
                self.open += copies - 1;
                for _ in 0..copies {
                    let waiting = Waiting {
                        ask: ask.clone(),
                        request: request.clone(),
                        tries: 0,
                        asked: net.now,
                        job: about,
                    };
                    self.send(net, waiting);
                }
            }
            // There is no job to ask about.
            None => self.open -= 1,
        }
    }

    fn send(&mut self, net: &mut Net, mut waiting: Waiting) {
        waiting.tries += 1;
        waiting.asked = net.now;
        let Request { operation, payload } = waiting.request.clone();
        let patience = 2_500;
        let token = if let Ask::Publish(job) = &waiting.ask {
            let subject = names::subjects().submit(&names::name(&job.queue));
            let message_id = Some(job.key.clone());
            let demands = Demands { message_id, ..Demands::default() };
            net.ask(self.node, 0, patience, |token| Op::Store { subject, payload, demands, token })
        } else {
            let token = net.token();
            let subject = names::subjects().api(operation);
            let reply = Some(format!("client.{}.{token}", self.index));
            net.send(self.node, Op::Publish { subject, reply, payload });
            net.timer(self.node, 0, patience, Timer::Unanswered(token));
            token
        };
        self.waiting.insert(token, waiting);
    }

    /// Something has reached it.
    pub fn on_message(&mut self, net: &mut Net, message: Message) {
        match message {
            Message::Connected => {
                let pattern = format!("client.{}.*", self.index);
                net.send(self.node, Op::Subscribe(pattern));
            }
            Message::Answer { token, answer } => self.on_answer(net, token, &answer),
            Message::Plain { subject, payload, .. } => {
                let token = subject.rsplit('.').next().and_then(|token| token.parse().ok());
                if let Some(waiting) = token.and_then(|token| self.waiting.remove(&token)) {
                    self.on_reply(net, waiting, &payload);
                }
            }
            Message::Disconnected | Message::Delivered { .. } | Message::PullEnded { .. } => {}
        }
    }

    fn on_answer(&mut self, net: &mut Net, token: u64, answer: &Answer) {
        let Some(waiting) = self.waiting.remove(&token) else { return };
        match (answer, &waiting.ask) {
            (Answer::Stored(Ok(_)), Ask::Publish(job)) => {
                net.oracle.clients.stored(&job.key, waiting.request.payload.to_vec());
                self.open -= 1;
            }
            // Garbage is sent once: that nobody answers it is fine.
            (_, Ask::Garbage(_)) => self.open -= 1,
            (_, _) => {
                net.inject("client asks again");
                self.send(net, waiting);
            }
        }
    }

    fn on_reply(&mut self, net: &mut Net, waiting: Waiting, payload: &[u8]) {
        let (kind, body) = payload.split_first().unwrap_or((&1, &[]));
        let number = u64::from(*kind);
        net.trace.note(net.now, number, || match kind {
            1 => format!("client {} is refused: {:?}", self.index, from_msgpack::<ApiError>(body)),
            _ => format!("client {} is answered {}", self.index, waiting.request.operation),
        });
        let result = match (&waiting.ask, kind) {
            (Ask::Submit(job), 0) => match from_msgpack::<SubmitJobResponse>(body) {
                Ok(response) => self.submitted(net, job, &response),
                Err(e) => Err(format!("an answer to SubmitJob is unreadable: {e}")),
            },
            (Ask::Submit(job), 1) if job.is_other => Ok(()),
            (
                Ask::Submit(_)
                | Ask::Queue(_)
                | Ask::Definition
                | Ask::Drain(_, false)
                | Ask::Disconnect(_),
                1,
            ) if waiting.tries < REFUSALS_MAX && !is_there(body) => {
                // It is sent again when its time is over.
                let token = net.token();
                net.timer(self.node, 0, 1_000, Timer::Unanswered(token));
                self.waiting.insert(token, waiting);
                return;
            }
            (Ask::Describe(_), 0 | 2) => match from_msgpack::<DescribeJobsResponse>(body) {
                Ok(answer) => {
                    let status = answer.jobs.first().map(|job| job.status);
                    let job = waiting.job.expect("a question about a job");
                    let (asked, now) = (waiting.asked, net.now);
                    net.oracle.clients.described(job, status, asked, now)
                }
                Err(e) => Err(format!("an answer to DescribeJobs is unreadable: {e}")),
            },
            (_, _) => Ok(()),
        };
        if let Err(what) = result {
            net.oracle.fail(what);
        }
        self.open -= 1;
    }

    fn submitted(
        &self,
        net: &mut Net,
        job: &Job,
        response: &SubmitJobResponse,
    ) -> Result<(), String> {
        let id = response.job_id.parse().map_err(|e| format!("SubmitJob gives no id: {e}"))?;
        net.oracle.submitted(&job.key, job.is_other, id)
    }
}

/// Whether a refusal says that what is to be created is there.
fn is_there(body: &[u8]) -> bool {
    from_msgpack::<ApiError>(body).is_ok_and(|error| error.message.contains("already exists"))
}

fn request<T: Operation>(request: &T) -> Request {
    Request { operation: T::NAME, payload: to_msgpack(request).into() }
}

fn disconnect(policy: Policy) -> DisconnectPolicy {
    let reconcile =
        if policy.keeps_original { Reconcile::KeepOriginal } else { Reconcile::KeepReplacement };
    DisconnectPolicy {
        lost_after_seconds: Some(policy.lost_after),
        stop_after_seconds: Some(policy.stop_after),
        reconcile: Some(reconcile),
        strict: Some(policy.is_strict),
    }
}

fn queue(name: &str) -> CreateJobQueue {
    CreateJobQueue {
        job_queue_name: name.to_owned(),
        priority: u32::from(name == "q1") + 1,
        compute_environment_order: vec![ComputeEnvironmentOrder {
            order: 1,
            compute_environment: names::ENVIRONMENT.to_owned(),
        }],
        ..Default::default()
    }
}

fn need(kind: &str, value: u32) -> ResourceRequirement {
    ResourceRequirement { kind: kind.to_owned(), value: value.to_string() }
}

fn definition() -> RegisterJobDefinition {
    RegisterJobDefinition {
        job_definition_name: "d".to_owned(),
        kind: "container".to_owned(),
        container_properties: Some(ContainerProperties {
            command: Some(vec!["run".to_owned(), "100".to_owned()]),
            resource_requirements: Some(vec![need("VCPU", 1), need("MEMORY", 100)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn submit(job: &Job, after: Option<String>) -> SubmitJob {
    let mut depends_on = Vec::new();
    if let Some(id) = after {
        let kind = job.by_child.then_some(DependencyType::NToN);
        depends_on.push(JobDependency { job_id: Some(id), kind, condition: job.condition });
    }
    if job.in_sequence {
        depends_on
            .push(JobDependency { kind: Some(DependencyType::Sequential), ..Default::default() });
    }
    let command = ["run".to_owned(), job.millis.to_string(), job.fails.to_string()];
    let ignores = u32::from(job.ignores_sigterm).to_string();
    SubmitJob {
        job_name: if job.is_other { "other" } else { "j" }.to_owned(),
        job_queue: job.queue.clone(),
        job_definition: "d".to_owned(),
        array_properties: (job.size > 1)
            .then(|| ArrayProperties { size: Some(job.size), ..Default::default() }),
        depends_on,
        container_overrides: Some(ContainerOverrides {
            command: command.into_iter().chain([ignores]).collect(),
            resource_requirements: vec![need("VCPU", job.cpus), need("MEMORY", job.memory)],
            ..Default::default()
        }),
        retry_strategy: Some(RetryStrategy { attempts: Some(job.attempts), ..Default::default() }),
        timeout: job.timeout.map(|seconds| JobTimeout { attempt_duration_seconds: Some(seconds) }),
        idempotency_key: Some(job.key.clone()),
        ..Default::default()
    }
}
