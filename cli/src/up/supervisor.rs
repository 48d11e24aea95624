//! Starts the parts in order, waits for a signal, stops them in the opposite order.

use std::ffi::OsString;
use std::fs::File;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::host::{self, Variables, find_program};
use super::part::{Part, Spec};
use super::record::Record;
use super::{bootstrap, nats_server};
use crate::args::UpArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Attempt, Exit, Failure, Result};
use crate::layout::{ClusterFile, Layout, ProcessId};

/// Time all parts together have to become ready.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Time all parts together have to stop: what each has, and some more.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(90);
/// Lines of a log shown for a part that cannot start.
const LOG_LINES_SHOWN: usize = 10;

/// What is said when all is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready {
    pub(crate) nats_url: String,
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
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let orphans = super::stop_orphans(layout).await;
    if orphans > 0 {
        context.printer.say(&format!("stopped {orphans} parts that an earlier run left behind"));
    }
    let mut cluster = Cluster::plan(context, args, layout).await?;
    let mut broken = cluster.record.broken.clone();
    let started = tokio::select! {
        started = cluster.start() => started,
        Ok(name) = broken.wait_for(Option::is_some) => Err(cannot_start(layout, name.as_deref())),
        () = tokio::time::sleep(context.timeout().unwrap_or(START_LIMIT)) => Err(too_late(layout)),
        _ = interrupt.recv() => Err(Failure::new(Exit::Interrupted, "interrupted at start")),
        _ = terminate.recv() => Err(Failure::new(Exit::Interrupted, "stopped at start")),
    };
    let ended = match started.and_then(|ready| report(&ready)) {
        Ok(()) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            context.printer.say("stopping; jobs are kept");
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    tokio::select! {
        () = cluster.stop() => ended,
        // Someone is in a hurry. The parts get their SIGTERM all the same.
        _ = interrupt.recv() => Err(Failure::new(Exit::Interrupted, "interrupted while stopping")),
    }
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).attempt(|| "listen to signals".to_owned())
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
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  ");
    Failure::error(format!("{name} does not start; the end of its log is:\n  {tail}"))
        .hint(format!("the whole log is `{}`", log.display()))
}

fn too_late(layout: &Layout) -> Failure {
    let logs = layout.root().join("logs");
    Failure::new(Exit::TimedOut, "the cluster was not ready in time")
        .hint(format!("look into `{}`, or give more time with `--timeout`", logs.display()))
}

/// The parts, in the order of their start.
struct Cluster<'a> {
    context: &'a Context,
    args: &'a UpArgs,
    layout: &'a Layout,
    variables: Variables,
    nats_url: String,
    /// The server to run; none when one was named.
    nats_server: Option<Spec>,
    record: Record,
    /// Server and coordinator.
    services: Vec<Part>,
    agents: Vec<Part>,
}

impl<'a> Cluster<'a> {
    /// Finds out what to run, before anything is started.
    async fn plan(context: &'a Context, args: &'a UpArgs, layout: &'a Layout) -> Result<Self> {
        let variables = Variables::read();
        let name = &context.global.cluster;
        let (nats_url, nats_server) = match &context.global.nats_url {
            Some(url) => (url.clone(), None),
            None => {
                let program = nats_server::find(args.nats_server.as_deref(), &variables).await?;
                let last = layout.read_cluster().and_then(|c| nats_server::port_of(&c.nats_url));
                let port = nats_server::choose_port(args.port, last)?;
                let config = nats_server::write_config(layout, name, port)?;
                let arguments = vec!["--config".into(), config.into()];
                let name = "nats-server".to_owned();
                let log = layout.log(&name);
                (nats_server::url(port), Some(Spec { name, program, arguments, log }))
            }
        };
        let file = ClusterFile {
            nats_url: nats_url.clone(),
            cluster: name.to_string(),
            supervisor: ProcessId::of(std::process::id()),
            parts: Vec::new(),
        };
        let record = Record::start(layout.clone(), file, context.printer);
        Ok(Self {
            context,
            args,
            layout,
            variables,
            nats_url,
            nats_server,
            record,
            services: Vec::new(),
            agents: Vec::new(),
        })
    }

    async fn start(&mut self) -> Result<Ready> {
        if let Some(server) = self.nats_server.take() {
            let server = self.start_part(server);
            self.services.push(server);
        }
        let subjects = self.context.subjects();
        let client = bootstrap::connect(&self.nats_url, &subjects).await?;
        let coordinator = self.ours("coordinator", &self.args.coordinator_set)?;
        let coordinator = self.start_part(coordinator);
        self.services.push(coordinator);
        bootstrap::coordinator_answers(&client).await?;
        bootstrap::create_defaults(&client).await?;
        self.start_agents(&client).await?;
        Ok(Ready {
            nats_url: self.nats_url.clone(),
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
            let mut agent = self.ours("agent", &self.args.agent_set)?;
            agent.name.clone_from(name);
            agent.log = self.layout.log(name);
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

    /// What to run for one of our own programs: `windrow-NAME`.
    fn ours(&self, name: &str, settings: &[String]) -> Result<Spec> {
        let program = format!("windrow-{name}");
        let found = find_program(&program, &self.variables).ok_or_else(|| {
            Failure::error(format!("find `{program}`: it is neither beside `windrow` nor on PATH"))
                .hint("install all of Windrow's programs into one directory")
        })?;
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
        Ok(Spec { name: name.to_owned(), program: found, arguments, log })
    }

    fn start_part(&self, spec: Spec) -> Part {
        Part::start(spec, self.record.notices.clone())
    }

    /// Stops agents, then the coordinator, then the server.
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
