//! Access keys: what can be made, listed and revoked, and what is kept of it.

use serde_json::json;
use windrow_common::access::ClusterKey;
use windrow_common::api::ErrorKind;
use windrow_common::api::access::{CreateAccessKey, ListAccessKeys, RevokeAccessKey};
use windrow_common::time::Timestamp;

use crate::core::commands::NewAccessKey;
use crate::core::world::World;
use crate::core::{Answer, Command};
use crate::view;

/// A new key as the edge makes it, of this number.
pub(in crate::core) fn new_key(number: u8, request: CreateAccessKey) -> Command {
    let cluster_key = ClusterKey::new([7; 32]);
    let id = cluster_key.access_key_id(&number.to_string());
    let secret = cluster_key.secret(&id);
    let cluster_key = cluster_key.fingerprint();
    Command::CreateAccessKey(Box::new(NewAccessKey { id, secret, cluster_key, request }))
}

pub(in crate::core) fn revoke(number: u8) -> Command {
    let access_key_id = ClusterKey::new([7; 32]).access_key_id(&number.to_string()).to_string();
    Command::RevokeAccessKey(RevokeAccessKey { access_key_id })
}

fn with_policy(policy: serde_json::Value) -> CreateAccessKey {
    CreateAccessKey { policy: serde_json::from_value(policy).unwrap(), ..Default::default() }
}

#[test]
fn a_key_is_told_once_listed_without_its_secret_and_gone_when_revoked() {
    let mut w = World::new();
    let expires_at = Some(w.now.plus(std::time::Duration::from_secs(60)));
    let request =
        CreateAccessKey { user_name: Some("ann".into()), expires_at, ..Default::default() };
    let Answer::AccessKey(told) = w.does(new_key(1, request)) else { panic!("no key") };
    assert_eq!((&told.user_name[..], told.secret_access_key.0.len()), ("ann", 40));
    let Answer::AccessKey(other) = w.does(new_key(2, CreateAccessKey::default())) else { panic!() };
    let list = |w: &World, request: &ListAccessKeys| {
        view::list_access_keys(&w.state, request).unwrap().access_keys
    };
    let one = ListAccessKeys {
        access_key_id: Some(told.access_key_id.clone()),
        ..ListAccessKeys::default()
    };
    let [found] = &list(&w, &one)[..] else { panic!("not there") };
    assert_eq!((&found.user_name, found.expires_at), (&told.user_name, told.expires_at));
    assert_eq!(list(&w, &ListAccessKeys::default()).len(), 2);
    let page = ListAccessKeys { max_results: Some(1), ..ListAccessKeys::default() };
    let page = view::list_access_keys(&w.state, &page).unwrap();
    let next = ListAccessKeys { next_token: page.next_token, ..ListAccessKeys::default() };
    assert_eq!(list(&w, &next).len(), 1);
    w.does(revoke(1));
    assert_eq!(list(&w, &one), []);
    assert_eq!(w.refused(revoke(1)).kind, ErrorKind::NotFound);
    assert_eq!(list(&w, &ListAccessKeys::default())[0].user_name, "default");
    // Neither the journal nor a snapshot has what requests are signed with.
    let stored =
        [rmp_serde::to_vec_named(w.log()).unwrap(), rmp_serde::to_vec_named(&w.state).unwrap()];
    for secret in [&told.secret_access_key.0, &other.secret_access_key.0] {
        let has = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!stored.iter().any(has));
    }
    w.check_replay();
}

#[test]
fn keys_that_would_not_do_what_they_say_are_refused() {
    let mut w = World::new();
    let past = CreateAccessKey { expires_at: Some(Timestamp(1)), ..Default::default() };
    assert!(w.refused(new_key(1, past)).message.contains("future"));
    let bad_name = CreateAccessKey { user_name: Some("a b".into()), ..Default::default() };
    assert!(w.refused(new_key(1, bad_name)).message.contains("userName"));
    let statement = |effect: &str, action: &str, resource: &str| json!({"Statement": [{"Effect": effect, "Action": action, "Resource": resource}]});
    let wrong = [
        (json!({"Statement": []}), "no Statement"),
        (json!({"Version": "2020-01-01", "Statement": []}), "Version"),
        (statement("Allow", "SubmitJob", "*"), "not an action"),
        (statement("Allow", "s3:GetObject", "*"), "not an action"),
        (statement("Allow", "batch:", "*"), "not an action"),
        (statement("Deny", "batch:*", "arn:aws:batch"), "whole ARN"),
        (statement("Deny", "batch:*", ""), "empty"),
        (statement("Deny", "batch:*", &"q".repeat(7000)), "at most 6144"),
        (json!({"Statement": [{"Effect": "Allow", "Action": [], "Resource": "*"}]}), "an Action"),
    ];
    for (policy, problem) in wrong {
        let refused = w.refused(new_key(1, with_policy(policy.clone())));
        assert!(refused.message.contains(problem), "{policy}: {refused:?}");
    }
    w.does(new_key(1, with_policy(statement("Allow", "batch:Submit*", "gpu"))));
    assert_eq!(w.refused(new_key(1, CreateAccessKey::default())).kind, ErrorKind::Conflict);
    let bad_id = RevokeAccessKey { access_key_id: "../x".into() };
    let refused = w.refused(Command::RevokeAccessKey(bad_id));
    assert!(refused.message.contains("accessKeyId"), "{refused:?}");
    w.limits.access_keys = 1;
    assert!(w.refused(new_key(2, CreateAccessKey::default())).message.contains("at most 1"));
    w.check_replay();
}
