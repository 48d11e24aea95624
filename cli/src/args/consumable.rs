//! `consumable ...`.

use clap::{Args, Subcommand};
use windrow_common::ids::Name;

use super::TagWords;

#[derive(Debug, Subcommand)]
pub(crate) enum ConsumableCommand {
    /// Create a resource.
    Create {
        /// Its name.
        name: Name,
        /// How much there is.
        #[arg(long, default_value_t = 0, value_name = "QUANTITY")]
        total: u64,
        /// What an attempt takes does not come back when it ends.
        #[arg(long)]
        non_replenishable: bool,
        #[command(flatten)]
        tags: TagWords,
    },
    /// Change how much there is.
    Update {
        /// Its name.
        name: String,
        #[command(flatten)]
        change: QuantityChange,
    },
    /// List resources.
    List {
        /// Only those of this name, in any case; `abc*`: those that begin so.
        #[arg(long, value_name = "PATTERN")]
        name: Option<String>,
    },
    /// Show resources.
    #[command(visible_alias = "get")]
    Describe {
        /// Names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Delete a resource that no unended job needs.
    Delete {
        /// Its name.
        name: String,
    },
    /// List the jobs that take of a resource, newest first.
    Jobs {
        /// The resource's name.
        resource: String,
        /// Only in this status.
        #[arg(long)]
        status: Option<String>,
        /// Only of this name, in any case; `abc*`: those that begin so.
        #[arg(long, value_name = "PATTERN")]
        name: Option<String>,
    },
}

/// One of three.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct QuantityChange {
    /// The new total.
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) set: Option<u64>,
    /// Raise the total by this much.
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) add: Option<u64>,
    /// Lower the total by this much.
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) remove: Option<u64>,
}
