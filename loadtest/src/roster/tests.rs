use super::*;
use crate::{payload::Stamp, target::Target};

/// A roster of as many subscribers as there are `streams`, each of which is fed one of them;
/// those without one never connect.
fn roster(conduct: Conduct, streams: &[Option<&str>]) -> Roster {
    let target: Target = "http://a/".parse().unwrap();
    let plan = Plan {
        h1: u32::try_from(streams.len()).unwrap(),
        expect: Expect::Ids,
        conduct,
        ..Plan::new(target)
    };
    let mut roster = Roster::of(&plan);
    for (dial, stream) in plan.dials(0).zip(streams) {
        let place = roster.enter(&plan, &dial);
        if let Some(stream) = stream {
            roster.opened(place, 1);
            roster.feed(place, stream.as_bytes(), 2);
        }
    }
    roster
}

#[test]
fn who_is_refused_for_ever_is_absent() {
    let conduct = Conduct {
        after_end: AfterEnd::Return,
        ..Conduct::default()
    };
    let event = "id: 1\ndata: x\n\n";
    let mut roster = roster(conduct, &[Some(event), None, None]);
    roster.over(1, &"status 503".into());
    assert!(!roster.has_reached(1), "they may still come");
    let tally = roster.close(Some(1));
    let counts = &tally.h1;
    assert_eq!((counts.wanted, counts.connected, counts.absent), (3, 1, 2));
    assert_eq!((counts.lost, counts.refused["status 503"]), (0, 1));
}

#[test]
fn an_end_that_says_it_is_whole_is_torn_inside_an_event() {
    let cases = [
        ("id: 1\ndata: x\n\n", COMPLETED, 0),
        ("id: 1\ndata: x\n\nretry: 5\n", COMPLETED, 0),
        ("id: 1\ndata: x\n", COMPLETED, 1),
        ("id: 1\ndata: x\n\nid: 2", COMPLETED, 1),
        ("id: 1\ndata: x\n", "cut by the server", 0),
    ];
    for (stream, reason, torn) in cases {
        let mut roster = roster(Conduct::default(), &[Some(stream)]);
        roster.over(0, &reason.into());
        let counts = &roster.close(None).h1;
        let found = (counts.torn, counts.faulty);
        assert_eq!(found, (torn, torn), "{stream:?} {reason}");
    }
}

#[test]
fn an_event_of_another_channel_is_torn() {
    for (path, own, torn) in [("events/{channel}", 1, 2), ("events", 0, 0)] {
        let target: Target = format!("http://a/{path}").parse().unwrap();
        let plan = Plan {
            h1: 3,
            channels: 3,
            ..Plan::new(target)
        };
        let mut event = b"data: ".to_vec();
        let stamp = Stamp {
            seq: 1,
            sent_ns: 1,
            channel: own,
        };
        crate::payload::encode(&mut event, stamp, 120);
        event.extend_from_slice(b"\n\n");
        let mut roster = Roster::of(&plan);
        for dial in plan.dials(0) {
            let place = roster.enter(&plan, &dial);
            roster.opened(place, 1);
            roster.feed(place, &event, 2);
        }
        let counts = roster.close(None).h1;
        let found = (counts.torn, counts.delivered, counts.faulty);
        assert_eq!(found, (torn, 3 - torn, torn), "{path}");
    }
}

#[test]
fn the_most_gaps_of_one_subscriber_are_told() {
    let gap = "event: sidestream-gap\ndata: {}\n\n";
    let twice = [gap, gap].concat();
    let roster = roster(Conduct::default(), &[Some(gap), Some(&twice), Some(gap)]);
    let tally = roster.close(None);
    assert_eq!((tally.h1.gaps, tally.h1.gaps_max), (4, 2));
}

#[test]
fn a_subscriber_is_small() {
    assert!(size_of::<Subscriber>() <= 56);
}
