//! The life of one attempt: images, containers, their starts, ends and output.

use std::sync::PoisonError;
use std::time::Duration;

use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use windrow_common::time::{Timestamp, wall_clock};

use super::container::{self, message};
use super::engine::End;
use super::group::Group;
use super::life::{Exit, Health, Life, Outcome, Stage, Step};
use super::{Inner, Stop, images, logs, pause};
use crate::executor::{AttemptKey, ExecutorEvent, StartRequest, secrets};
use crate::shell::clock::since_boot;

/// How often the health of a container is asked for while others wait for it.
const HEALTH_PERIOD: Duration = Duration::from_millis(500);
/// Nothing is waited for that long; every wait is repeated.
const WAIT_MAX: Duration = Duration::from_secs(3600);

impl Inner {
    /// Starts the attempt and follows it to its end.
    pub(super) async fn run(
        &self,
        request: StartRequest,
        group: Group,
        stop: watch::Receiver<Stop>,
    ) {
        match self.create(&request, &group, &stop).await {
            Ok(()) => {
                let stages = vec![Stage::Waiting; group.members.len()];
                self.follow(&group, stages, stop).await;
            }
            Err(reason) => {
                self.remove_group(&group).await;
                self.tell(start_failed(request.key, reason)).await;
            }
        }
    }

    /// Creates all containers and starts none of the job's. The error is for the user.
    async fn create(
        &self,
        request: &StartRequest,
        group: &Group,
        stop: &watch::Receiver<Stop>,
    ) -> Result<(), String> {
        let mut images = Vec::with_capacity(group.members.len());
        for spec in &request.spec.containers {
            let image = spec.image.as_deref().filter(|image| !image.is_empty());
            let image = images::with_tag(image.ok_or("the job names no image")?);
            self.images.ensure(&self.docker, &image).await?;
            images.push(image);
        }
        let mut environments = request.environments.clone();
        for (spec, environment) in request.spec.containers.iter().zip(&mut environments) {
            secrets::add(&spec.secrets, environment).await?;
        }
        let closed = |_| "the agent is shutting down".to_owned();
        let _slot = self.slots.acquire().await.map_err(closed)?;
        if stop.borrow().signal.is_some() {
            return Err("stopped before it started".to_owned());
        }
        if let Some(name) = &group.pause {
            pause::ensure(&self.docker).await?;
            let body = container::pause_body(request, &self.config, wall_clock());
            self.create_container(name, body).await?;
            self.start_container(name).await?;
        }
        for (index, (image, environment)) in images.iter().zip(&environments).enumerate() {
            let now = wall_clock();
            let body =
                container::body(request, group, index, image, environment, &self.config, now)?;
            self.create_container(&group.containers[index], body).await?;
        }
        Ok(())
    }

