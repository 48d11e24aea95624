//! Runs attempts as plain processes of this host, by way of the keeper.
//!
//! The keeper ([`crate::keeper`]) is the parent of the processes and outlives this agent. Here is
//! only its client: one task that sends requests and turns what comes back into events. It is
//! meant for trusted users: processes see the host.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Sender};

use super::docker::Containers;
use super::{Adopted, AttemptKey, Error, ExecutorEvent, Fence, StartRequest, StopSignal, secrets};
use crate::keeper::protocol::{Known, Order, Request};

mod connect;
mod leftovers;
mod link;

/// Calls that may wait for the keeper; further callers wait.
const MAILBOX: usize = 256;

/// Whether attempts get a control group of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// No: memory is counted but not enforced, and a process that leaves its process group
    /// (`setsid`) outlives its attempt. The default, because a control group more than doubles the
    /// cost of a short attempt: measured on two cores, making, entering and removing it takes
    /// 0.3 ms and the launcher that enters it another 0.3 ms, against 0.25 ms for the process.
    #[default]
    Off,
    /// Yes; needs root. The memory limit is enforced, CPU is shared by vCPU, nothing escapes.
    On,
}

/// Settings of the process executor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The keeper's own directory: socket, lock and log. Its path may have at most 95 bytes, since
    /// the system limits a socket's path.
    pub directory: PathBuf,
    /// Where attempts write their output, and nothing else is.
    pub logs: PathBuf,
    /// Where attempts of this executor have their scratch directories, and nothing else is.
    pub scratch: PathBuf,
    /// The program to start as keeper; absent: this one.
    #[serde(default)]
    pub keeper_program: Option<PathBuf>,
    /// Whether attempts get a control group.
    #[serde(default)]
    pub cgroup: CgroupMode,
}

/// A handle on the keeper's attempts. Dropped, it leaves them running.
#[derive(Debug)]
pub struct ProcessExecutor {
    requests: Sender<Vec<Request>>,
    events: Sender<Vec<ExecutorEvent>>,
    /// What the keeper knew when we connected, until adopted.
    found: Mutex<Vec<Known>>,
    cgroup: bool,
}

impl ProcessExecutor {
    /// Connects to the keeper of the directory; starts it when none runs. Blocks for the
    /// milliseconds that this takes. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the keeper cannot be started, or does not serve.
    pub fn open(config: ProcessConfig, events: Sender<Vec<ExecutorEvent>>) -> Result<Self, Error> {
        let cgroup = config.cgroup == CgroupMode::On;
        let (stream, found) = connect::connect(&config)?;
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let link = link::Link::new(config, events.clone(), &found);
        tokio::spawn(link.run(stream, mailbox));
        Ok(Self { requests, events, found: Mutex::new(found), cgroup })
    }

    /// Every attempt that the keeper knew when we connected. For those that had ended by then the
    /// event with their end follows, for the others when they end. To be called once, first.
    ///
    /// # Errors
    /// None at present; the Docker executor has some.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, Error> {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let adopted = found.iter().map(|known| Adopted {
            key: known.key,
            started_at: Some(known.started_at),
            running: known.end.is_none(),
        });
        let adopted = adopted.collect();
        let ends: Vec<_> = found.into_iter().filter_map(|k| link::translate(k.end?)).collect();
        if !ends.is_empty() {
            // Beside, because the caller may not read its events before this returns.
            let events = self.events.clone();
            tokio::spawn(async move { events.send(ends).await });
        }
        Ok(adopted)
    }

    /// Starts attempts; the outcome arrives as events. Waits only while the mailbox is full.
    pub async fn start(&self, requests: Vec<StartRequest>) {
        let mut refused = Vec::new();
        let mut orders = Vec::with_capacity(requests.len());
        for request in requests {
            match order(request, self.cgroup).await {
                Ok(order) => orders.push(Request::Start(Box::new(order))),
                Err(event) => refused.push(event),
            }
        }
        if !refused.is_empty() {
            // Fails only when nobody is interested any more.
            let _ = self.events.send(refused).await;
        }
        self.send(orders).await;
    }

    /// Signals an attempt; nothing happens when it has ended.
    pub async fn stop(&self, key: AttemptKey, signal: StopSignal) {
        self.send(vec![Request::Stop { key, signal }]).await;
    }

    /// From now on all attempts, and these containers, must be over by this time: the keeper sees to it
    /// if this agent does not.
    pub async fn fence(&self, fence: Option<Fence>, containers: Option<Containers>) {
        self.send(vec![Request::Fence { fence, containers }]).await;
    }

    /// Drops the records of attempts whose end the agent has on disk, failed starts included.
    pub async fn forget(&self, keys: Vec<AttemptKey>) {
        self.send(vec![Request::Forget { keys }]).await;
    }

    async fn send(&self, requests: Vec<Request>) {
        if !requests.is_empty() {
            // The task ends only with the runtime.
            let _ = self.requests.send(requests).await;
        }
    }
}

/// The keeper's order for a request, or why it cannot run as a process.
async fn order(mut request: StartRequest, cgroup: bool) -> Result<Order, ExecutorEvent> {
    let mut environments = std::mem::take(&mut request.environments);
    let StartRequest { key, spec, resources, log_file, scratch, .. } = request;
    let refuse = |reason: String| {
        let at = windrow_common::time::wall_clock();
        Err(ExecutorEvent::StartFailed { key, at, reason })
    };
    let (Some(process), [environment]) = (spec.containers.first(), &mut *environments) else {
        let count = spec.containers.len();
        return refuse(format!("a job without images is one process, not {count}"));
    };
    if let Some(image) = &process.image {
        return refuse(format!("the process executor cannot run the image `{image}`"));
    }
    if process.command.is_empty() {
        return refuse("the job has no command and no image to take it from".to_owned());
    }
    if let Err(reason) = secrets::add(&process.secrets, environment).await {
        return refuse(reason);
    }
    Ok(Order {
        key,
        command: process.command.clone(),
        environment: std::mem::take(environment),
        working_directory: process.working_directory.as_ref().map(PathBuf::from),
        scratch,
        log_file,
        user: process.user.clone(),
        resources,
        cgroup,
        ulimits: process.ulimits.clone(),
    })
}
