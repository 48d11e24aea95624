//! A cluster over a network of its own: NATS servers that replicate, coordinators, agents, each on its
//! own host. Nothing restarts what is killed but the test.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use windrow_common::api::definitions::{
    ContainerProperties, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::disconnect::DisconnectPolicy;
use windrow_common::api::resources::{
    AgentStatus, ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
    DescribeCluster, DescribeComputeEnvironments, DescribeJobQueues, ListAgents,
};

use super::client::Client;
use super::load::Desk;
use super::net::{Host, Net};
use super::node::Node;
use crate::{program, wait_until};

/// Prefix of the cluster's subjects.
pub const CLUSTER: &str = "chaos";
/// The queue, its environment and the definition of all jobs.
pub const NAME: &str = "chaos";
/// Names a directory where all logs are put at the end, for who looks for a fault.
const LOGS: &str = "WINDROW_CHAOS_LOGS";
const CLIENT_PORT: u16 = 4222;
const MONITOR_PORT: u16 = 8222;
/// Streams reserve their limits, of which little is used here: the disk of this machine need not have it.
const SPACE: &str = "max_file_store: 200GB, max_memory_store: 20GB";
const ROUTE_PORT: u16 = 6222;

/// What a rig consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// NATS servers: 1, or 3 that replicate every stream.
    pub servers: usize,
    pub coordinators: usize,
    pub agents: usize,
    /// Of each agent; attempts need a tenth of one.
    pub vcpus: u32,
    /// How long an agent may go unheard before what it holds is given to others, in milliseconds.
    pub lease_ttl: u64,
    /// What is agreed with agents for when they cannot be heard.
    pub disconnect: Option<DisconnectPolicy>,
    /// More settings of every coordinator, as `KEY=VALUE`.
    pub coordinator: Vec<String>,
    /// Settings of every agent, as `KEY=VALUE`.
    pub agent: Vec<String>,
    /// The first agent's state directory, when it is not to be in the rig's.
    pub agent_directory: Option<PathBuf>,
    /// The first server's store, when it is not to be in the rig's directory.
    pub store: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let settings = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        Self {
            servers: 3,
            coordinators: 1,
            agents: 3,
            vcpus: 2,
            lease_ttl: 6_000,
            disconnect: None,
            coordinator: settings(&["heartbeat=500ms"]),
            agent: settings(&["docker.enabled=off", "stop_timeout=2s"]),
            agent_directory: None,
            store: None,
        }
    }
}

/// A running cluster.
pub struct Rig {
    /// A client on this machine, which is on the network too.
    pub client: Arc<Client>,
    pub servers: Vec<Node>,
    pub coordinators: Vec<Node>,
    pub agents: Vec<Node>,
    directory: TempDir,
    urls: String,
    lease_ttl: u64,
    is_strict: bool,
    net: Net,
}

impl Rig {
    /// Starts one and waits until its agents are up; none when this machine has no network namespaces
    /// for us, which is said on standard error.
    ///
    /// # Panics
    /// When a part does not start.
    pub fn start(options: &Options) -> Option<Self> {
        let net = match Net::new() {
            Ok(net) => net,
            Err(reason) => {
                eprintln!("SKIPPED: {reason}");
                return None;
            }
        };
        let directory = TempDir::with_prefix("windrow-chaos-").expect("a temporary directory");
        let servers = servers(&net, directory.path(), options);
        let url = |node: &Node| format!("nats://{}:{CLIENT_PORT}", node.host.address);
        let urls = servers.iter().map(url).collect::<Vec<_>>().join(",");
        let client = Arc::new(Client::new(&urls, CLUSTER));
        let (coordinators, agents) = (Vec::new(), Vec::new());
        let is_strict = options.disconnect.as_ref().is_some_and(|one| one.strict == Some(true));
        let mut rig = Self {
            client,
            servers,
            coordinators,
            agents,
            directory,
            urls,
            lease_ttl: options.lease_ttl,
            is_strict,
            net,
        };
        for number in 1..=options.coordinators {
            rig.add_coordinator(number, options);
        }
        for number in 1..=options.agents {
            rig.add_agent(number, options);
        }
        rig.servers.iter_mut().chain(&mut rig.coordinators).for_each(Node::start);
        rig.create_defaults(options);
        rig.agents.iter_mut().for_each(Node::start);
        rig.wait_for_agents();
        rig.wait_for_standbys();
        Some(rig)
    }

