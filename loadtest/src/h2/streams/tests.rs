use super::*;
use crate::wire::scanner::Expect;

/// Status 200 and the content type of a stream.
const OPENED: &[u8] = b"\x88\x0f\x10\x11text/event-stream";

struct Rig {
    streams: Streams,
    roster: Roster,
    out: Vec<u8>,
}

impl Rig {
    fn new(count: u32) -> Self {
        let plan = Plan {
            h2: count,
            expect: Expect::Any,
            ..Plan::new("http://a/".parse().unwrap())
        };
        let mut roster = Roster::of(&plan);
        for dial in plan.dials(0) {
            roster.enter(&plan, &dial);
        }
        Self {
            streams: Streams::new(0, count, 0),
            roster,
            out: Vec::new(),
        }
    }

    fn feed(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Reason> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, kind, flags, stream, payload);
        self.streams
            .feed(&bytes, 1, &mut self.roster, &mut self.out)
    }
}

#[test]
fn answers_ends_and_resets_are_told_apart() {
    let mut rig = Rig::new(4);
    rig.feed(kind::HEADERS, flag::END_HEADERS, 1, OPENED)
        .unwrap();
    rig.feed(kind::HEADERS, 0, 3, b"\x48\x03").unwrap();
    rig.feed(kind::CONTINUATION, flag::END_HEADERS, 3, b"103")
        .unwrap();
    rig.feed(kind::HEADERS, flag::END_HEADERS, 3, b"\x48\x03503")
        .unwrap();
    rig.feed(kind::RST_STREAM, 0, 5, &7_u32.to_be_bytes())
        .unwrap();
    assert!(!rig.streams.all_answered());
    rig.feed(kind::HEADERS, flag::END_HEADERS, 7, OPENED)
        .unwrap();
    assert!(rig.streams.all_answered());
    rig.feed(kind::DATA, 0, 7, b"data: x\n\n").unwrap();
    rig.feed(kind::DATA, flag::END_STREAM, 7, b"").unwrap();
    rig.feed(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])
        .unwrap();
    assert_eq!(
        rig.streams.goaway().as_deref(),
        Some("GOAWAY ENHANCE_YOUR_CALM")
    );

    let counts = &rig.roster.tally().h2;
    assert_eq!((counts.connected, counts.delivered), (2, 1));
    let failures: Vec<&str> = counts.failures.keys().map(String::as_str).collect();
    assert_eq!(failures, ["RST_STREAM REFUSED_STREAM", "status 503"]);
    assert_eq!(counts.ends[COMPLETED], 1);
}

#[test]
fn credit_is_given_back_before_a_window_closes() {
    let mut rig = Rig::new(1);
    rig.feed(kind::HEADERS, flag::END_HEADERS, 1, OPENED)
        .unwrap();
    let data = [b'\n'; 16_384];
    for _ in 0..STREAM_WINDOW_BYTES / 2 / 16_384 {
        rig.feed(kind::DATA, 0, 1, &data).unwrap();
    }
    assert!(rig.out.is_empty());
    rig.feed(kind::DATA, 0, 1, b"\n").unwrap();
    let mut expected = Vec::new();
    window_update(&mut expected, 1, STREAM_WINDOW_BYTES / 2 + 1);
    assert_eq!(rig.out, expected);
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let mut rig = Rig::new(1);
    rig.feed(kind::SETTINGS, 0, 0, b"").unwrap();
    rig.feed(kind::SETTINGS, flag::ACK, 0, b"").unwrap();
    rig.feed(kind::PING, 0, 0, b"12345678").unwrap();
    let mut expected = Vec::new();
    frame::write(&mut expected, kind::SETTINGS, flag::ACK, 0, b"");
    frame::write(&mut expected, kind::PING, flag::ACK, 0, b"12345678");
    assert_eq!(rig.out, expected);
}

#[test]
fn a_200_that_is_no_stream_is_a_failure() {
    let mut rig = Rig::new(1);
    rig.feed(
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        b"\x88\x0f\x10\x09text/html",
    )
    .unwrap();
    let counts = &rig.roster.tally().h2;
    assert_eq!(counts.failures["200 without an event stream"], 1);
    assert_eq!(counts.connected, 0);
}

#[test]
fn nothing_stands_inside_a_header_block() {
    let (end, whole) = (flag::END_HEADERS, kind::CONTINUATION);
    for (kind, stream, is_right) in [
        (whole, 1, true),
        (whole, 3, false),
        (kind::HEADERS, 1, false),
        (kind::DATA, 1, false),
        (kind::PING, 0, false),
    ] {
        let mut rig = Rig::new(2);
        rig.feed(kind::HEADERS, 0, 1, OPENED).unwrap();
        let fed = rig.feed(kind, end, stream, b"");
        assert_eq!(fed.is_ok(), is_right, "{kind} on {stream}: {fed:?}");
    }
}

#[test]
fn frames_for_streams_nobody_opened_break_the_connection() {
    for stream in [2, 3] {
        assert!(
            Rig::new(1).feed(kind::DATA, 0, stream, b"x").is_err(),
            "{stream}"
        );
    }
}
