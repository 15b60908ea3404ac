use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    channel::ring::{
        RingLimits,
        testing::{LIMITS, event, filled, hole, in_epoch, local, ring, start},
    },
    sse::event::Event,
};

#[test]
fn a_known_id_resumes_exactly() {
    let mut ring = filled(Ids::Local, 6);
    assert_eq!(start(&mut ring, Some(&local(4)), LateJoin::Live), (4, None));
    assert_eq!(start(&mut ring, Some(&local(6)), LateJoin::Live), (6, None));
    assert_eq!(
        start(&mut ring, Some(&local(2)), LateJoin::Live),
        (2, None),
        "the oldest edge"
    );
}

#[test]
fn an_evicted_id_is_a_gap_with_its_extent() {
    let mut ring = filled(Ids::Local, 6);
    let expected = (2, hole(GapReason::Evicted, Some((2, 2))));
    assert_eq!(start(&mut ring, Some(&local(1)), LateJoin::Live), expected);
}

#[test]
fn ids_of_another_life_or_from_the_future_are_gaps_and_replay_nothing() {
    let mut ring = filled(Ids::Local, 6);
    let unknown = (6, hole(GapReason::UnknownId, None));
    for id in [local(7).as_str(), "3", ""] {
        assert_eq!(start(&mut ring, Some(id), LateJoin::Live), unknown, "{id}");
    }
    let foreign = in_epoch(8, 5, None);
    let other = (6, hole(GapReason::OtherEpoch, None));
    assert_eq!(start(&mut ring, Some(&foreign), LateJoin::Live), other);
}

#[test]
fn a_newcomer_starts_where_the_route_says() {
    for (join, cursor) in [
        (LateJoin::Live, 6),
        (LateJoin::Last(0), 6),
        (LateJoin::Last(3), 3),
        (LateJoin::Last(100), 2),
        (LateJoin::All, 2),
    ] {
        assert_eq!(
            start(&mut filled(Ids::Local, 6), None, join),
            (cursor, None),
            "{join:?}"
        );
    }
}

#[test]
fn one_answer_is_told_from_its_start_or_with_word_of_what_is_missing() {
    for (events, missing) in [(3, None), (4, None), (6, Some((1, 2)))] {
        let mut ring = filled(Ids::Local, events);
        let expected = match missing {
            Some(missing) => (missing.1, hole(GapReason::Evicted, Some(missing))),
            None => (0, None),
        };
        assert_eq!(start(&mut ring, None, LateJoin::Whole), expected);
        let unknown = (expected.0, hole(GapReason::UnknownId, None));
        assert_eq!(start(&mut ring, Some("x"), LateJoin::Whole), unknown);
    }
    let mut whole = filled(Ids::Local, 3);
    whole.push_end(Millis(4));
    assert_eq!(start(&mut whole, None, LateJoin::Whole), (0, None));
    let done = start(&mut whole, Some(&local(3)), LateJoin::Whole);
    assert_eq!(done, (4, None));
}

#[test]
fn the_apps_ids_resume_when_they_are_unique() {
    let mut ring = filled(Ids::Unique, 6);
    assert_eq!(start(&mut ring, Some("4"), LateJoin::Live), (4, None));
    let gone = (6, hole(GapReason::UnknownId, None));
    assert_eq!(start(&mut ring, Some("1"), LateJoin::Live), gone, "evicted");
    assert_eq!(
        start(&mut ring, Some(&local(4)), LateJoin::Live),
        gone,
        "not the app's"
    );
}

#[test]
fn an_app_that_counts_from_one_again_is_never_resumed_by_its_ids() {
    let mut ring = filled(Ids::Unique, 3);
    ring.push_gap(GapReason::UpstreamCut, Millis(4));
    ring.push_event(&event(Some("1")), Millis(5));
    assert!(ring.ids_broken());
    for id in ["1", "2", "3"] {
        let expected = (5, hole(GapReason::AmbiguousId, None));
        assert_eq!(start(&mut ring, Some(id), LateJoin::Live), expected, "{id}");
    }
}

#[test]
fn a_repeated_text_id_is_ambiguous() {
    let mut ring = ring(Ids::Unique, LIMITS);
    for id in ["a", "b", "a"] {
        ring.push_event(&event(Some(id)), Millis(1));
    }
    let expected = (3, hole(GapReason::AmbiguousId, None));
    assert_eq!(start(&mut ring, Some("a"), LateJoin::Live), expected);
}

/// A joiner may wait for its answer while the app writes: what came since is its own.
#[test]
fn who_waited_starts_where_it_joined() {
    let at = |ring: &mut Ring, id: Option<&str>, join, joined_at| {
        let start = ring.start(id.map(str::as_bytes), join, joined_at, Millis(100));
        (start.cursor, start.hole)
    };
    let mut ring = filled(Ids::Local, 3);
    assert_eq!(at(&mut ring, None, LateJoin::Live, 0), (0, None));
    assert_eq!(at(&mut ring, None, LateJoin::Last(1), 2), (1, None));
    assert_eq!(at(&mut ring, None, LateJoin::All, 2), (0, None));
    let unknown = hole(GapReason::UnknownId, None);
    assert_eq!(at(&mut ring, Some("?"), LateJoin::Live, 1), (1, unknown));
    ring.push_end(Millis(4));
    assert_eq!(
        at(&mut ring, None, LateJoin::Live, 3),
        (3, None),
        "an end that came since is still to be told"
    );
    assert_eq!(at(&mut ring, Some(&local(3)), LateJoin::Live, 3), (3, None));
    assert_eq!(at(&mut ring, Some(&local(3)), LateJoin::Live, 4), (4, None));

    let mut ring = filled(Ids::Local, 9);
    let evicted = hole(GapReason::Evicted, Some((3, 5)));
    assert_eq!(at(&mut ring, None, LateJoin::Live, 2), (5, evicted));
    assert_eq!(at(&mut ring, None, LateJoin::All, 2), (5, evicted));
    assert_eq!(
        at(&mut ring, None, LateJoin::Last(9), 7),
        (5, None),
        "what was evicted before it came is no loss"
    );
}