    fn add_coordinator(&mut self, number: usize, options: &Options) {
        let name = format!("c{number}");
        let mut arguments = words(&["--nats-url", &self.urls, "--cluster", CLUSTER]);
        let replicas = format!("replicas={}", options.servers);
        let lease_ttl = format!("lease_ttl={}ms", options.lease_ttl);
        for setting in options.coordinator.iter().chain([&replicas, &lease_ttl]) {
            arguments.extend(words(&["--set", setting]));
        }
        let program = program::directory().join("windrow-coordinator");
        let node = Node::new(&name, self.net.host(&name), program, arguments, self.log(&name));
        self.coordinators.push(node.with_clock(self.path(&format!("{name}-clock"))));
    }

    fn add_agent(&mut self, number: usize, options: &Options) {
        let name = format!("a{number}");
        let own = options.agent_directory.clone().filter(|_| number == 1);
        let state = own.unwrap_or_else(|| self.state_directory(&name));
        let vcpus = options.vcpus.to_string();
        let mut arguments = words(&["--nats-url", &self.urls, "--cluster", CLUSTER]);
        arguments.extend(words(&["--name", &name, "--state-directory"]));
        arguments.push(state.into_os_string());
        arguments.extend(words(&["--compute-environment", NAME, "--vcpus", &vcpus]));
        arguments.extend(words(&["--memory", "4096"]));
        for setting in &options.agent {
            arguments.extend(words(&["--set", setting]));
        }
        let program = program::directory().join("windrow-agent");
        let node = Node::new(&name, self.net.host(&name), program, arguments, self.log(&name));
        self.agents.push(node);
    }