    async fn create_container(
        &self,
        name: &str,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<(), String> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match self.docker.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(e) => Err(format!("CannotCreateContainerError: {}", message(&e))),
        }
    }

    async fn start_container(&self, name: &str) -> Result<(), String> {
        let fence = *self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        if fence.is_some_and(|fence| fence.kill_at <= since_boot()) {
            return Err("no coordinator was reached for too long".to_owned());
        }
        let started = self.docker.start_container(name, None).await;
        started.map_err(|e| format!("CannotStartContainerError: {}", message(&e)))
    }

    /// Starts what is not started yet, copies the output, and waits for the end of all containers.
    pub(super) async fn follow(
        &self,
        group: &Group,
        stages: Vec<Stage>,
        mut stop: watch::Receiver<Stop>,
    ) {
        let mut life = Life::new(group.members.clone(), stages);
        // An attempt that was adopted is known to have started.
        let mut is_told = life.all_started().is_some();
        let ending = |i: usize| async move { (i, self.await_end(&group.containers[i]).await) };
        let copying = |i: usize| {
            logs::follow(&self.docker, &group.containers[i], &group.log_file, group.tag(i))
        };
        let mut ends: FuturesUnordered<_> = life.running().into_iter().map(ending).collect();
        let mut copies: FuturesUnordered<_> = life.running().into_iter().map(copying).collect();
        let mut is_lost = None;
        heed(&mut life, &mut stop);
        loop {
            match life.next(wall_clock()) {
                Step::Start(i) => match self.start_container(&group.containers[i]).await {
                    Ok(()) => {
                        life.started(i, wall_clock());
                        ends.push(ending(i));
                        copies.push(copying(i));
                        if let Some(at) = life.all_started().filter(|_| !is_told) {
                            is_told = true;
                            self.tell(ExecutorEvent::Started { key: group.key, at }).await;
                        }
                    }
                    Err(reason) => life.start_failed(i, reason),
                },
                Step::Signal(i, signal) => self.signal(&group.containers[i], signal).await,
                Step::Over => break,
                Step::Wait(until) => tokio::select! {
                    Some((i, end)) = ends.next() => {
                        match self.exit_of(end, life.is_stopping()).await {
                            Ok(exit) => life.ended(i, exit),
                            Err(reason) => {
                                is_lost = Some(reason);
                                break;
                            }
                        }
                    }
                    Some(()) = copies.next() => {}
                    Ok(()) = stop.changed() => heed(&mut life, &mut stop),
                    found = self.examine(group, life.watched()) => {
                        found.into_iter().for_each(|(i, health)| life.examined(i, health));
                    }
                    () = tokio::time::sleep(wait(until)) => {}
                },
            }
        }
        if let Some(pause) = &group.pause {
            self.remove(pause).await;
        }
        if let Some(reason) = is_lost {
            self.remove_group(group).await;
            self.tell(lost(group.key, reason)).await;
            return;
        }
        // What the containers wrote comes before the attempt's end.
        while copies.next().await.is_some() {}
        if life.never_ran() {
            let reason = life.failure().unwrap_or("stopped before it started").to_owned();
            self.remove_group(group).await;
            self.tell(start_failed(group.key, reason)).await;
            return;
        }
        self.tell(exited(group.key, life.outcome(wall_clock()))).await;
    }

    /// How a container ended, or why that says nothing of its program. One that was to end anyway ended
    /// by that.
    async fn exit_of(&self, end: End, is_stopping: bool) -> Result<Exit, &'static str> {
        let (exit, with_engine) = match end {
            End::Removed => return Err("its container was removed by somebody else"),
            End::Exited(exit) => (exit, !is_stopping && self.ends_with_engine(exit).await),
            End::WithEngine(exit) => (exit, !is_stopping),
        };
        if with_engine { Err("the Docker engine was restarted") } else { Ok(exit) }
    }

    /// Asks for the health of these containers, after a while; never ready when there are none.
    async fn examine(&self, group: &Group, watched: Vec<usize>) -> Vec<(usize, Health)> {
        if watched.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(HEALTH_PERIOD).await;
        let mut found = Vec::with_capacity(watched.len());
        for i in watched {
            found.push((i, self.health(&group.containers[i]).await));
        }
        found
    }

    /// Gives up an attempt that the agent was killed over before it had begun.
    pub(super) async fn abandon(&self, group: &Group, reason: &str) {
        self.remove_group(group).await;
        self.tell(lost(group.key, reason)).await;
    }
}

fn heed(life: &mut Life, stop: &mut watch::Receiver<Stop>) {
    if let Some(signal) = stop.borrow_and_update().signal {
        life.stop(signal, wall_clock());
    }
}

fn wait(until: Option<Timestamp>) -> Duration {
    until.map_or(WAIT_MAX, |at| at.since(wall_clock()))
}

fn exited(key: AttemptKey, outcome: Outcome) -> ExecutorEvent {
    let Outcome { at, exit_code, out_of_memory, reason, containers } = outcome;
    ExecutorEvent::Exited { key, at, exit_code, out_of_memory, reason, containers }
}

fn start_failed(key: AttemptKey, reason: String) -> ExecutorEvent {
    ExecutorEvent::StartFailed { key, at: wall_clock(), reason }
}

fn lost(key: AttemptKey, reason: &str) -> ExecutorEvent {
    ExecutorEvent::Lost { key, at: wall_clock(), reason: reason.to_owned() }
}
