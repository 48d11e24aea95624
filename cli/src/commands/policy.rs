//! `windrow policy ...`: scheduling policies.

use serde_json::json;
use windrow_common::api::policies::{
    CreateSchedulingPolicy, DeleteSchedulingPolicy, DescribeSchedulingPolicies,
    DescribeSchedulingPoliciesResponse, FairsharePolicy, ListSchedulingPolicies, QuotaSharePolicy,
    SchedulingPolicyDetail, ShareAttributes, UpdateSchedulingPolicy,
};

use crate::args::{FairShareWords, PolicyCommand};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Grid, View, list_or_dash, or_dash};
use crate::pages;

/// Policies that one request may describe, as AWS Batch has it.
const DESCRIBED_AT_ONCE: usize = 100;

pub(super) async fn run(context: &Context, command: PolicyCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        PolicyCommand::Create { name, words, quota, tags } => {
            let mut fair = FairsharePolicy::default();
            lay_over(&mut fair, words);
            let request = CreateSchedulingPolicy {
                name: name.to_string(),
                fairshare_policy: (!quota).then_some(fair),
                quota_share_policy: quota.then(QuotaSharePolicy::default),
                tags: tags.map(),
            };
            let response = client.call_once(&request).await?;
            let text = changed(&response.name, "created");
            Ok(Answer::one(&response, vec![response.name.clone()], text))
        }
        PolicyCommand::Update { name, words, remove_share } => {
            update(&client, name, words, &remove_share).await
        }
        PolicyCommand::List => list(&client).await,
        PolicyCommand::Get { names } => Ok(answer(find(&client, names).await?)),
        PolicyCommand::Delete { name } => {
            client.call(&DeleteSchedulingPolicy { arn: name.clone() }).await?;
            let text = changed(&name, "deleted");
            Ok(Answer::one(&json!({ "name": name }), vec![name], text))
        }
    }
}

fn changed(name: &str, what: &str) -> String {
    format!("policy {name}: {what}\n")
}

/// Lays flags over a policy; what no flag names stays.
fn lay_over(fair: &mut FairsharePolicy, words: FairShareWords) {
    fair.share_decay_seconds = words.decay_seconds.or(fair.share_decay_seconds);
    fair.compute_reservation = words.reservation.or(fair.compute_reservation);
    for entry in words.share {
        let known = fair.share_distribution.iter_mut();
        match known.into_iter().find(|known| known.share_identifier == entry.share_identifier) {
            Some(known) => *known = entry,
            None => fair.share_distribution.push(entry),
        }
    }
}

/// The API replaces a policy as a whole, so what there is comes first.
async fn update(
    client: &Client,
    name: String,
    words: FairShareWords,
    remove: &[String],
) -> Result<Answer> {
    let found = find(client, vec![name.clone()]).await?;
    let Some(mut fair) = found.into_iter().find_map(|policy| policy.fairshare_policy) else {
        return Err(Failure::error(format!(
            "update scheduling policy `{name}`: it is for quota shares and has nothing to change"
        ))
        .hint("change the shares with `windrow quota-share update QUEUE/SHARE`"));
    };
    for share in remove {
        let entries = fair.share_distribution.len();
        fair.share_distribution.retain(|entry| entry.share_identifier != *share);
        if fair.share_distribution.len() == entries {
            let message = format!("scheduling policy `{name}` has no entry for share `{share}`");
            return Err(Failure::new(Exit::NotFound, message)
                .hint(format!("`windrow policy get {name}` shows those there are")));
        }
    }
    lay_over(&mut fair, words);
    let request = UpdateSchedulingPolicy {
        arn: name.clone(),
        fairshare_policy: Some(fair),
        quota_share_policy: None,
    };
    client.call(&request).await?;
    let text = changed(&name, "updated");
    Ok(Answer::one(&json!({ "name": name }), vec![name], text))
}

async fn list(client: &Client) -> Result<Answer> {
    let listed = pages::all(client, ListSchedulingPolicies::default()).await?;
    let arns: Vec<String> = listed.into_iter().map(|one| one.arn).collect();
    let mut found = Vec::new();
    for arns in arns.chunks(DESCRIBED_AT_ONCE) {
        let request = DescribeSchedulingPolicies { arns: arns.to_vec() };
        found.extend(client.call(&request).await?.scheduling_policies);
    }
    Ok(answer(found))
}

/// Policies by name or ARN.
///
/// Errors: one of them does not exist.
async fn find(client: &Client, names: Vec<String>) -> Result<Vec<SchedulingPolicyDetail>> {
    let request = DescribeSchedulingPolicies { arns: names.clone() };
    let found = client.call(&request).await?.scheduling_policies;
    super::all_found(("scheduling policy", "policy"), &names, &found, |policy| {
        [&policy.name, &policy.arn]
    })?;
    Ok(found)
}

fn answer(found: Vec<SchedulingPolicyDetail>) -> Answer {
    let row = |policy: &SchedulingPolicyDetail| {
        let fair = policy.fairshare_policy.as_ref();
        let shares: Vec<_> =
            fair.iter().flat_map(|fair| &fair.share_distribution).map(weight).collect();
        vec![
            policy.name.clone(),
            if fair.is_some() { "FAIR_SHARE" } else { "QUOTA_SHARE" }.to_owned(),
            list_or_dash(&shares),
            or_dash(fair.map(|fair| fair.share_decay_seconds.unwrap_or(0))),
            or_dash(fair.map(|fair| format!("{}%", fair.compute_reservation.unwrap_or(0)))),
        ]
    };
    let headers = &["NAME", "TYPE", "SHARES", "DECAY SECONDS", "RESERVATION"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let names = found.iter().map(|policy| policy.name.clone()).collect();
    let response = DescribeSchedulingPoliciesResponse { scheduling_policies: found };
    Answer::list(&response, "schedulingPolicies", names, View::Grid(grid, "no policies"))
}

fn weight(share: &ShareAttributes) -> String {
    match share.weight_factor {
        Some(weight) => format!("{}={weight}", share.share_identifier),
        None => share.share_identifier.clone(),
    }
}
