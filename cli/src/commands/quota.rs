//! `windrow quota-share ...`.

use windrow_common::api::quota::{
    CapacityUnit, CreateQuotaShare, DeleteQuotaShare, DescribeQuotaShare, ListQuotaShares,
    ListQuotaSharesResponse, QuotaShareDetail, QuotaSharePreemptionConfiguration,
    QuotaShareResourceSharingConfiguration, QuotaShareResponse, QuotaShareUse,
    ResourceSharingStrategy, UpdateQuotaShare,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::units::vcpus;

use crate::args::{QuotaShareCommand, QuotaWords};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{Answer, Grid, View, list_or_dash};
use crate::pages;

pub(super) async fn run(context: &Context, command: QuotaShareCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        QuotaShareCommand::Create { name, words, tags } => {
            let Some((queue, share)) = name.split_once('/') else {
                return Err(Failure::error(format!(
                    "`{name}` does not name a share and its queue"
                ))
                .hint("write QUEUE/SHARE"));
            };
            let request = CreateQuotaShare {
                quota_share_name: share.to_owned(),
                job_queue: queue.to_owned(),
                resource_sharing_configuration: sharing(&words)
                    .or_else(|| Some(Default::default())),
                preemption_configuration: preemption(&words).or(Some(
                    QuotaSharePreemptionConfiguration {
                        in_share_preemption: ResourceState::Disabled,
                    },
                )),
                capacity_limits: words.limit,
                state: None,
                tags: tags.map(),
            };
            Ok(changed(&client.call_once(&request).await?, &name, "created"))
        }
        QuotaShareCommand::Update { name, words, enable, disable } => {
            let request = UpdateQuotaShare {
                quota_share_arn: name.clone(),
                resource_sharing_configuration: sharing(&words),
                preemption_configuration: preemption(&words),
                state: super::state(enable, disable),
                capacity_limits: words.limit,
            };
            Ok(changed(&client.call(&request).await?, &name, "updated"))
        }
        QuotaShareCommand::List { queue } => {
            let request = ListQuotaShares { job_queue: queue, ..Default::default() };
            Ok(answer(pages::all(&client, request).await?))
        }
        QuotaShareCommand::Describe { name } => {
            let request = DescribeQuotaShare { quota_share_arn: name };
            Ok(answer(vec![client.call(&request).await?]))
        }
        QuotaShareCommand::Delete { name } => {
            client.call(&DeleteQuotaShare { quota_share_arn: name.clone() }).await?;
            let gone = QuotaShareResponse { quota_share_name: name.clone(), ..Default::default() };
            Ok(changed(&gone, &name, "is being deleted with its jobs"))
        }
    }
}

fn sharing(words: &QuotaWords) -> Option<QuotaShareResourceSharingConfiguration> {
    words.strategy.map(|strategy| QuotaShareResourceSharingConfiguration {
        strategy: strategy.into(),
        borrow_limit: words.borrow_limit,
    })
}

fn preemption(words: &QuotaWords) -> Option<QuotaSharePreemptionConfiguration> {
    let state = |on| if on { ResourceState::Enabled } else { ResourceState::Disabled };
    words
        .preempt_lower
        .map(|on| QuotaSharePreemptionConfiguration { in_share_preemption: state(on) })
}

fn changed(response: &QuotaShareResponse, name: &str, what: &str) -> Answer {
    Answer::one(response, vec![name.to_owned()], format!("quota share {name}: {what}\n"))
}

fn answer(found: Vec<QuotaShareDetail>) -> Answer {
    let row = |share: &QuotaShareDetail| {
        let limits = share.capacity_limits.iter();
        let limits: Vec<_> =
            limits.map(|l| format!("{}={}", l.capacity_unit, l.max_capacity)).collect();
        let amount = |one: &QuotaShareUse| {
            let amount = |n| capacity(one.capacity_unit, n);
            let borrowed = match one.borrowed {
                0 => String::new(),
                borrowed => format!(" ({} borrowed)", amount(borrowed)),
            };
            format!("{}={}{borrowed}", one.capacity_unit.as_str(), amount(one.used))
        };
        let used: Vec<_> = share.used.iter().filter(|one| one.used > 0).map(amount).collect();
        vec![
            share.quota_share_name.clone(),
            format!("{:?}", share.state).to_uppercase(),
            share.status.clone(),
            list_or_dash(&limits),
            strategy(share.resource_sharing_configuration.strategy).to_owned(),
            list_or_dash(&used),
        ]
    };
    let headers = &["NAME", "STATE", "STATUS", "LIMITS", "STRATEGY", "USED"];
    let grid = Grid::new(headers, found.iter().map(row).collect());
    let names = found.iter().map(|share| share.quota_share_name.clone()).collect();
    let response = ListQuotaSharesResponse { quota_shares: found, next_token: None };
    Answer::list(&response, "quotaShares", names, View::Grid(grid, "no quota shares"))
}

/// An amount as people write it: vCPUs, not thousandths of them.
fn capacity(unit: CapacityUnit, amount: u64) -> String {
    match unit {
        CapacityUnit::Vcpu => vcpus(amount),
        CapacityUnit::MemoryMib | CapacityUnit::Gpu => amount.to_string(),
    }
}

fn strategy(strategy: ResourceSharingStrategy) -> &'static str {
    match strategy {
        ResourceSharingStrategy::Reserve => "RESERVE",
        ResourceSharingStrategy::Lend => "LEND",
        ResourceSharingStrategy::LendAndBorrow => "LEND_AND_BORROW",
    }
}