#[test]
fn who_was_closed_at_gaps_goes_on_behind_them() {
    let mut ring = filled(Ids::Local, 2);
    ring.push_gap(GapReason::UpstreamCut, Millis(3));
    ring.push_gap(GapReason::UpstreamCut, Millis(3));
    ring.push_event(&event(None), Millis(4));
    let past = |ring: &Ring, cursor, joined_at| {
        let start = Start { cursor, hole: None };
        let start = ring.past_gaps(start, joined_at);
        (start.cursor, start.hole)
    };
    let cut = hole(GapReason::UpstreamCut, None);
    assert_eq!(past(&ring, 2, 5), (4, cut));
    assert_eq!(past(&ring, 1, 5), (1, None), "an event comes first");
    assert_eq!(past(&ring, 2, 3), (3, cut), "the second came since");
    assert_eq!(past(&ring, 2, 2), (2, None));
    assert_eq!(past(&ring, 5, 5), (5, None));
}

#[test]
fn who_has_seen_all_before_an_end_starts_behind_it() {
    let mut ring = filled(Ids::Local, 3);
    ring.push_end(Millis(4));
    assert_eq!(start(&mut ring, Some(&local(3)), LateJoin::Live), (4, None));
    assert_eq!(
        start(&mut ring, Some(&local(2)), LateJoin::Live),
        (2, None),
        "gets 3, then the end"
    );
    for join in [LateJoin::Live, LateJoin::All, LateJoin::Last(9)] {
        assert_eq!(start(&mut ring, None, join), (4, None), "{join:?}");
    }
}

#[test]
fn nobody_loops_before_an_end_that_gives_no_new_id() {
    let mut gapped = filled(Ids::Local, 2);
    gapped.push_gap(GapReason::UpstreamCut, Millis(3));
    gapped.push_end(Millis(4));
    let told = (4, hole(GapReason::UpstreamCut, None));
    assert_eq!(start(&mut gapped, Some(&local(2)), LateJoin::Live), told);
    assert_eq!(
        start(&mut gapped, Some(&local(1)), LateJoin::Live),
        (1, None),
        "2 is new to it"
    );

    let mut unnumbered = filled(Ids::Unique, 2);
    unnumbered.push_event(&event(None), Millis(3));
    unnumbered.push_end(Millis(4));
    let told = (4, hole(GapReason::AmbiguousId, None));
    assert_eq!(start(&mut unnumbered, Some("2"), LateJoin::Live), told);
}

/// What a test does to a ring.
#[derive(Debug, Clone)]
enum Step {
    Event(usize),
    Gap,
    End,
    Pass(u64),
    Trim(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..300).prop_map(Step::Event),
        1 => Just(Step::Gap),
        1 => Just(Step::End),
        1 => (0_u64..400_000).prop_map(Step::Pass),
        1 => (0_usize..8).prop_map(Step::Trim),
    ]
}

proptest! {
    /// Against the naive model "keep all, forget by rule": whoever resumes gets exactly what came
    /// after its id, or a gap whose extent is exactly what is missing. Left out are only ends that it
    /// met before, and gaps before them, which are announced.
    #[test]
    fn a_resume_is_exact_or_announced(
        steps in proptest::collection::vec(step(), 1..80),
        events_max in 1_usize..20,
        bytes_max in 100_usize..4_000,
    ) {
        let limits = RingLimits { events_max, bytes_max, age_max: Duration::from_secs(600) };
        let mut ring = ring(Ids::Local, limits);
        let (mut all, mut now) = (Vec::new(), Millis(0));
        for step in steps {
            match step {
                Step::Event(size) => {
                    let event = Event { data: Bytes::from(vec![b'd'; size]), ..event(None) };
                    all.push((ring.push_event(&event, now), 'e'));
                }
                Step::Gap => all.push((ring.push_gap(GapReason::UpstreamCut, now), 'g')),
                Step::End => all.push((ring.push_end(now), '.')),
                Step::Pass(ms) => now = now.after(Duration::from_millis(ms)),
                Step::Trim(keep) => { ring.trim(usize::MAX, keep); }
            }
            for seen in 0..=ring.head() {
                let start = ring.start(Some(local(seen).as_bytes()), LateJoin::Live, ring.head(), now);
                let got: Vec<u64> = ring.after(start.cursor).unwrap().map(|e| e.sequence).collect();
                let after = all.iter().filter(|(s, _)| *s > start.cursor);
                prop_assert_eq!(got, after.map(|(s, _)| *s).collect::<Vec<u64>>());
                let between = all.iter().filter(|(s, _)| (seen + 1..=start.cursor).contains(s));
                let left_out: String = between.map(|(_, kind)| *kind).collect();
                match start.hole {
                    Some(Hole { missing: Some(missing), .. }) => {
                        prop_assert_eq!(missing, (seen + 1, start.cursor));
                    }
                    Some(Hole { missing: None, .. }) => {
                        prop_assert!(left_out.contains('g') && left_out.ends_with('.'), "{}", left_out);
                        prop_assert!(!left_out.contains('e'), "{}", left_out);
                    }
                    None => prop_assert!(left_out.chars().all(|kind| kind == '.'), "{}", left_out),
                }
            }
        }
    }
}