    /// Every part.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.servers.iter_mut().chain(&mut self.coordinators).chain(&mut self.agents)
    }

    /// Where users work; to be called once, as each desk remembers for itself.
    pub fn desk(&self) -> Desk {
        Desk::new(Arc::clone(&self.client), self.truth())
    }

    /// How long an agent may go unheard, in milliseconds.
    pub fn lease_ttl(&self) -> u64 {
        self.lease_ttl
    }

    /// Whether no two attempts of a child may live at the same time.
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// The coordinator that leads, by its own account; none while nobody answers.
    pub fn leader(&self) -> Option<usize> {
        let answer = self.client.ask_once(&DescribeCluster {}).ok()?;
        let pid: i32 = answer.leader.rsplit_once('-')?.1.parse().ok()?;
        self.coordinators.iter().position(|node| node.pid() == Some(pid))
    }

    /// Waits until one leads.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_leader(&self) -> usize {
        wait_until("a coordinator to lead", 120, || self.leader())
    }

    /// Waits until another than this one leads.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_successor(&self, of: usize) -> usize {
        wait_until("another coordinator to lead", 120, || self.leader().filter(|&now| now != of))
    }

    /// Waits until all coordinators but the leader stand by.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_standbys(&self) {
        wait_until("the others to stand by", 120, || {
            let answer = self.client.ask_once(&DescribeCluster {}).ok()?;
            (answer.standbys.len() + 1 >= self.coordinators.len()).then_some(())
        });
    }

    /// Addresses of the NATS servers.
    pub fn urls(&self) -> &str {
        &self.urls
    }

    /// One more host, for a test's own programs.
    pub fn host(&self, name: &str) -> Host {
        self.net.host(name)
    }

    /// A file or directory of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where attempts write.
    pub fn truth(&self) -> PathBuf {
        self.path("truth")
    }

    /// What an agent keeps, unless it was given a directory of the test's own.
    pub fn state_directory(&self, agent: &str) -> PathBuf {
        self.path(&format!("{agent}-state"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    /// Waits until a server that was started again says that it has caught up with the others.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_server(&self, server: usize) {
        let node = &self.servers[server];
        wait_until(&format!("server {} to be healthy", node.name), 120, || {
            let mut stream = TcpStream::connect((node.host.address, MONITOR_PORT)).ok()?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.contains(" 200 ").then_some(())
        });
    }

    /// Waits until every agent is up.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_agents(&self) {
        wait_until("all agents to be up", 120, || {
            let agents = self.client.call(&ListAgents {}).agents;
            let up = agents.iter().filter(|agent| agent.status == AgentStatus::Up).count();
            (up >= self.agents.len()).then_some(())
        });
    }

    /// Waits until this agent counts as lost.
    ///
    /// # Panics
    /// After two minutes in vain.
    pub fn wait_for_loss(&self, agent: usize) {
        let name = &self.agents[agent].name;
        wait_until(&format!("agent {name} to count as lost"), 120, || {
            let agents = self.client.call(&ListAgents {}).agents;
            let lost = |found: &_| is_lost(found, name);
            agents.iter().any(lost).then_some(())
        });
    }

    fn create_defaults(&self, options: &Options) {
        let environments = DescribeComputeEnvironments::default();
        if self.client.call(&environments).compute_environments.is_empty() {
            // A repeated one may find the first one's effect.
            let created = self.client.ask(
                &CreateComputeEnvironment {
                    compute_environment_name: NAME.to_owned(),
                    kind: "UNMANAGED".to_owned(),
                    disconnect: options.disconnect.clone(),
                    ..Default::default()
                },
                60,
            );
            created.map_or_else(|error| eprintln!("{NAME}: {error}"), drop);
        }
        if self.client.call(&DescribeJobQueues::default()).job_queues.is_empty() {
            let order = ComputeEnvironmentOrder { order: 1, compute_environment: NAME.to_owned() };
            let _ = self.client.ask(
                &CreateJobQueue {
                    job_queue_name: NAME.to_owned(),
                    priority: 1,
                    compute_environment_order: vec![order],
                    ..Default::default()
                },
                60,
            );
        }
        let need = |kind: &str, value: &str| ResourceRequirement {
            kind: kind.to_owned(),
            value: value.to_owned(),
        };
        self.client.call(&RegisterJobDefinition {
            job_definition_name: NAME.to_owned(),
            kind: "container".to_owned(),
            container_properties: Some(ContainerProperties {
                resource_requirements: Some(vec![need("VCPU", "0.1"), need("MEMORY", "16")]),
                ..Default::default()
            }),
            ..Default::default()
        });
    }

    fn keep_logs(&mut self, directory: &Path) {
        std::fs::create_dir_all(directory).expect("a directory for logs");
        for node in self.nodes() {
            let file = directory.join(format!("{}.log", node.name));
            std::fs::write(file, node.log()).expect("write a log");
        }
    }

    fn print_logs(&mut self) {
        for node in self.nodes() {
            let text = node.log();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("---- {}\n{tail}", node.name);
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        if let Some(directory) = std::env::var_os(LOGS) {
            self.keep_logs(Path::new(&directory));
        }
        // What the agents have started is on their hosts as well.
        self.nodes().for_each(Node::power_off);
    }
}

fn is_lost(agent: &windrow_common::api::resources::AgentDetail, name: &str) -> bool {
    agent.agent == name && agent.status == AgentStatus::Lost
}

fn words(all: &[&str]) -> Vec<OsString> {
    all.iter().map(OsString::from).collect()
}

/// The servers' hosts and configurations.
fn servers(net: &Net, directory: &Path, options: &Options) -> Vec<Node> {
    let hosts: Vec<Host> =
        (1..=options.servers).map(|number| net.host(&format!("n{number}"))).collect();
    let route = |host: &Host| format!("\"nats-route://{}:{ROUTE_PORT}\"", host.address);
    let routes = hosts.iter().map(route).collect::<Vec<_>>().join(", ");
    let numbered = (1..).zip(hosts);
    numbered
        .map(|(number, host)| {
            let name = format!("n{number}");
            let own = options.store.clone().filter(|_| number == 1);
            let store = own.unwrap_or_else(|| directory.join(format!("{name}-store")));
            let cluster = format!(
                "cluster {{ name: chaos, listen: \"0.0.0.0:{ROUTE_PORT}\", routes: [{routes}] }}\n"
            );
            let text = format!(
                "server_name: \"{name}\"\nserver_tags: \"{name}\"\nlisten: \"0.0.0.0:{CLIENT_PORT}\"\nhttp: \"0.0.0.0:{MONITOR_PORT}\"\nmax_payload: 1MB\n\
                 jetstream {{ store_dir: {store:?}, sync_interval: always, {SPACE} }}\n{}",
                if options.servers > 1 { &cluster } else { "" }
            );
            let config = directory.join(format!("{name}.conf"));
            std::fs::write(&config, text).expect("write a server's configuration");
            let arguments = vec![OsString::from("-c"), config.into_os_string()];
            let log = directory.join(format!("{name}.log"));
            Node::new(&name, host, program::nats_server(), arguments, log)
        })
        .collect()
}
