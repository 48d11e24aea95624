//! The ways to run an attempt that work here, behind one door.

use tokio::sync::mpsc;
use windrow_common::time::wall_clock;
use windrow_common::wire::agent::Executor;

use crate::executor::{
    Adopted, AttemptKey, Error, ExecutorEvent, ProcessConfig, ProcessExecutor, StartRequest,
    StopSignal,
};

/// Every executor that is open.
#[derive(Debug)]
pub struct Executors {
    process: Option<ProcessExecutor>,
}

impl Executors {
    /// Opens what the configuration wants.
    pub fn open(
        process: Option<ProcessConfig>,
        events: &mpsc::Sender<Vec<ExecutorEvent>>,
    ) -> Result<Self, Error> {
        let open = |config| ProcessExecutor::open(config, events.clone());
        Ok(Self { process: process.map(open).transpose()? })
    }

    /// What works here, for the coordinator.
    pub fn kinds(&self) -> Vec<Executor> {
        self.process.iter().map(|_| Executor::Process).collect()
    }

    /// Every attempt that an executor still knows; once, before all else.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, Error> {
        match &self.process {
            Some(process) => process.adopt().await,
            None => Ok(Vec::new()),
        }
    }

    /// Starts attempts. Gives back the failures of those that nothing here can run.
    pub async fn start(&self, requests: Vec<StartRequest>) -> Vec<ExecutorEvent> {
        let mut refused = Vec::new();
        match &self.process {
            Some(process) => process.start(requests).await,
            None => refused.extend(requests.iter().map(refuse)),
        }
        refused
    }

    /// Signals attempts.
    pub async fn stop(&self, stops: Vec<(AttemptKey, StopSignal)>) {
        for (key, signal) in stops {
            if let Some(process) = &self.process {
                process.stop(key, signal).await;
            }
        }
    }

    /// Drops records of attempts that have ended.
    pub async fn forget(&self, keys: Vec<AttemptKey>) {
        if let Some(process) = &self.process {
            process.forget(keys).await;
        }
    }
}

fn refuse(request: &StartRequest) -> ExecutorEvent {
    let reason = match &request.spec.image {
        Some(image) => format!("image `{image}`: this agent has no Docker engine"),
        None => "this agent runs no plain processes; give the job an image".to_owned(),
    };
    ExecutorEvent::StartFailed { key: request.key, at: wall_clock(), reason }
}
