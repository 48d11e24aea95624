//! What makes a job a multi-node parallel job.
//!
//! ```text
//! IDLE --NodesGranted--> STARTING --main node runs--> RUNNING
//!  ^ ^                    |  |  (NodesRenewed)           |
//!  | '---NodesReturned----'  '------NodesStopped------> ENDING
//!  '----------------------NodesEnded---------------------'
//! ```

use std::ops::Range;

use serde::{Deserialize, Serialize};
use windrow_common::api::definitions::NodeProperties;
use windrow_common::wire::lease::SpecDigest;

use super::as_json;

/// The nodes of a job. Its children are the nodes, by index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The main node.
    pub main: u32,
    /// Nodes with what they run, in the order of the nodes and without gaps.
    pub groups: Vec<NodeGroup>,
    /// For DescribeJobs, overrides merged in.
    #[serde(with = "as_json")]
    pub properties: NodeProperties,
    /// Where the present attempt is.
    pub phase: Phase,
}

/// Nodes that run the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGroup {
    pub nodes: Range<u32>,
    pub spec: SpecDigest,
}

/// Where an attempt of a multi-node job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// There is none: no node is leased.
    #[default]
    Idle,
    /// All nodes are leased. The main node is to start; the others' orders wait for it.
    Starting,
    /// The main node has started, and the orders of the others are out.
    Running,
    /// It is over; nodes that had begun are stopping.
    Ending,
}

impl Nodes {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.groups.last().map_or(0, |group| group.nodes.end)
    }

    /// The group of a node.
    pub fn group(&self, node: u32) -> Option<&NodeGroup> {
        self.groups.iter().find(|group| group.nodes.contains(&node))
    }

    /// Whether the node's order has been given out in this attempt.
    pub fn is_ordered(&self, node: u32) -> bool {
        match self.phase {
            Phase::Idle => false,
            Phase::Starting => node == self.main,
            // What had not begun when the attempt was over was settled with it.
            Phase::Running | Phase::Ending => true,
        }
    }
}
