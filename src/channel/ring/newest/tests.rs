use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{channel::id::Epoch, config::model::Ids, error::GapReason, sse::event::Event};

fn limits(events_max: usize) -> RingLimits {
    RingLimits {
        events_max,
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(600),
    }
}

/// Events are told apart by their id; one without has no key.
fn ring(limits: RingLimits) -> Ring {
    let mut ring = Ring::new(Epoch::new(7), Ids::Local, limits);
    ring.set_key(Some(&Arc::new(KeyBy::Id)));
    ring
}

fn event(key: &'static str) -> Event {
    Event {
        id: (!key.is_empty()).then(|| Bytes::from(key)),
        ..Event::default()
    }
}

fn filled(events_max: usize, keys: &[&'static str]) -> Ring {
    let mut ring = ring(limits(events_max));
    for key in keys {
        ring.push_event(&event(key), Millis(1));
    }
    ring
}

fn got(ring: &Ring, cursor: u64, until: u64) -> Option<Vec<u64>> {
    let entries = ring.newest_after(cursor, until)?;
    Some(entries.map(|entry| entry.sequence).collect())
}

#[test]
fn who_catches_up_gets_the_newest_of_each_key_and_all_that_have_none() {
    let ring = filled(99, &["a", "b", "a", "", "a", "", "c"]);
    for (cursor, until, expected) in [
        (0, 7, &[2, 4, 5, 6, 7][..]),
        (2, 7, &[4, 5, 6, 7]),
        (6, 7, &[7]),
        (0, 4, &[2, 3, 4]),
        (0, 1, &[1]),
    ] {
        assert_eq!(
            got(&ring, cursor, until).as_deref(),
            Some(expected),
            "{cursor} to {until}"
        );
    }
}

#[test]
fn what_seldom_changes_outlasts_the_ring() {
    let mut ring = filled(2, &["a", "b", "c", "c", "c", "c"]);
    assert_eq!((ring.len(), ring.lost()), (2, 0));
    assert_eq!(got(&ring, 0, 6), Some(vec![1, 2, 6]));
    ring.push_event(&event("a"), Millis(1));
    assert_eq!(got(&ring, 0, 7), Some(vec![2, 6, 7]));
    // 2, 6 and 7 are there, and one more than the bound comes.
    for key in ["x", "y", "z"] {
        ring.push_event(&event(key), Millis(1));
    }
    assert_eq!(ring.lost(), 6);
    assert_eq!(got(&ring, 5, 10), None, "6 is gone for good");
    assert_eq!(got(&ring, 6, 10), Some(vec![7, 8, 9, 10]));
    ring.expire(Millis(10_000_000));
    assert_eq!((ring.lost(), ring.bytes()), (10, 0));
}

/// Who gets as far as the end sees nothing of the app's next stream.
#[test]
fn nothing_behind_an_end_stands_for_what_is_before_it() {
    let mut ring = filled(2, &["a"]);
    ring.push_end(Millis(1));
    ring.push_event(&event("a"), Millis(1));
    ring.push_event(&event("a"), Millis(1));
    assert_eq!(got(&ring, 0, 4), Some(vec![1, 2, 4]));
}

#[test]
fn keys_of_what_was_held_before_a_reload_are_not_known() {
    let by = Arc::new(KeyBy::Id);
    let mut ring = filled(9, &["a", "a"]);
    ring.set_key(Some(&by));
    assert_eq!(
        got(&ring, 0, 2),
        Some(vec![2]),
        "the same key by another name"
    );
    let before = ring.bytes();
    ring.set_key(None);
    assert!(ring.bytes() < before);
    assert_eq!(got(&ring, 0, 2), Some(vec![1, 2]));
    ring.set_key(Some(&by));
    ring.push_event(&event("a"), Millis(1));
    assert_eq!(got(&ring, 0, 3), Some(vec![1, 2, 3]));
    assert_eq!(ring.bytes(), before / 2 * 3 - 2 * "a".len());
}

#[test]
fn what_is_kept_beside_the_ring_goes_first() {
    let mut ring = filled(2, &["a", "b", "c", "d"]);
    let each = ring.bytes() / 4;
    assert_eq!(ring.trim(1, 1), each);
    assert_eq!((ring.lost(), ring.len()), (1, 2));
    assert_eq!(ring.trim(usize::MAX, 1), 2 * each);
    assert_eq!((ring.lost(), ring.len(), ring.bytes()), (3, 1, each));
}

/// What a test does to a ring.
#[derive(Debug, Clone)]
enum Step {
    Event(&'static str),
    Gap,
    End,
    Pass(u64),
    Trim(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let key = proptest::sample::select(vec!["", "a", "b", "c", "d"]);
    prop_oneof![
        20 => key.prop_map(Step::Event),
        1 => Just(Step::Gap),
        1 => Just(Step::End),
        2 => (0_u64..400_000).prop_map(Step::Pass),
        1 => (0_usize..2_000).prop_map(Step::Trim),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    /// Against the naive model that keeps all: a reader gets the newest of each key, all that have
    /// none, and nothing else; or it is told that something is gone for good, and something is.
    #[test]
    fn the_newest_of_each_key_is_there_or_lost(
        steps in proptest::collection::vec(step(), 1..60),
        events_max in 1_usize..8,
    ) {
        let mut ring = ring(limits(events_max));
        let mut now = Millis(0);
        // Stream and key of each entry; ends, gaps and events without a key have a stream of their own.
        let mut all: Vec<(usize, &str)> = Vec::new();
        let mut stream = 0;
        for step in steps {
            let alone = 1_000 + all.len();
            match step {
                Step::Event(key) => {
                    ring.push_event(&event(key), now);
                    all.push((if key.is_empty() { alone } else { stream }, key));
                }
                Step::Gap => {
                    ring.push_gap(GapReason::UpstreamCut, now);
                    all.push((alone, ""));
                }
                Step::End => {
                    ring.push_end(now);
                    all.push((alone, ""));
                    stream += 1;
                }
                Step::Pass(ms) => now = now.after(Duration::from_millis(ms)),
                Step::Trim(wanted) => { ring.trim(wanted, 1); }
                Step::Clear => ring.clear(),
            }
            ring.expire(now);
            prop_assert!(ring.lost() <= ring.oldest_cursor());
            for until in 1..=ring.head() {
                let is_last = |n: u64, until: u64| {
                    let (at, until) = (usize::try_from(n).unwrap(), usize::try_from(until).unwrap());
                    !all[at..until].contains(&all[at - 1])
                };
                let newest: Vec<u64> = (1..=until).filter(|n| is_last(*n, until)).collect();
                for cursor in 0..until {
                    match got(&ring, cursor, until) {
                        None => prop_assert!(cursor < ring.lost()),
                        // Before the newest sweep some are gone that newer ones stand for by now.
                        Some(got) => {
                            let expected = newest.iter().copied().filter(|n| *n > cursor);
                            let is_held =
                                |n: &u64| *n > ring.oldest_cursor() || is_last(*n, ring.head());
                            let expected: Vec<u64> = expected.filter(is_held).collect();
                            prop_assert_eq!(got, expected);
                        }
                    }
                }
            }
        }
    }
}
