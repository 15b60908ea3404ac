use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    channel::seal::Seal,
    config::model::{LateJoin, Secret},
    route::key::{ChannelKey, Scheme},
};

const LIMITS: RingLimits = RingLimits {
    events_max: 4,
    bytes_max: 1 << 20,
    age_max: Duration::from_secs(600),
};

fn ring(ids: Ids, limits: RingLimits) -> Ring {
    Ring::new(Epoch::new(7), ids, limits)
}

fn event(id: Option<&str>) -> Event {
    Event {
        name: Bytes::new(),
        data: Bytes::from_static(b"x"),
        id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
    }
}

fn filled(ids: Ids, count: u64) -> Ring {
    let mut ring = ring(ids, LIMITS);
    for n in 1..=count {
        ring.push_event(&event(Some(&n.to_string())), Millis(n));
    }
    ring
}

fn local(sequence: u64) -> String {
    in_epoch(7, sequence, None)
}

fn in_epoch(epoch: u64, sequence: u64, app_id: Option<&'static str>) -> String {
    let id = LocalId {
        epoch: Epoch::new(epoch),
        sequence,
        app_id: app_id.map(Bytes::from),
        seal: None,
    };
    id.to_string()
}

fn start(ring: &mut Ring, id: Option<&str>, join: LateJoin) -> (u64, Option<Hole>) {
    let start = ring.start(id.map(str::as_bytes), join, ring.head(), Millis(100));
    (start.cursor, start.hole)
}

