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
    let of = |container: &ContainerSpec| {
        let home = match (&container.image, &container.user) {
            (Some(_), _) => None,
            (None, None) => Some(scratch.to_string_lossy().into_owned()),
            (None, Some(user)) => Some(home_of(user).unwrap_or_else(|| "/".to_owned())),
        };
        environment(&plan.lease, plan.key.child, container, home.as_deref())
    };
    StartRequest {
        key: plan.key,
        job: plan.lease.job,
        spec: Arc::clone(&plan.spec),
        environments: plan.spec.containers.iter().map(of).collect(),
        resources: plan.lease.resources,
        log_file,
        scratch,
    }
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
