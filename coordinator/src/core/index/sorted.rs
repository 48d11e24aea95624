//! Agents sorted by resources, to be searched in two dimensions.

use windrow_common::units::Resources;

/// Most agents of a block. A search looks at every block and then at one block's agents: with ten
/// thousand agents that is about as many of the one as of the other.
const BLOCK_MAX: usize = 128;

/// Agents (by number) with resources, fewest cores first, in blocks. Each block knows the most that
/// one of its agents has, of each resource by itself, so a search passes over whole blocks.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    blocks: Vec<Block>,
    most: Resources,
}

#[derive(Clone, Debug)]
struct Block {
    /// In order; never empty.
    agents: Vec<(Resources, u32)>,
    most: Resources,
}

impl Block {
    fn new(agents: Vec<(Resources, u32)>) -> Self {
        let most = most(agents.iter().map(|(has, _)| *has));
        Self { agents, most }
    }

    fn last(&self) -> (Resources, u32) {
        *self.agents.last().expect("a block is never empty")
    }
}

fn most(all: impl Iterator<Item = Resources>) -> Resources {
    all.fold(Resources::default(), Resources::most)
}

impl Sorted {
    /// Of each resource by itself, the most that one agent has.
    pub fn most(&self) -> Resources {
        self.most
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All of them, fewest cores first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Resources, u32)> + '_ {
        self.blocks.iter().flat_map(|block| block.agents.iter().copied())
    }

    /// Those that have all of `need`, fewest cores first.
    pub fn with(&self, need: Resources) -> impl Iterator<Item = (Resources, u32)> + '_ {
        let least = (Resources::new(need.cpu.0, 0), 0);
        let first = self.blocks.partition_point(|block| block.last() < least);
        let blocks = self.blocks[first..].iter().filter(move |block| block.most.fits(need));
        blocks.flat_map(|b| b.agents.iter().copied()).filter(move |(has, _)| has.fits(need))
    }

    pub(super) fn insert(&mut self, has: Resources, number: u32) {
        let agent = (has, number);
        self.most = self.most.most(has);
        let at = self.blocks.partition_point(|block| block.last() < agent);
        let Some(at) = at.checked_sub(usize::from(at == self.blocks.len())) else {
            self.blocks.push(Block::new(vec![agent]));
            return;
        };
        let block = &mut self.blocks[at];
        let within = block.agents.partition_point(|other| *other < agent);
        block.agents.insert(within, agent);
        block.most = block.most.most(has);
        if block.agents.len() > BLOCK_MAX {
            let upper = block.agents.split_off(BLOCK_MAX / 2);
            block.most = most(block.agents.iter().map(|(has, _)| *has));
            self.blocks.insert(at + 1, Block::new(upper));
        }
    }

    pub(super) fn remove(&mut self, has: Resources, number: u32) {
        let agent = (has, number);
        let at = self.blocks.partition_point(|block| block.last() < agent);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Ok(within) = block.agents.binary_search(&agent) else { return };
        block.agents.remove(within);
        if block.agents.is_empty() {
            self.blocks.remove(at);
        } else {
            block.most = most(block.agents.iter().map(|(has, _)| *has));
        }
        self.most = most(self.blocks.iter().map(|block| block.most));
    }
}

/// How the agents came to be in their blocks does not matter.
impl PartialEq for Sorted {
    fn eq(&self, other: &Self) -> bool {
        self.most == other.most && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resources() -> impl Strategy<Value = Resources> {
        (0u32..20, 0u32..20).prop_map(|(cpu, memory)| Resources::new(cpu, memory))
    }

    proptest! {
        #[test]
        fn finds_what_a_walk_over_all_finds(
            agents in prop::collection::vec(resources(), 0..700),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
            need in resources(),
        ) {
            let mut sorted = Sorted::default();
            let mut plain: Vec<(Resources, u32)> = agents.into_iter().zip(0..).collect();
            plain.iter().for_each(|(has, number)| sorted.insert(*has, *number));
            for index in gone.iter().take(plain.len()) {
                let (has, number) = plain.swap_remove(index.index(plain.len()));
                sorted.remove(has, number);
            }
            plain.sort_unstable();
            prop_assert!(sorted.iter().eq(plain.iter().copied()));
            prop_assert_eq!(sorted.most(), most(plain.iter().map(|(has, _)| *has)));
            let fitting = plain.iter().copied().filter(|(has, _)| has.fits(need));
            prop_assert!(sorted.with(need).eq(fitting));
        }
    }
}