fn hole(reason: GapReason, missing: Option<(u64, u64)>) -> Option<Hole> {
    Some(Hole { reason, missing })
}

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
fn trimming_frees_what_is_wanted_and_no_more() {
    let mut ring = filled(Ids::Local, 4);
    let each = ring.bytes() / 4;
    assert_eq!(ring.trim(each + 1, 1), 2 * each);
    assert_eq!(ring.trim(usize::MAX, 1), each);
    assert_eq!(ring.len(), 1);
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

#[test]
fn a_gap_notice_says_what_is_missing() {
    let notice = |hole, id| String::from_utf8(gap_event(hole, id).payload().to_vec()).unwrap();
    let known = Hole {
        reason: GapReason::Evicted,
        missing: Some((3, 9)),
    };
    assert_eq!(
        notice(known, Some("e-9")),
        "event: sidestream-gap\ndata: {\"reason\":\"evicted\",\"from\":3,\"to\":9,\"missed\":7}\nid: e-9\n\n"
    );
    let comment = gap_comment(Hole {
        reason: GapReason::UnknownId,
        missing: None,
    })
    .payload();
    assert_eq!(
        comment,
        "\u{3a} sidestream-gap {\"reason\":\"unknown_id\",\"from\":null,\"to\":null,\"missed\":null}\n"
    );
}

fn resuming(ids: Ids, from: Option<&str>, events: impl IntoIterator<Item = u64>) -> Ring {
    let mut ring = ring(ids, LIMITS).resuming(Trust::All);
    ring.begin(from.map(str::as_bytes), 256);
    for n in events {
        ring.push_event(&event(Some(&n.to_string())), Millis(n));
    }
    ring
}

/// The id of the last event as clients see it.
fn last_wire_id(ring: &Ring) -> String {
    let Some(EntryKind::Event { frame, .. }) = ring.entries.back().map(|entry| &entry.kind) else {
        panic!("no event");
    };
    let payload = String::from_utf8(frame.payload().to_vec()).unwrap();
    let id = payload.lines().find_map(|line| line.strip_prefix("id: "));
    id.unwrap().to_owned()
}

#[test]
fn where_the_app_resumes_our_ids_carry_its_own() {
    let mut ring = resuming(Ids::Local, None, 41..=42);
    assert_eq!(last_wire_id(&ring), in_epoch(7, 2, Some("42")));
    ring.push_event(&event(None), Millis(43));
    assert_eq!(
        last_wire_id(&ring),
        in_epoch(7, 3, Some("42")),
        "the last one"
    );
    ring.push_gap(GapReason::Oversized, Millis(44));
    assert_eq!(ring.gap_id(4), Some(in_epoch(7, 4, Some("42"))));
    assert_eq!(ring.id_at(1), Some(in_epoch(7, 1, Some("41")).into()));
    assert_eq!(ring.id_at(0), Some(local(0).into()), "none yet");
    assert_eq!(ring.resume_point(), Some(&Bytes::from_static(b"42")));
    ring.push_event(&event(Some("")), Millis(45));
    assert_eq!((last_wire_id(&ring), ring.resume_point()), (local(5), None));
}

/// The same before and after the ring has let go of the reset.
#[test]
fn an_id_that_the_app_reset_does_not_come_back() {
    let mut local_ids = ring(Ids::Local, LIMITS).resuming(Trust::All);
    let mut app_ids = ring(Ids::Unique, LIMITS);
    for ring in [&mut local_ids, &mut app_ids] {
        for id in [Some("a"), Some(""), None] {
            ring.push_event(&event(id), Millis(1));
        }
    }
    assert_eq!(local_ids.id_at(3), Some(local(3).into()));
    for ring in [&mut local_ids, &mut app_ids] {
        for _ in 0..3 {
            ring.push_event(&event(None), Millis(1));
        }
        assert_eq!(ring.oldest_cursor(), 2, "`a` and the reset are evicted");
    }
    assert_eq!(local_ids.id_at(3), Some(local(3).into()));
    assert_eq!(local_ids.gap_id(6), Some(local(6)));
    assert_eq!(app_ids.id_at(3), None);
}

#[test]
fn a_client_of_another_pod_resumes_by_the_apps_id() {
    let elsewhere = |app_id| in_epoch(8, 900, Some(app_id));
    let mut ring = resuming(Ids::Local, Some(&elsewhere("40")), 41..=44);
    for (app_id, cursor) in [("40", 0), ("41", 1), ("43", 3), ("44", 4)] {
        let id = elsewhere(app_id);
        assert!(!ring.may_pass(id.as_bytes()), "{app_id} is known");
        assert_eq!(start(&mut ring, Some(&id), LateJoin::Live), (cursor, None));
    }
    assert_eq!(ring.id_at(0), Some(in_epoch(7, 0, Some("40")).into()));
    let ahead = elsewhere("45");
    assert!(ring.may_pass(ahead.as_bytes()));
    let in_vain = (4, hole(GapReason::OtherEpoch, None));
    assert_eq!(start(&mut ring, Some(&ahead), LateJoin::Live), in_vain);
    ring.push_event(&event(Some("45")), Millis(50));
    assert_eq!(start(&mut ring, Some(&ahead), LateJoin::Live), (5, None));
    // The ring holds four: what was before them is known by its last id only.
    assert_eq!(
        start(&mut ring, Some(&elsewhere("41")), LateJoin::Live),
        (1, None)
    );
    assert!(
        ring.may_pass(elsewhere("40").as_bytes()),
        "as good as unknown"
    );

    let mut unique = resuming(Ids::Unique, Some("40"), 41..=44);
    assert_eq!(start(&mut unique, Some("40"), LateJoin::Live), (0, None));
    assert_eq!(start(&mut unique, Some("42"), LateJoin::Live), (2, None));
    assert!(unique.may_pass(b"45"));
}

#[test]
fn an_app_that_promised_to_resume_and_does_not_is_not_asked_to_again() {
    let mut ring = resuming(Ids::Local, None, 1..=3);
    ring.push_event(&event(Some("1")), Millis(4));
    assert!(ring.ids_broken());
    assert_eq!((ring.resume_point(), last_wire_id(&ring)), (None, local(4)));
    assert_eq!(
        start(&mut ring, Some(&local(2)), LateJoin::Live),
        (2, None),
        "by ours"
    );
    let by_the_apps = in_epoch(8, 2, Some("2"));
    assert!(!ring.may_pass(by_the_apps.as_bytes()));
    let ambiguous = (4, hole(GapReason::AmbiguousId, None));
    assert_eq!(
        start(&mut ring, Some(&by_the_apps), LateJoin::Live),
        ambiguous
    );
}

#[test]
fn only_an_id_that_the_app_may_be_sent_is_gone_on_from() {
    let long = "x".repeat(257);
    for id in [
        "7",
        "8-1~7",
        "0000000008-1~%0A",
        &format!("{}{long}", in_epoch(8, 1, Some("y"))),
    ] {
        assert_eq!(
            resuming(Ids::Local, Some(id), []).resume_point(),
            None,
            "{id}"
        );
    }
    for id in ["a\nb", long.as_str(), ""] {
        assert_eq!(
            resuming(Ids::Unique, Some(id), []).resume_point(),
            None,
            "{id}"
        );
    }
}

#[test]
fn ids_count_as_far_as_the_ring_trusts() {
    let key = |secret: &str| {
        let key = ChannelKey {
            route: "r".to_owned(),
            scheme: Scheme::Http,
            host: "h".to_owned(),
            target: "/".to_owned(),
            headers: Vec::new(),
        };
        Trust::Sealed(Seal::new(&Secret::new(secret), &key))
    };
    let mut other = ring(Ids::Local, LIMITS).resuming(key("one"));
    other.begin(None, 256);
    other.push_event(&event(Some("7")), Millis(0));
    let sealed = last_wire_id(&other);
    let plain = in_epoch(8, 1, Some("7"));
    for (trust, id, expected) in [
        (Trust::All, &plain, Begun::There),
        (Trust::All, &sealed, Begun::There),
        (Trust::Nobody, &plain, Begun::Unproven),
        (Trust::Nobody, &sealed, Begun::Unproven),
        (key("one"), &plain, Begun::Anew),
        (key("one"), &sealed, Begun::There),
        (key("two"), &sealed, Begun::Anew),
    ] {
        let mut ring = ring(Ids::Local, LIMITS).resuming(trust);
        assert_eq!(ring.begin(Some(id.as_bytes()), 256), expected, "{id}");
        let point = ring.resume_point().map(|id| &id[..]);
        assert_eq!(point, (expected == Begun::There).then_some(&b"7"[..]));
        assert_eq!(ring.begin(None, 256), Begun::Anew);
    }
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
