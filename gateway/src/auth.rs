//! Who asks, and whether they may: signatures, access keys, policies, rates.
//!
//! Decides nothing by itself that is not in an access key as the coordinator has it. What it keeps (keys for
//! seconds, signatures for minutes, rates) may be lost at any time.

mod canonical;
mod keys;
mod local;
mod policy;
mod rate;
mod replay;
mod resources;
mod sigv4;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;
use tokio::time::Instant;
use windrow_common::time::{Timestamp, wall_clock};

use self::keys::{Key, Keys, lock};
use self::policy::Denied;
use self::rate::Rates;
use self::replay::{Replays, Use};
pub(crate) use self::resources::LOGS as LOGS_ARN;
use self::sigv4::Claim;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::error::AwsError;

/// Who asks when no signature is looked at.
const LOCAL: &str = "local";
/// What operations that only read begin with.
const READS: [&str; 6] = ["Describe", "List", "Get", "Filter", "StartLiveTail", "Test"];

/// Lets in and keeps out.
#[derive(Debug)]
pub(crate) struct Auth {
    /// Absent: everybody may do everything, and is [`LOCAL`].
    keys: Option<Keys>,
    rates: Mutex<Rates>,
    replays: Mutex<Replays>,
    started: Instant,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// What tells principals apart, such as in idempotency keys.
    pub(crate) name: String,
    /// The key, the signature, and until when that is good.
    signed: Option<(Arc<Key>, [u8; 32], Timestamp)>,
}

impl Auth {
    /// As the configuration says.
    ///
    /// # Errors
    /// The cluster key file cannot be read.
    pub(crate) fn new(config: &Config, coordinator: &Coordinator) -> Result<Self, String> {
        let file = PathBuf::from(&config.cluster_key_file);
        let keys = match config.asks_for_keys() {
            true => Some(Keys::open(coordinator.clone(), file)?),
            false => None,
        };
        let rates = Rates::new(config.limits.calls_per_second, config.limits.calls_at_once);
        let (rates, replays) = (Mutex::new(rates), Mutex::default());
        Ok(Self { keys, rates, replays, started: Instant::now() })
    }

    /// Finds out who asks. `service` is what the signature has to be for: `batch` or `logs`.
    ///
    /// # Errors
    /// Nobody may ask so, or so often.
    pub(crate) async fn authenticate(
        &self,
        parts: &Parts,
        body: &Bytes,
        service: &str,
        now: Timestamp,
    ) -> Result<Principal, AwsError> {
        let principal = match &self.keys {
            Some(keys) => signed(keys, parts, body, service, now).await?,
            None => {
                local::check(&parts.headers)?;
                Principal { name: LOCAL.to_owned(), signed: None }
            }
        };
        let taken = lock(&self.rates).take(&principal.name, self.started.elapsed());
        taken.map_err(|wait| too_many(&format!("calls of `{}`", principal.name), wait))?;
        Ok(principal)
    }

    /// Whether the principal may do it: `action` as in `batch:SubmitJob`; `request` is what is asked for, in
    /// AWS's form, and names the resources.
    ///
    /// # Errors
    /// Not allowed; or it changes something, and the same signature did so before.
    pub(crate) fn authorise(
        &self,
        principal: &Principal,
        action: &str,
        request: &Value,
    ) -> Result<(), AwsError> {
        let Some((key, signature, until)) = &principal.signed else { return Ok(()) };
        let resources = resources::of(action, request);
        policy::check(key.policy.as_ref(), action, &resources)
            .map_err(|denied| refuse(&principal.name, action, denied))?;
        let operation = action.split_once(':').map_or(action, |(_, operation)| operation);
        if READS.iter().any(|prefix| operation.starts_with(prefix)) {
            return Ok(());
        }
        match lock(&self.replays).note(*signature, *until, wall_clock()) {
            Use::Fresh => Ok(()),
            Use::Again => Err(AwsError::new(
                403,
                "InvalidSignatureException",
                format!("{action}: a request with this signature was taken before"),
            )
            .hint("sign each call anew: a signature is good for two seconds after its first use")),
            Use::Full => Err(too_many("calls that change something", Duration::from_secs(1))),
        }
    }
}

/// Who has signed a request.
async fn signed(
    keys: &Keys,
    parts: &Parts,
    body: &Bytes,
    service: &str,
    now: Timestamp,
) -> Result<Principal, AwsError> {
    let unknown = || {
        let message = "The security token included in the request is invalid.";
        AwsError::new(403, "UnrecognizedClientException", message)
    };
    let claim = Claim::read(parts)?;
    claim.check_scope(service, now)?;
    let id = claim.access_key_id.parse().map_err(|_: String| unknown())?;
    let key = keys.find(&id).await?.ok_or_else(unknown)?;
    claim.check_signature(parts, body, &key.secret.0)?;
    // Told to those only who have signed with it.
    if key.expires_at.is_some_and(|at| at <= now) {
        let message = "The security token included in the request is expired";
        return Err(AwsError::new(403, "ExpiredTokenException", message));
    }
    if claim.has_token {
        return Err(
            unknown().hint("access keys of this cluster have no session token: leave it out")
        );
    }
    Ok(Principal { name: key.user.clone(), signed: Some((key, claim.signature, claim.until)) })
}

/// In the words of AWS, which clients show.
fn refuse(user: &str, action: &str, denied: Denied<'_>) -> AwsError {
    let user = format!("arn:aws:iam::000000000000:user/{user}");
    let (resource, why) = match denied {
        Denied::Explicitly(resource) => {
            (resource, "with an explicit deny in an identity-based policy")
        }
        Denied::ByDefault(resource) => {
            (resource, "because no identity-based policy allows the action")
        }
    };
    let message = format!(
        "User: {user} is not authorized to perform: {action} on resource: {resource} {why}"
    );
    AwsError::new(403, "AccessDeniedException", message)
        .hint("see the key's policy with `windrow key list -o json`")
}

/// Of what there was too much, and when there is room again.
fn too_many(what: &str, wait: Duration) -> AwsError {
    let milliseconds = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
    AwsError::new(429, "TooManyRequestsException", format!("Too Many Requests: {what}"))
        .retry_after(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_have_aws_form() {
        let resource = "arn:aws:batch:local:000000000000:job-queue/q";
        let error = refuse("ann", "batch:SubmitJob", Denied::ByDefault(resource));
        assert_eq!((error.status, error.code), (403, "AccessDeniedException"));
        assert_eq!(
            error.message,
            format!(
                "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: \
                 batch:SubmitJob on resource: {resource} because no identity-based policy allows the \
                 action"
            )
        );
        let error = refuse("ann", "batch:SubmitJob", Denied::Explicitly("*"));
        assert!(error.message.contains("resource: * with an explicit deny"), "{error:?}");
    }

    #[test]
    fn too_many_calls_say_when_to_come_again() {
        let error = too_many("calls of `ann`", Duration::from_micros(1_500));
        assert_eq!((error.status, error.retry_after), (429, Some(1)));
    }
}
