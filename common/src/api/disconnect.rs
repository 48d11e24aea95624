//! *Extension.* What happens to jobs on agents of a compute environment that cannot be heard.

use serde::{Deserialize, Serialize};

/// What happens when an agent cannot be heard. In requests what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DisconnectPolicy {
    /// Silence after which what the agent holds is given to others. Absent in an answer: the
    /// coordinator's `lease_ttl`; 0 in a request makes it that again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_after_seconds: Option<u32>,
    /// Time after which an agent that reaches no coordinator stops its jobs by itself. Absent in an
    /// answer: it lets them run; 0 in a request makes it that again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_after_seconds: Option<u32>,
    /// Which attempt goes on when the agent comes back after its jobs were given to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
    /// Two attempts of a child never run at the same time: the agent has stopped its jobs before
    /// they are given to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Which attempt goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reconcile {
    /// The later one: what the agent still runs is killed.
    #[default]
    KeepReplacement,
    /// The first one, unless the child has ended meanwhile: the later one is stopped and does not
    /// count as an attempt. Nodes of multi-node jobs always keep the later one.
    KeepOriginal,
}
