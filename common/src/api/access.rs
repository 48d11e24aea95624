//! Access keys of the HTTP API and what each may do. All of these operations are *extensions*; shapes
//! and words are IAM's, in the spelling of AWS Batch's model.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Makes an access key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateAccessKey {
    /// Who calls with it: shown in refusals and records. Several keys may be one user's, so that one can be
    /// exchanged for another. `default` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// What calls with it may do; absent: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyDocument>,
    /// When it stops being accepted, in milliseconds since the epoch; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The key. Its secret is told here and never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateAccessKeyResponse {
    /// Names the key in requests and in operations.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret_access_key: SecretAccessKey,
    /// Whose it is.
    pub user_name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A secret: shown to nobody but whom it is sent to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretAccessKey(pub String);

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretAccessKey(***)")
    }
}

/// Ends a key: from a few seconds later on nothing signed with it is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RevokeAccessKey {
    /// The key.
    pub access_key_id: String,
}

/// Lists keys, without their secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListAccessKeys {
    /// Only this one, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// At most so many, 1 to 100; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    /// Of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// A page of keys, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListAccessKeysResponse {
    /// The keys.
    pub access_keys: Vec<AccessKeyDetail>,
    /// There are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// An access key as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeyDetail {
    /// Names the key.
    pub access_key_id: String,
    /// Whose it is.
    pub user_name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What calls with it may do; absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyDocument>,
    /// Which cluster key its secret is made with.
    pub cluster_key: String,
}

/// What may be done, as IAM writes it. What no statement allows is denied, and a statement that denies
/// wins over all that allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyDocument {
    /// `2012-10-17` or `2008-10-17`, as IAM has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// One, or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub statement: Vec<Statement>,
}

/// Actions on resources, allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What the statement does.
    pub effect: Effect,
    /// Such as `batch:SubmitJob`, `batch:Describe*`, `logs:*`, `*`. Case does not matter.
    #[serde(deserialize_with = "one_or_many")]
    pub action: Vec<String>,
    /// ARNs, with `*` and `?` for any text and any character; a text that is no ARN names a job queue.
    #[serde(deserialize_with = "one_or_many")]
    pub resource: Vec<String>,
}

/// What a statement does with what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Allows it, unless another denies it.
    Allow,
    /// Denies it, whatever else allows it.
    Deny,
}

/// Reads a list, or the only entry of one.
fn one_or_many<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Either<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Either<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one entry or a list of entries")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|one| vec![one])
        }
    }
    deserializer.deserialize_any(Either(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_iam_writes_it_and_what_is_not_known_is_refused() {
        let short = r#"{"Statement": {"Effect": "Allow", "Action": "batch:*", "Resource": "*"}}"#;
        let long = r#"{"Version": "2012-10-17", "Statement": [
            {"Sid": "x", "Effect": "Deny", "Action": ["batch:SubmitJob", "logs:*"], "Resource": ["q"]}]}"#;
        let short: PolicyDocument = serde_json::from_str(short).unwrap();
        assert_eq!((short.statement.len(), &short.statement[0].action[0][..]), (1, "batch:*"));
        let long: PolicyDocument = serde_json::from_str(long).unwrap();
        assert_eq!((long.statement[0].effect, long.statement[0].action.len()), (Effect::Deny, 2));
        let again = serde_json::to_string(&long).unwrap();
        assert_eq!(serde_json::from_str::<PolicyDocument>(&again).unwrap(), long);
        for unknown in ["Condition", "NotAction", "Principal"] {
            let text = format!(
                r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*", "{unknown}": {{}}}}}}"#
            );
            let error = serde_json::from_str::<PolicyDocument>(&text).unwrap_err().to_string();
            assert!(error.contains(unknown), "{error}");
        }
        assert!(serde_json::from_str::<PolicyDocument>("{}").is_err());
    }

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let secret = SecretAccessKey("canary".into());
        assert!(!format!("{secret:?}").contains("canary"));
    }
}
