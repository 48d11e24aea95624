//! From a plan of the core to the request that an executor gets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, User};

use windrow_common::wire::container::ContainerSpec;

use crate::core::StartPlan;
use crate::core::environment::environment;
use crate::executor::StartRequest;

/// Everything an executor needs to start the attempt.
pub fn start_request(plan: &StartPlan, log_file: PathBuf, scratch: &Path) -> StartRequest {
    let scratch = scratch.join(format!("{}-{}", plan.key.lease.0, plan.key.child));
    let gpus = split_gpus(plan);
    let of = |(container, gpus): (&ContainerSpec, &Vec<String>)| {
        let home = match (&container.image, &container.user) {
            (Some(_), _) => None,
            (None, None) => Some(scratch.to_string_lossy().into_owned()),
            (None, Some(user)) => Some(home_of(user).unwrap_or_else(|| "/".to_owned())),
        };
        let gpus = plan.gpus.as_ref().map(|_| gpus.as_slice());
        environment(&plan.lease, plan.key.child, container, home.as_deref(), gpus)
    };
    StartRequest {
        key: plan.key,
        job: plan.lease.job,
        spec: Arc::clone(&plan.spec),
        environments: plan.spec.containers.iter().zip(&gpus).map(of).collect(),
        resources: plan.lease.resources,
        gpus,
        log_file,
        scratch,
    }
}

/// The attempt's GPUs, by container.
fn split_gpus(plan: &StartPlan) -> Vec<Vec<String>> {
    let mut rest = plan.gpus.iter().flatten();
    let mut of =
        |one: &ContainerSpec| rest.by_ref().take(one.resources.gpu as usize).cloned().collect();
    plan.spec.containers.iter().map(&mut of).collect()
}

/// Home directory of `user` or `user:group`, by name or number.
fn home_of(user: &str) -> Option<String> {
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    let found = match user.parse() {
        Ok(id) => User::from_uid(Uid::from_raw(id)),
        Err(_) => User::from_name(user),
    };
    Some(found.ok()??.dir.to_string_lossy().into_owned())
}
