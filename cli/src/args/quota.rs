//! `quota-share ...`.

use clap::{Args, Subcommand, ValueEnum};
use windrow_common::api::quota::{QuotaShareCapacityLimit, ResourceSharingStrategy};

use super::{TagWords, parse_pair};

#[derive(Debug, Subcommand)]
pub(crate) enum QuotaShareCommand {
    /// Create a share of a queue whose scheduling policy is for quota shares.
    Create {
        /// QUEUE/SHARE.
        name: String,
        #[command(flatten)]
        words: QuotaWords,
        #[command(flatten)]
        tags: TagWords,
    },
    /// Change a share; what no flag names stays.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["limit", "strategy", "preempt_lower", "enable", "disable"]))]
    Update {
        /// QUEUE/SHARE.
        name: String,
        #[command(flatten)]
        words: QuotaWords,
        /// Take submissions.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Take no more submissions; what is there still runs.
        #[arg(long)]
        disable: bool,
    },
    /// List the shares of a queue and what they use.
    List {
        /// The queue's name.
        queue: String,
    },
    /// Show a share.
    #[command(visible_alias = "get")]
    Describe {
        /// QUEUE/SHARE.
        name: String,
    },
    /// Delete a disabled share; its jobs are terminated.
    Delete {
        /// QUEUE/SHARE.
        name: String,
    },
}

/// What a share is like.
#[derive(Clone, Debug, Args)]
pub(crate) struct QuotaWords {
    /// Capacity of its own: VCPU=N, MEMORY_MIB=N or GPU=N. May be given more than once.
    #[arg(long, value_parser = parse_limit, value_name = "UNIT=AMOUNT")]
    pub(crate) limit: Vec<QuotaShareCapacityLimit>,
    /// What it does with idle capacity. Default when created: reserve.
    #[arg(long, value_enum)]
    pub(crate) strategy: Option<Strategy>,
    /// Percent of its own capacity that it may borrow; -1: whatever others lend.
    #[arg(long, value_name = "PERCENT", requires = "strategy", allow_hyphen_values = true)]
    pub(crate) borrow_limit: Option<i32>,
    /// Whether jobs of higher priority stop lower ones of this share.
    #[arg(long, value_name = "BOOL")]
    pub(crate) preempt_lower: Option<bool>,
}

/// What a share does with idle capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// Keeps it.
    Reserve,
    /// Lends it to others.
    Lend,
    /// Lends it, and borrows from others.
    LendAndBorrow,
}

impl From<Strategy> for ResourceSharingStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Reserve => Self::Reserve,
            Strategy::Lend => Self::Lend,
            Strategy::LendAndBorrow => Self::LendAndBorrow,
        }
    }
}

fn parse_limit(text: &str) -> Result<QuotaShareCapacityLimit, String> {
    let (unit, amount) = parse_pair(text).map_err(|_| "use UNIT=AMOUNT".to_owned())?;
    let max_capacity = amount.parse().map_err(|_| "the amount is a whole number".to_owned())?;
    Ok(QuotaShareCapacityLimit { capacity_unit: unit.to_uppercase(), max_capacity })
}
