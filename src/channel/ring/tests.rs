use super::{
    testing::{LIMITS, event, filled, hole, local, ring, start},
    *,
};
use crate::config::model::LateJoin;

#[test]
fn trimming_frees_what_is_wanted_and_no_more() {
    let mut ring = filled(Ids::Local, 4);
    let each = ring.bytes() / 4;
    assert_eq!(ring.trim(each + 1, 1), 2 * each);
    assert_eq!(ring.trim(usize::MAX, 1), each);
    assert_eq!(ring.len(), 1);
}

/// Who resumes right before it waits for nothing else.
#[test]
fn an_end_stays_until_something_follows_it() {
    let mut ring = filled(Ids::Local, 3);
    ring.push_end(Millis(4));
    ring.trim(usize::MAX, 0);
    ring.expire(Millis(10_000_000));
    assert_eq!((ring.len(), ring.bytes()), (1, ENTRY_OVERHEAD));
    ring.push_event(&event(None), Millis(10_000_000));
    assert_eq!(ring.len(), 1, "it is old");
}

#[test]
fn each_bound_evicts_the_oldest() {
    let by_bytes = RingLimits {
        bytes_max: 2 * (ENTRY_OVERHEAD + 60),
        ..LIMITS
    };
    let mut bounded = ring(Ids::Local, by_bytes);
    for n in 0..20 {
        bounded.push_event(&event(None), Millis(n));
    }
    assert!(bounded.bytes() <= by_bytes.bytes_max && !bounded.is_empty());

    let mut aged = filled(Ids::Local, 3);
    aged.expire(Millis(600_002));
    assert_eq!(
        aged.len(),
        2,
        "entries 2 and 3 are not older than ten minutes"
    );
    aged.expire(Millis(10_000_000));
    assert_eq!((aged.len(), aged.head(), aged.bytes()), (0, 3, 0));
    assert_eq!(
        start(&mut aged, Some(&local(3)), LateJoin::Live),
        (3, None),
        "nothing is missing"
    );
    let evicted = hole(GapReason::Evicted, Some((3, 3)));
    assert_eq!(
        start(&mut aged, Some(&local(2)), LateJoin::Live),
        (3, evicted)
    );
}

#[test]
fn an_event_over_the_byte_bound_still_reaches_level_readers() {
    let mut ring = ring(
        Ids::Local,
        RingLimits {
            bytes_max: 100,
            ..LIMITS
        },
    );
    let big = Event {
        data: Bytes::from(vec![b'x'; 500]),
        ..event(None)
    };
    ring.push_event(&event(None), Millis(1));
    ring.push_event(&big, Millis(2));
    assert_eq!(ring.len(), 1);
    assert_eq!(ring.after(1).map(Iterator::count), Some(1));
    assert!(ring.after(0).is_none());
}

#[test]
fn what_shards_have_not_taken_is_spared_up_to_a_bound() {
    let mut ring = ring(Ids::Local, LIMITS);
    ring.set_swept(0);
    for n in 1..=40 {
        ring.push_event(&event(None), Millis(n));
    }
    assert_eq!(
        ring.len(),
        LIMITS.events_max * UNSWEPT_FACTOR,
        "a bound all the same"
    );
    ring.set_swept(40);
    ring.expire(Millis(41));
    assert_eq!(ring.len(), LIMITS.events_max);
}

/// One id in two events, again and again: what can no longer be resumed at is not remembered.
#[test]
fn ids_that_repeat_for_ever_take_no_memory() {
    let mut ring = ring(Ids::Unique, LIMITS);
    for n in 0..100 {
        for _ in 0..2 {
            ring.push_event(&event(Some(&format!("x{n}"))), Millis(n));
        }
    }
    assert_eq!(ring.app_ids.len(), 0);
    let expected = (200, hole(GapReason::AmbiguousId, None));
    assert_eq!(start(&mut ring, Some("x99"), LateJoin::Live), expected);
}

#[test]
fn lag_is_told_in_entries_and_bytes() {
    let ring = filled(Ids::Local, 3);
    let each = (ring.bytes() / 3) as u64;
    assert_eq!(ring.lag(3), Some((0, 0)));
    assert_eq!(ring.lag(1), Some((2, 2 * each)));
    let evicted = filled(Ids::Local, 9);
    assert_eq!(evicted.lag(1), None);
}

#[test]
fn the_opening_id_is_the_position() {
    let mut ring = filled(Ids::Local, 3);
    assert_eq!(ring.id_at(2).as_deref(), Some(local(2).as_bytes()));
    ring = filled(Ids::Unique, 3);
    ring.push_event(&event(None), Millis(4));
    assert_eq!(
        ring.id_at(4).as_deref(),
        Some(&b"3"[..]),
        "id-less events keep the last id"
    );
    assert_eq!(ring.id_at(2).as_deref(), Some(&b"2"[..]));
}
