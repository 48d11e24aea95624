//! `policy ...`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use windrow_common::api::policies::{ShareAttributes, WeightFactor};
use windrow_common::ids::Name;

use super::TagWords;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Create a policy; for fair share unless `--quota` is given.
    Create {
        /// Its name.
        name: Name,
        #[command(flatten)]
        words: FairShareWords,
        /// For a queue with quota shares instead.
        #[arg(long, conflicts_with = "fair_share")]
        quota: bool,
        #[command(flatten)]
        tags: TagWords,
    },
    /// Change a fair-share policy, also for jobs that wait; what no flag names stays.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
        .args(["share", "decay_seconds", "reservation", "remove_share"]))]
    Update {
        /// Its name or ARN.
        name: String,
        #[command(flatten)]
        words: FairShareWords,
        /// Drop the weight of this share: it weighs 1 again. May be given more than once.
        #[arg(long, value_name = "ID")]
        remove_share: Vec<String>,
    },
    /// List policies.
    List,
    /// Show policies.
    #[command(visible_alias = "describe")]
    Get {
        /// Names or ARNs.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Delete a policy that no queue has.
    Delete {
        /// Its name or ARN.
        name: String,
    },
}

/// How a fair-share policy divides a queue.
#[derive(Clone, Debug, Args)]
#[group(id = "fair_share", multiple = true)]
pub(crate) struct FairShareWords {
    /// Weight of a share, 0.0001 to 999.9999: half the weight gets twice as much. `ID*` is for all
    /// shares that begin so; those without an entry weigh 1. May be given more than once.
    #[arg(long, value_parser = parse_share, value_name = "ID=WEIGHT")]
    pub(crate) share: Vec<ShareAttributes>,
    /// Seconds back that use counts, at most 604800; 0 means 600.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) decay_seconds: Option<u32>,
    /// Percent of the queue's vCPUs kept for shares that have no jobs, 0 to 99; to the power of the
    /// number of shares that have.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) reservation: Option<u32>,
}

fn parse_share(text: &str) -> Result<ShareAttributes, String> {
    let (share, weight) = super::parse_pair(text).map_err(|_| "use ID=WEIGHT".to_owned())?;
    let weight: f64 = weight.parse().map_err(|_| "the weight is a number".to_owned())?;
    let weight = WeightFactor::deserialize(weight.into_deserializer())
        .map_err(|e: serde::de::value::Error| e.to_string())?;
    Ok(ShareAttributes { share_identifier: share, weight_factor: Some(weight) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_weight_within_bounds() {
        let share = parse_share("team*=0.5").unwrap();
        assert_eq!(share.share_identifier, "team*");
        assert_eq!(share.weight_factor, Some(WeightFactor(5000)));
        for bad in ["a", "=1", "a=", "a=x", "a=0", "a=1000", "a=NaN", "a=-1"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
