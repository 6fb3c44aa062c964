//! Any order of appends, reads and restarts, against a list that remembers everything.

use crate::scratch::{Owned, append, drain, open, payload, quick_dir, read, small};
use journal::{Begin, Offset, Reader};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Restart,
    ReadOn,
    ReadFrom(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop_oneof![0..40_usize, 100..500_usize, 5_000..16_000_usize].prop_map(Step::Append),
        1 => Just(Step::Restart),
        3 => Just(Step::ReadOn),
        2 => any::<prop::sample::Index>().prop_map(Step::ReadFrom),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_a_list(steps in prop::collection::vec(step(), 1..120)) {
        let dir = quick_dir();
        let mut model: Vec<Owned> = Vec::new();
        let mut running = Some(open(small(dir.path())));
        let mut reader = Reader::open(dir.path(), 0, Begin::Oldest).unwrap();
        let mut read_to = 0;
        for step in steps {
            match step {
                Step::Append(bytes) => {
                    let at = model.len() as u64;
                    let (_, writer) = running.as_mut().unwrap();
                    let offset = append(writer, at, &payload(at, bytes)).get();
                    if let Some(Owned::Record(before, ..)) = model.last() {
                        prop_assert!(offset > *before);
                    }
                    model.push(Owned::Record(offset, at, payload(at, bytes)));
                }
                Step::Restart => {
                    let (journal, writer) = running.take().unwrap();
                    drop((writer, journal));
                    running = Some(open(small(dir.path())));
                }
                Step::ReadOn => {
                    prop_assert_eq!(&drain(&mut reader)[..], &model[read_to..]);
                    read_to = model.len();
                }
                Step::ReadFrom(_) if model.is_empty() => {}
                Step::ReadFrom(index) => {
                    let from = index.index(model.len());
                    let Owned::Record(offset, ..) = model[from] else { unreachable!() };
                    let begin = Begin::Offset(Offset::new(offset));
                    let mut reader = Reader::open(dir.path(), 0, begin).unwrap();
                    prop_assert_eq!(&drain(&mut reader)[..], &model[from..]);
                }
            }
        }
        prop_assert_eq!(read(dir.path()), model);
    }
}
