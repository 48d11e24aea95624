//! `key ...`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use windrow_common::ids::Name;

use super::parse_duration;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an access key and print its secret, which is shown this once.
    Create {
        /// Who calls with it; several keys may be one user's. Default: `default`.
        #[arg(long, value_name = "USER")]
        name: Option<Name>,
        /// File of what calls with it may do: a policy as IAM has it, in JSON or YAML. Default: everything.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Stop accepting it after this time, such as `12h` or `90d`. Default: never.
        #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
        expires: Option<Duration>,
    },
    /// List access keys, without their secrets.
    List,
    /// End access keys: within seconds nothing signed with them is accepted.
    Revoke {
        /// Ids of the keys.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Write a file with a new cluster key, of which secrets are made: for a cluster that is not started
    /// by `windrow up`. Copy it to all hosts of coordinators and gateways.
    Init {
        /// The file; it must not exist.
        file: PathBuf,
    },
}
