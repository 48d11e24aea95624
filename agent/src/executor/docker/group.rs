//! The containers of one attempt: their names, and the labels by which a restarted agent finds them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerSummary, Volume};
use serde::{Deserialize, Serialize};
use windrow_common::time::Timestamp;
use windrow_common::wire::container::ContainerSpec;

use super::DockerConfig;
use super::life::Member;
use crate::executor::{AttemptKey, StartRequest};

/// Keys of the labels.
pub(super) mod labels {
    pub(in super::super) const AGENT: &str = "windrow.agent";
    pub(in super::super) const STATE_DIRECTORY: &str = "windrow.state-directory";
    pub(super) const JOB: &str = "windrow.job";
    pub(super) const CHILD: &str = "windrow.child";
    pub(super) const LEASE: &str = "windrow.lease";
    pub(super) const LOG_FILE: &str = "windrow.log-file";
    pub(super) const CREATED: &str = "windrow.created-millis";
    /// What the container is in its attempt: [`super::Role`] as JSON.
    pub(super) const ROLE: &str = "windrow.role";
}

/// What a container is in its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// It holds what the others share.
    Pause,
    /// One of the job's, the `index`th of `count`.
    Member { index: usize, count: usize, member: Member },
}

/// What the engine holds of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: AttemptKey,
    pub(super) log_file: PathBuf,
    pub(super) members: Vec<Member>,
    /// The containers' names, in the order of `members`.
    pub(super) containers: Vec<String>,
    /// The pause container's name, of an attempt with several containers.
    pub(super) pause: Option<String>,
    /// Volumes with a name of their own.
    pub(super) volumes: Vec<String>,
}

impl Group {
    /// Of an attempt to be started. The error is for the user.
    pub(super) fn of(request: &StartRequest, config: &DockerConfig) -> Result<Self, String> {
        let specs = &request.spec.containers;
        if specs.len() != request.environments.len() || specs.is_empty() {
            return Err("the job has no container".to_owned());
        }
        let name = base_name(request);
        let has_several = specs.len() > 1;
        let names: BTreeMap<&str, usize> =
            specs.iter().zip(0..).map(|(spec, i)| (&*spec.name, i)).collect();
        let members = specs.iter().map(|spec| member(spec, &names, config));
        let containers = (0..specs.len())
            .map(|i| if has_several { format!("{name}-{i}") } else { name.clone() })
            .collect();
        let volumes = (0..request.spec.volumes.len()).filter(|_| has_several);
        Ok(Self {
            key: request.key,
            log_file: request.log_file.clone(),
            members: members.collect::<Result<_, _>>()?,
            containers,
            pause: has_several.then(|| format!("{name}-pause")),
            volumes: volumes.map(|i| volume_name(request, i)).collect(),
        })
    }

    /// Of what a restarted agent found; none when containers of it are missing.
    pub(super) fn found(found: &[Found], volumes: Vec<String>) -> Option<Self> {
        let mut members = BTreeMap::new();
        let (mut pause, mut wanted) = (None, 0);
        for one in found {
            match &one.role {
                Role::Pause => pause = Some(one.container.clone()),
                Role::Member { index, count, member } => {
                    wanted = *count;
                    members.insert(*index, (member.clone(), one.container.clone()));
                }
            }
        }
        let first = found.first().filter(|_| wanted > 0 && members.len() == wanted)?;
        let (members, containers) = members.into_values().unzip();
        let log_file = first.log_file.clone();
        Some(Self { key: first.key, log_file, members, containers, pause, volumes })
    }

    /// Every container, the pause container last.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().chain(&self.pause).map(String::as_str)
    }

    /// The name before a container's lines in the log; none for the only container.
    pub(super) fn tag(&self, index: usize) -> Option<&str> {
        self.pause.as_ref().map(|_| &*self.members[index].name)
    }
}

fn base_name(request: &StartRequest) -> String {
    format!("windrow-{}-{}-{}", request.job, request.key.child, request.key.lease)
}

/// The engine's name of the `index`th volume of an attempt with several containers.
pub(super) fn volume_name(request: &StartRequest, index: usize) -> String {
    format!("{}-volume-{index}", base_name(request))
}

fn member(
    spec: &ContainerSpec,
    names: &BTreeMap<&str, usize>,
    config: &DockerConfig,
) -> Result<Member, String> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let on = spec.depends_on.iter().map(|(on, condition)| match names.get(on.as_str()) {
        Some(index) => Ok((*index, *condition)),
        None => Err(format!("container `{}` depends on `{on}`, which the job lacks", spec.name)),
    });
    Ok(Member {
        name: spec.name.clone(),
        essential: spec.essential,
        depends_on: on.collect::<Result<_, _>>()?,
        start_timeout: spec.start_timeout_seconds.map(seconds),
        stop_timeout: spec.stop_timeout_seconds.map_or(config.stop_timeout, seconds),
    })
}

/// The labels of everything that belongs to an attempt.
pub(super) fn attempt_labels(
    request: &StartRequest,
    config: &DockerConfig,
) -> HashMap<String, String> {
    [
        (labels::AGENT, config.agent.to_string()),
        (labels::STATE_DIRECTORY, config.state_directory.display().to_string()),
        (labels::JOB, request.job.to_string()),
        (labels::CHILD, request.key.child.to_string()),
        (labels::LEASE, request.key.lease.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The labels of a container.
pub(super) fn container_labels(
    request: &StartRequest,
    config: &DockerConfig,
    role: &Role,
    now: Timestamp,
) -> HashMap<String, String> {
    let mut all = attempt_labels(request, config);
    let role = serde_json::to_string(role).expect("roles have string keys only");
    for (key, value) in [
        (labels::LOG_FILE, request.log_file.display().to_string()),
        (labels::CREATED, now.0.to_string()),
        (labels::ROLE, role),
    ] {
        all.insert(key.to_owned(), value);
    }
    all
}

/// What the labels tell of a container.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) key: AttemptKey,
    pub(super) container: String,
    pub(super) log_file: PathBuf,
    pub(super) created_at: Timestamp,
    pub(super) role: Role,
}

/// Reads a container's labels; absent when they are not as we write them.
pub(super) fn read_labels(summary: &ContainerSummary) -> Option<Found> {
    let all = summary.labels.as_ref()?;
    Some(Found {
        key: key_of(all)?,
        container: summary.names.as_ref()?.first()?.trim_start_matches('/').to_owned(),
        log_file: Path::new(all.get(labels::LOG_FILE)?).to_owned(),
        created_at: Timestamp(all.get(labels::CREATED)?.parse().ok()?),
        role: serde_json::from_str(all.get(labels::ROLE)?).ok()?,
    })
}

/// The attempt that a named volume belongs to.
pub(super) fn volume_owner(volume: &Volume) -> Option<AttemptKey> {
    key_of(&volume.labels)
}

fn key_of(all: &HashMap<String, String>) -> Option<AttemptKey> {
    let lease = all.get(labels::LEASE)?.parse().ok()?;
    Some(AttemptKey { lease, child: all.get(labels::CHILD)?.parse().ok()? })
}
