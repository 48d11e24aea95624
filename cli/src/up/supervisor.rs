//! Starts the parts in order, waits for a signal, stops them in the opposite order.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use windrow_common::access::ClusterKeys;

use super::host::{self, Variables, find_program};
use super::part::{Part, Spec};
use super::record::Record;
use super::{bootstrap, gateway, nats_server, port};
use crate::args::UpArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Attempt, Exit, Failure, Result};
use crate::layout::{ClusterFile, Layout, ProcessId};

/// Time all parts together have to become ready.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Time all parts together have to stop: what each has, and some more.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(90);
/// Lines of a log shown for a part that cannot start and names no error.
const LOG_LINES: usize = 10;

/// What is said when all is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready {
    pub(crate) nats_url: String,
    pub(crate) gateway_url: String,
    pub(crate) data_directory: String,
    pub(crate) cluster: String,
    pub(crate) agents: u32,
}

/// Runs the cluster until SIGINT or SIGTERM. `report` is called when all is ready.
///
/// Errors: another `windrow up` runs here (exit code 6); a part does not start.
pub(super) async fn run(
    context: &Context,
    args: &UpArgs,
    layout: &Layout,
    report: impl FnOnce(&Ready) -> Result<()>,
) -> Result<()> {
    let _lock = lock(layout)?;
    let mut signals = Signals::listen()?;
    let programs = Programs::find(context, args).await?;
    let orphans = super::stop_orphans(layout).await;
    if orphans > 0 {
        context.printer.say(&format!("stopped {orphans} parts that an earlier run left behind"));
    }
    let mut cluster = Cluster::plan(context, args, layout, programs)?;
    let mut broken = cluster.record.broken.clone();
    let started = tokio::select! {
        started = cluster.start() => started,
        Ok(name) = broken.wait_for(Option::is_some) => Err(cannot_start(layout, name.as_deref())),
        () = tokio::time::sleep(context.timeout().unwrap_or(START_LIMIT)) => Err(too_late(layout)),
        () = signals.any() => Err(Failure::new(Exit::Interrupted, "stopped while it starts")),
    };
    let ended = match started.and_then(|ready| report(&ready)) {
        Ok(()) => {
            signals.any().await;
            context.printer.say("stopping; jobs are kept");
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    tokio::select! {
        () = cluster.stop() => ended,
        // Someone is in a hurry. The parts get their SIGTERM all the same.
        () = signals.any() => Err(Failure::new(Exit::Interrupted, "interrupted while stopping")),
    }
}

/// The signals that stop a cluster in order: Ctrl-C, `windrow down`, the end of the terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).attempt(|| "listen to signals".to_owned());
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(listen);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Makes sure that one `windrow up` runs on a data directory.
fn lock(layout: &Layout) -> Result<Flock<File>> {
    let path = layout.lock();
    let file = File::options().create(true).write(true).truncate(false).open(&path);
    let file = file.attempt(|| format!("open `{}`", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        if error != Errno::EWOULDBLOCK {
            return Failure::error(format!("lock `{}`: {error}", path.display()));
        }
        let supervisor = layout.read_cluster().and_then(|cluster| cluster.supervisor);
        let who = supervisor.map_or_else(String::new, |p| format!(" as process {}", p.pid));
        let root = layout.root().display();
        Failure::new(Exit::Conflict, format!("`windrow up` already runs on `{root}`{who}"))
            .hint("use it, stop it with `windrow down`, or give another `--data-directory`")
    })
}

fn cannot_start(layout: &Layout, name: Option<&str>) -> Failure {
    let name = name.unwrap_or("a part");
    let log = layout.log(name);
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let last = last_words(&text).join("\n  ");
    Failure::error(format!("{name} does not start; its log says:\n  {last}"))
        .hint(format!("the whole log is `{}`", log.display()))
}

/// The newest lines of a log that tell of an error, else its newest lines.
fn last_words(log: &str) -> Vec<&str> {
    let is_error = |line: &&str| {
        ["ERROR", "error: ", "Error: ", "panicked", "[FTL]"].iter().any(|word| line.contains(word))
    };
    let errors: Vec<&str> = log.lines().filter(is_error).collect();
    let (lines, number) =
        if errors.is_empty() { (log.lines().collect(), LOG_LINES) } else { (errors, 2) };
    lines[lines.len().saturating_sub(number)..].to_vec()
}

fn too_late(layout: &Layout) -> Failure {
    let logs = layout.root().join("logs");
    Failure::new(Exit::TimedOut, "the cluster was not ready in time")
        .hint(format!("look into `{}`, or give more time with `--timeout`", logs.display()))
}

/// The programs to run, all found before anything is started or stopped.
struct Programs {
    /// None when a server that runs already was named.
    nats_server: Option<PathBuf>,
    coordinator: PathBuf,
    gateway: PathBuf,
    agent: PathBuf,
}

impl Programs {
    async fn find(context: &Context, args: &UpArgs) -> Result<Self> {
        let variables = Variables::read();
        let nats_server = match &context.global.nats_url {
            Some(_) => None,
            None => Some(nats_server::find(args.nats_server.as_deref(), &variables).await?),
        };
        let ours = |program: &str| {
            find_program(program, &variables).ok_or_else(|| {
                let message =
                    format!("find `{program}`: it is neither beside `windrow` nor on PATH");
                Failure::error(message).hint("install all of Windrow's programs into one directory")
            })
        };
        Ok(Self {
            nats_server,
            coordinator: ours("windrow-coordinator")?,
            gateway: ours("windrow-gateway")?,
            agent: ours("windrow-agent")?,
        })
    }
}

/// The parts, in the order of their start.
struct Cluster<'a> {
    context: &'a Context,
    args: &'a UpArgs,
    layout: &'a Layout,
    programs: Programs,
    nats_url: String,
    gateway_port: u16,
    record: Record,
    /// Server, coordinators and gateway.
    services: Vec<Part>,
    agents: Vec<Part>,
}

impl<'a> Cluster<'a> {
    fn plan(
        context: &'a Context,
        args: &'a UpArgs,
        layout: &'a Layout,
        programs: Programs,
    ) -> Result<Self> {
        let last = layout.read_cluster();
        let nats_url = match &context.global.nats_url {
            Some(url) => url.clone(),
            None => {
                let last = last.as_ref().and_then(|c| nats_server::port_of(&c.nats_url));
                let usual = nats_server::PORT_DEFAULT;
                nats_server::url(port::choose("--port", args.port, last, usual)?)
            }
        };
        let last = last.and_then(|c| gateway::port_of(&c.gateway_url?));
        let gateway_port =
            port::choose("--gateway-port", args.gateway_port, last, gateway::PORT_DEFAULT)?;
        let name = &context.global.cluster;
        let file = ClusterFile {
            nats_url: nats_url.clone(),
            cluster: name.to_string(),
            supervisor: ProcessId::of(std::process::id()),
            gateway_url: Some(gateway::url(gateway_port)),
            parts: Vec::new(),
        };
        let record = Record::start(layout.clone(), file, context.printer);
        Ok(Self {
            context,
            args,
            layout,
            programs,
            nats_url,
            gateway_port,
            record,
            services: Vec::new(),
            agents: Vec::new(),
        })
    }

    async fn start(&mut self) -> Result<Ready> {
        if let Some(program) = self.programs.nats_server.clone() {
            let port = nats_server::port_of(&self.nats_url).expect("we chose the address");
            let cluster = &self.context.global.cluster;
            let config = nats_server::write_config(self.layout, cluster, port)?;
            let name = "nats-server".to_owned();
            let arguments = vec!["--config".into(), config.into()];
            let log = self.layout.log(&name);
            let server = self.start_part(Spec { name, program, arguments, log });
            self.services.push(server);
        }
        let subjects = self.context.subjects();
        let client = bootstrap::connect(&self.nats_url, &subjects).await?;
        let key = self.layout.cluster_key();
        ClusterKeys::create(&key).map_err(Failure::error)?;
        // What the user sets comes later and wins.
        let with_key = |set: &[String]| {
            let mut settings = vec![format!("cluster_key_file={}", key.display())];
            settings.extend_from_slice(set);
            settings
        };
        let settings = with_key(&self.args.coordinator_set);
        for number in 1..=self.args.coordinators {
            let name = match number {
                1 => "coordinator".to_owned(),
                _ => format!("coordinator-{number}"),
            };
            let spec = self.ours(&name, &self.programs.coordinator, &settings);
            let coordinator = self.start_part(spec);
            self.services.push(coordinator);
        }
        bootstrap::coordinator_answers(&client).await?;
        bootstrap::create_defaults(&client).await?;
        let mut spec =
            self.ours("gateway", &self.programs.gateway, &with_key(&self.args.gateway_set));
        spec.arguments.extend(["--listen".into(), gateway::address(self.gateway_port).into()]);
        let started = self.start_part(spec);
        self.services.push(started);
        gateway::takes_connections(self.gateway_port).await;
        self.start_agents(&client).await?;
        Ok(Ready {
            nats_url: self.nats_url.clone(),
            gateway_url: gateway::url(self.gateway_port),
            data_directory: self.layout.root().display().to_string(),
            cluster: self.context.global.cluster.to_string(),
            agents: self.args.agents,
        })
    }

    async fn start_agents(&mut self, client: &Client) -> Result<()> {
        let share = (self.args.agents > 1).then(|| host::share(self.args.agents)).flatten();
        let vcpus = share.map(|share| share.cpu.to_string());
        let vcpus = self.args.vcpus_per_agent.clone().or(vcpus);
        let memory = self.args.memory_per_agent.or(share.map(|share| share.memory.0));
        let names: Vec<String> = (1..=self.args.agents).map(|n| format!("agent-{n}")).collect();
        for name in &names {
            let mut agent = self.ours(name, &self.programs.agent, &self.args.agent_set);
            let mut flag = |flag: &str, value: OsString| {
                agent.arguments.extend([flag.into(), value]);
            };
            flag("--name", name.into());
            flag("--state-directory", self.layout.agent_state(name).into());
            flag("--compute-environment", bootstrap::ENVIRONMENT.into());
            if let Some(vcpus) = &vcpus {
                flag("--vcpus", vcpus.into());
            }
            if let Some(memory) = memory {
                flag("--memory", memory.to_string().into());
            }
            let agent = self.start_part(agent);
            self.agents.push(agent);
        }
        bootstrap::agents_are_up(client, &names).await
    }

    /// What to run for one of our own programs.
    fn ours(&self, name: &str, program: &Path, settings: &[String]) -> Spec {
        let cluster = self.context.global.cluster.to_string();
        let mut arguments: Vec<OsString> = vec![
            "--nats-url".into(),
            self.nats_url.clone().into(),
            "--cluster".into(),
            cluster.into(),
        ];
        for setting in settings {
            arguments.extend(["--set".into(), setting.into()]);
        }
        let log = self.layout.log(name);
        Spec { name: name.to_owned(), program: program.to_owned(), arguments, log }
    }

    fn start_part(&self, spec: Spec) -> Part {
        Part::start(spec, self.record.notices.clone())
    }

    /// Stops agents, then the gateway, then the coordinators, then the server.
    async fn stop(mut self) {
        self.agents.iter().for_each(Part::stop);
        for agent in self.agents {
            agent.stopped().await;
        }
        while let Some(part) = self.services.pop() {
            part.stop();
            part.stopped().await;
        }
        self.record.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_log_are_its_errors() {
        let log = "INFO start\nERROR first\nERROR second\nERROR third\n  30: main\n  31: _start\n";
        assert_eq!(last_words(log), ["ERROR second", "ERROR third"]);
        let many: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_words(&many).first(), Some(&"10"));
        assert_eq!(last_words(""), [] as [&str; 0]);
    }
}
