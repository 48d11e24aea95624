//! `windrow key ...`: access keys of the HTTP API.

use std::path::Path;

use serde_json::json;
use windrow_common::access::ClusterKeys;
use windrow_common::api::access::{
    AccessKeyDetail, CreateAccessKey, Effect, ListAccessKeys, ListAccessKeysResponse,
    PolicyDocument, RevokeAccessKey,
};
use windrow_common::time::{Timestamp, wall_clock};

use crate::args::KeyCommand;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Grid, View, time_or_dash};
use crate::pages;
use crate::submission::read_file;

pub(super) async fn run(context: &Context, command: KeyCommand) -> Result<Answer> {
    match command {
        KeyCommand::Create { name, policy, expires } => {
            let policy: Option<PolicyDocument> = policy.as_deref().map(read_file).transpose()?;
            let request = CreateAccessKey {
                user_name: name.map(|name| name.to_string()),
                policy,
                expires_at: expires.map(|expires| wall_clock().plus(expires)),
            };
            create(&context.client().await?, &request).await
        }
        KeyCommand::List => list(&context.client().await?).await,
        KeyCommand::Revoke { ids } => {
            let client = context.client().await?;
            for id in &ids {
                client.call_once(&RevokeAccessKey { access_key_id: id.clone() }).await?;
            }
            let text = ids.iter().map(|id| format!("access key {id}: revoked\n")).collect();
            Ok(Answer::one(&json!({ "accessKeyIds": ids }), ids, text))
        }
        KeyCommand::Init { file } => init(&file),
    }
}

/// In the form of AWS's credentials file, ready to be kept.
async fn create(client: &Client, request: &CreateAccessKey) -> Result<Answer> {
    let response = client.call_once(request).await?;
    let text = format!(
        "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        response.user_name, response.access_key_id, response.secret_access_key.0
    );
    Ok(Answer::one(&response, vec![response.access_key_id.clone()], text))
}

async fn list(client: &Client) -> Result<Answer> {
    let found = pages::all(client, ListAccessKeys::default()).await?;
    let now = wall_clock();
    let row = |key: &AccessKeyDetail| {
        vec![
            key.access_key_id.clone(),
            key.user_name.clone(),
            status(key, now).to_owned(),
            time_or_dash(Some(key.created_at.0)),
            time_or_dash(key.expires_at.map(|at| at.0)),
            key.policy.as_ref().map_or_else(|| "everything".to_owned(), summary),
        ]
    };
    let headers = &["ACCESS KEY ID", "USER", "STATUS", "CREATED", "EXPIRES", "MAY"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let ids = found.iter().map(|key| key.access_key_id.clone()).collect();
    let response = ListAccessKeysResponse { access_keys: found, next_token: None };
    Ok(Answer::list(&response, "accessKeys", ids, View::Grid(grid, "no access keys")))
}

fn status(key: &AccessKeyDetail, now: Timestamp) -> &'static str {
    match key.expires_at {
        Some(at) if at <= now => "EXPIRED",
        Some(_) | None => "ACTIVE",
    }
}

/// The actions of a policy; what they are allowed on is in `-o json`.
fn summary(policy: &PolicyDocument) -> String {
    let one = |statement: &windrow_common::api::access::Statement| {
        let not = if statement.effect == Effect::Deny { "not " } else { "" };
        format!("{not}{}", statement.action.join(" "))
    };
    policy.statement.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn init(file: &Path) -> Result<Answer> {
    let shown = file.display().to_string();
    if !ClusterKeys::create(file).map_err(Failure::error)? {
        let message = format!("write cluster key file `{shown}`: it exists");
        return Err(Failure::new(Exit::Conflict, message)
            .hint("use it as it is; with another key all access keys made so far stop working"));
    }
    let text = format!(
        "{shown}: written\nSet `cluster_key_file` of coordinators and gateways to a copy of it.\n"
    );
    Ok(Answer::one(&json!({ "file": shown }), vec![shown], text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_summed_up_in_its_actions() {
        let policy = r#"{"Statement": [
            {"Effect": "Allow", "Action": ["batch:*", "logs:*"], "Resource": "*"},
            {"Effect": "Deny", "Action": "batch:Delete*", "Resource": "*"}]}"#;
        let policy = serde_json::from_str(policy).unwrap();
        assert_eq!(summary(&policy), "batch:* logs:*, not batch:Delete*");
    }
}
