//! Access keys as the coordinator has them, remembered for a short time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use windrow_common::access::{AccessKeyId, ClusterKeys};
use windrow_common::api::access::{
    AccessKeyDetail, ListAccessKeys, ListAccessKeysResponse, PolicyDocument, SecretAccessKey,
};
use windrow_common::time::Timestamp;

use super::rate::Rates;
use crate::coordinator::Coordinator;
use crate::error::AwsError;
use crate::operations::{Operation, Repeat};

/// What was found out is believed for so long: so soon a revoked key is refused.
const FRESH: Duration = Duration::from_secs(3);
/// While one asks again, the others go on with what is known for this time.
const ASKING: Duration = Duration::from_secs(1);
/// When nobody answers, a key is believed for this time in all.
const STALE_MAX: Duration = Duration::from_secs(30);
/// How often a second keys may be asked for that nothing is known of, and how often at once: whoever tries ids
/// must not keep the coordinator busy.
const LOOKUPS: (u32, u32) = (100, 400);
/// Most ids remembered; beyond this those that are no keys are forgotten.
const REMEMBERED_MAX: usize = 20_000;

const LIST_ACCESS_KEYS: Operation = Operation { name: "ListAccessKeys", repeat: Repeat::Safe };

/// A key that is there.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) user: String,
    pub(super) secret: SecretAccessKey,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) policy: Option<PolicyDocument>,
}

/// What is known of an id, and since when; none if it is no key.
#[derive(Clone, Debug)]
struct Known {
    confirmed: Instant,
    /// When to ask again.
    due: Instant,
    key: Option<Arc<Key>>,
}

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    coordinator: Coordinator,
    file: PathBuf,
    cluster_keys: Mutex<ClusterKeys>,
    known: Mutex<BTreeMap<AccessKeyId, Known>>,
    lookups: Mutex<Rates>,
    started: Instant,
}

impl Keys {
    /// # Errors
    /// The cluster key file cannot be read.
    pub(super) fn open(coordinator: Coordinator, file: PathBuf) -> Result<Self, String> {
        let cluster_keys = Mutex::new(ClusterKeys::load(&file)?);
        let lookups = Mutex::new(Rates::new(LOOKUPS.0, LOOKUPS.1));
        let (known, started) = (Mutex::default(), Instant::now());
        Ok(Self { coordinator, file, cluster_keys, known, lookups, started })
    }

    /// The key of this id; none if there is none.
    ///
    /// # Errors
    /// Nobody who knows can be asked.
    pub(super) async fn find(&self, id: &AccessKeyId) -> Result<Option<Arc<Key>>, AwsError> {
        let now = Instant::now();
        let known = self.recall(id, now);
        if let Some(known) = known.as_ref().filter(|known| now < known.due) {
            return Ok(known.key.clone());
        }
        if known.as_ref().is_none_or(|known| known.key.is_none()) {
            let taken = lock(&self.lookups).take("", self.started.elapsed());
            taken.map_err(|wait| super::too_many("access keys that are not known", wait))?;
        }
        match self.ask(id).await {
            Ok(key) => {
                let known = Known { confirmed: now, due: now + FRESH, key: key.clone() };
                let mut all = lock(&self.known);
                if all.len() >= REMEMBERED_MAX {
                    all.retain(|_, known| known.key.is_some() && now < known.confirmed + STALE_MAX);
                }
                all.insert(id.clone(), known);
                Ok(key)
            }
            Err(error) => match known.filter(|known| now < known.confirmed + STALE_MAX) {
                Some(known) if known.key.is_some() => Ok(known.key),
                Some(_) | None => Err(error),
            },
        }
    }

    /// What is known. Who finds it due asks; the others have it for a moment longer.
    fn recall(&self, id: &AccessKeyId, now: Instant) -> Option<Known> {
        let mut all = lock(&self.known);
        let known = all.get_mut(id)?;
        let before = known.clone();
        if known.due <= now {
            known.due = now + ASKING;
        }
        Some(before)
    }

    async fn ask(&self, id: &AccessKeyId) -> Result<Option<Arc<Key>>, AwsError> {
        let request =
            ListAccessKeys { access_key_id: Some(id.to_string()), ..ListAccessKeys::default() };
        let payload = serde_json::to_vec(&request).expect("text has a JSON form").into();
        let answer = self.coordinator.call(LIST_ACCESS_KEYS, payload, true).await?;
        let answer: ListAccessKeysResponse = serde_json::from_slice(&answer).map_err(|error| {
            warn!(%error, "the coordinator's answer about an access key cannot be read");
            AwsError::server(500, "the access key cannot be looked up")
        })?;
        let detail = answer.access_keys.into_iter().next();
        detail.map(|detail| self.key(id, detail)).transpose()
    }

    fn key(&self, id: &AccessKeyId, detail: AccessKeyDetail) -> Result<Arc<Key>, AwsError> {
        let secret = self.secret(id, &detail.cluster_key).map_err(|reason| {
            warn!(%id, reason, "no secret of an access key: requests with it are refused");
            AwsError::server(500, "the access key cannot be verified by this gateway")
                .hint("give the gateway the cluster key file of the coordinators")
        })?;
        let AccessKeyDetail { user_name: user, expires_at, policy, .. } = detail;
        Ok(Arc::new(Key { user, secret, expires_at, policy }))
    }

    /// With a cluster key that is not known the file is read again: it may have got another line.
    fn secret(&self, id: &AccessKeyId, fingerprint: &str) -> Result<SecretAccessKey, String> {
        let mut keys = lock(&self.cluster_keys);
        if keys.find(fingerprint).is_none() {
            *keys = ClusterKeys::load(&self.file)?;
        }
        keys.find(fingerprint)
            .map(|key| key.secret(id))
            .ok_or_else(|| format!("`{}` has no cluster key `{fingerprint}`", self.file.display()))
    }
}

/// Nothing is half done when a lock is dropped by a panic: whoever comes next can go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
