//! Inputs with random changes, and what taking them costs. The agent's tests include this file too.

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What taking an input of this many bytes may allocate beside what is kept.
fn allowance(bytes: usize) -> usize {
    (4 << 20) + 256 * bytes
}

/// Cases of each property.
const CASES: u32 = 4_000;

/// One change to an input. Places are given as parts of 65,536 of its length.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(u16, u8),
    Cut(u16),
    Repeat(u16, u16),
    /// A MessagePack header of an array, map, text or binary with 4,294,967,295 elements.
    Promise(u16, u8),
    /// So many headers of arrays of one, or `[` in JSON.
    Nest(u16, u16, bool),
    Insert(u16, Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        8 => (any::<u16>(), any::<u8>()).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        1 => any::<u16>().prop_map(Mutation::Cut),
        2 => any::<(u16, u16)>().prop_map(|(from, to)| Mutation::Repeat(from, to)),
        2 => (any::<u16>(), prop::sample::select(vec![0xdd, 0xdf, 0xdb, 0xc6, 0xc9]))
            .prop_map(|(at, header)| Mutation::Promise(at, header)),
        1 => (any::<u16>(), any::<u16>(), any::<bool>())
            .prop_map(|(at, depth, json)| Mutation::Nest(at, depth, json)),
        2 => (any::<u16>(), prop::collection::vec(any::<u8>(), 1..16))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
    ]
}

fn mutate(input: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for mutation in mutations {
        let place = |part: u16| usize::from(part) * bytes.len() / 65_536;
        match mutation {
            Mutation::Flip(at, bits) => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Mutation::Cut(at) => bytes.truncate(place(*at)),
            Mutation::Repeat(from, to) => {
                let (from, to) = (place(*from.min(to)), place(*from.max(to)));
                let part = bytes[from..to].to_vec();
                bytes.splice(to..to, part);
            }
            Mutation::Promise(at, header) => {
                let at = place(*at);
                bytes.splice(at..at, [*header, 0xff, 0xff, 0xff, 0xff]);
            }
            Mutation::Nest(at, depth, json) => {
                let (at, header) = (place(*at), if *json { b'[' } else { 0x91 });
                bytes.splice(at..at, std::iter::repeat_n(header, usize::from(*depth)));
            }
            Mutation::Insert(at, inserted) => {
                let at = place(*at);
                bytes.splice(at..at, inserted.iter().copied());
            }
        }
    }
    bytes
}

/// Gives mutations of the inputs to `take`, which must not panic or allocate without bound. What is
/// allocated is counted for the process: `tests/run.sh` gives each test one of its own.
pub(crate) fn each_mutation(inputs: &[Vec<u8>], mut take: impl FnMut(usize, &[u8])) {
    let mutations = prop::collection::vec(mutation(), 0..4);
    let strategy = (0..inputs.len(), mutations);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let take = std::cell::RefCell::new(&mut take);
    let result = TestRunner::new(config).run(&strategy, |(which, mutations)| {
        let bytes = mutate(&inputs[which], &mutations);
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        (take.borrow_mut())(which, &bytes);
        let most = ALLOCATED.peak_usage().saturating_sub(before);
        prop_assert!(most <= allowance(bytes.len()), "{most} bytes for {}", bytes.len());
        Ok(())
    });
    result.unwrap();
}
