use super::*;
use crate::{
    channel::ring::{
        EntryKind,
        testing::{LIMITS, event, hole, in_epoch, local, ring, start},
    },
    clock::Millis,
    config::model::{LateJoin, Secret},
    error::GapReason,
    route::key::testing::key,
};

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
    let key = |secret: &str| Trust::Sealed(Seal::new(&Secret::new(secret), &key("/")));
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
