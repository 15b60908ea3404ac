//! Properties of the parser and the encoder, and a comparison with an independent parser.
//!
//! A failing case prints its minimal input; `PROPTEST_RNG_SEED` replays a run.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::{collection::vec, prelude::*, sample::select};
use sidestream::{
    config::model::EventLimits,
    sse::{
        encode::Frame,
        event::{Event, Excess, Item},
        parser::Parser,
    },
};

const ROOMY: EventLimits = EventLimits {
    bytes_max: 1 << 20,
    fields_max: 1 << 16,
    id_bytes_max: 1 << 10,
};

/// The items, and whether a block was left unfinished.
type Parsed = (Vec<Item>, bool);

fn parse<'a>(limits: EventLimits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
    let mut parser = Parser::new(limits);
    let mut items = Vec::new();
    for chunk in chunks {
        parser.feed(chunk, &mut |item| items.push(item));
        let allocated_max = 2 * limits.bytes_max + limits.id_bytes_max;
        assert!(
            parser.allocated_bytes() <= allocated_max,
            "{}",
            parser.allocated_bytes()
        );
    }
    (items, parser.finish())
}

/// Cuts `bytes` at the given places, taken modulo what is left.
fn cut<'a>(mut bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for place in places {
        let (head, tail) = bytes.split_at(place % (bytes.len() + 1));
        chunks.push(head);
        bytes = tail;
    }
    chunks.push(bytes);
    chunks
}

fn encoded(id: Option<&[u8]>, name: &[u8], data: &[u8]) -> Bytes {
    Frame::event(id, name, data).payload()
}

/// Bytes that look enough like an event stream to reach every branch.
fn stream_like() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        &b"data"[..],
        b"data:",
        b"data: ",
        b"event: ",
        b"event",
        b"id: ",
        b"id",
        b"retry: ",
        b"12",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\0",
        b"\t",
        b"x",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xBB",
        b"\xff",
        "é😀\u{2028}".as_bytes(),
        b"unknown: ",
    ]);
    vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => stream_like(), 1 => vec(any::<u8>(), 0..200)]
}

/// A value that fits on one line, and for an id also into a header.
fn line_value() -> impl Strategy<Value = Bytes> {
    vec(
        any::<u8>().prop_filter("a line", |byte| !byte.is_ascii_control()),
        0..12,
    )
    .prop_map(Bytes::from)
}

/// An event that the parser could have yielded: no CR in its data.
fn event() -> impl Strategy<Value = Event> {
    let data = vec(prop_oneof![Just(b'\n'), Just(b' '), any::<u8>()], 0..40).prop_map(|bytes| {
        bytes
            .into_iter()
            .filter(|byte| *byte != b'\r')
            .collect::<Bytes>()
    });
    (line_value(), data, proptest::option::of(line_value())).prop_map(|(name, data, id)| Event {
        name,
        data,
        id,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_give_the_same_items_in_any_cut(
        bytes in any_bytes(),
        places in vec(0_usize..64, 0..12),
    ) {
        let whole = parse(ROOMY, [&bytes[..]]);
        prop_assert_eq!(&parse(ROOMY, cut(&bytes, &places)), &whole);
        prop_assert_eq!(&parse(ROOMY, bytes.chunks(1)), &whole);
    }

    #[test]
    fn limits_hold_in_any_cut(
        bytes in any_bytes(),
        places in vec(0_usize..64, 0..12),
        bytes_max in 1_usize..40,
        fields_max in 1_usize..6,
        id_bytes_max in 0_usize..6,
    ) {
        let limits = EventLimits { bytes_max, fields_max, id_bytes_max };
        let whole = parse(limits, [&bytes[..]]);
        prop_assert_eq!(&parse(limits, cut(&bytes, &places)), &whole);
        prop_assert_eq!(&parse(limits, bytes.chunks(1)), &whole);
        for item in &whole.0 {
            match item {
                Item::Event(event) => {
                    prop_assert!(event.name.len() + event.data.len() <= bytes_max);
                    let lines = event.data.iter().filter(|byte| **byte == b'\n').count() + 1;
                    prop_assert!(lines <= fields_max);
                    prop_assert!(event.id.as_ref().is_none_or(|id| id.len() <= id_bytes_max));
                }
                Item::Id(id) => prop_assert!(id.len() <= id_bytes_max),
                Item::Skipped(_) | Item::Retry(_) | Item::Comment => {}
            }
        }
    }

    #[test]
    fn an_event_over_a_limit_is_left_out_and_touches_no_other(
        events in vec((event(), any::<bool>()), 1..6),
        by_bytes in any::<bool>(),
        places in vec(0_usize..400, 0..12),
    ) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        let mut carried = None;
        for (event, is_large) in events {
            let Event { name, data, id } = &event;
            let line = [&b"x"[..], b"\n"][usize::from(!by_bytes)];
            let data = if is_large { Bytes::from(line.repeat(1_000)) } else { data.clone() };
            wire.extend_from_slice(&encoded(id.as_deref(), name, &data));
            if is_large {
                expected.push(Item::Skipped(if by_bytes { Excess::Bytes } else { Excess::Fields }));
                expected.extend(id.clone().map(Item::Id));
                carried = id.clone().or(carried);
            } else {
                let before = carried.take();
                expected.push(Item::Event(Event { id: id.clone().or(before), ..event }));
            }
        }
        let limits = EventLimits {
            bytes_max: if by_bytes { 800 } else { 1 << 20 },
            fields_max: 100,
            id_bytes_max: 64,
        };
        prop_assert_eq!(&parse(limits, [&wire[..]]), &(expected, false));
        let whole = parse(limits, [&wire[..]]);
        prop_assert_eq!(&parse(limits, cut(&wire, &places)), &whole);
        prop_assert_eq!(&parse(limits, wire.chunks(1)), &whole);
    }

    #[test]
    fn decoding_what_was_encoded_gives_it_back(events in vec(event(), 1..5)) {
        let mut wire = Vec::new();
        for Event { name, data, id } in &events {
            wire.extend_from_slice(&encoded(id.as_deref(), name, data));
        }
        let expected: Vec<Item> = events.into_iter().map(Item::Event).collect();
        prop_assert_eq!(parse(ROOMY, [&wire[..]]), (expected, false));
    }

    #[test]
    fn no_value_escapes_from_its_field(
        name in vec(any::<u8>(), 0..12),
        data in stream_like(),
        id in proptest::option::of(vec(any::<u8>(), 0..12)),
    ) {
        let (items, unfinished) = parse(ROOMY, [&encoded(id.as_deref(), &name, &data)[..]]);
        prop_assert!(!unfinished);
        let [Item::Event(event)] = &items[..] else {
            return Err(TestCaseError::fail(format!("not one event: {items:?}")));
        };
        prop_assert!(event.name.is_empty() || event.name == name);
        prop_assert!(event.id.is_none() || event.id.as_deref() == id.as_deref());
    }
}

/// What both parsers are held to: name, data, and the last event id after the event.
#[derive(Debug, PartialEq)]
struct Seen {
    name: String,
    data: String,
    last_id: String,
}

fn ours(chunks: &[&[u8]]) -> Vec<Seen> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("the input is UTF-8");
    let mut last_id = String::new();
    let mut seen = Vec::new();
    for item in parse(ROOMY, chunks.iter().copied()).0 {
        match item {
            Item::Event(event) => {
                last_id = event.id.as_ref().map_or(last_id, text);
                let name = if event.name.is_empty() {
                    "message".into()
                } else {
                    text(&event.name)
                };
                seen.push(Seen {
                    name,
                    data: text(&event.data),
                    last_id: last_id.clone(),
                });
            }
            Item::Id(id) => last_id = text(&id),
            Item::Skipped(_) | Item::Retry(_) | Item::Comment => {}
        }
    }
    seen
}

fn theirs(chunks: &[&[u8]]) -> Vec<Seen> {
    let chunks: Vec<Result<Bytes, ()>> = chunks
        .iter()
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let events = sseer::EventStream::new(stream::iter(chunks));
    let events: Vec<_> = events.collect().now_or_never().expect("all input is there");
    let seen = events.into_iter().map(|event| {
        let event = event.expect("the input is UTF-8");
        Seen {
            name: event.event.to_string(),
            data: event.data.to_string(),
            last_id: event.id.to_string(),
        }
    });
    seen.collect()
}

/// Streams on which the other parser follows the standard as we do. Left out are: invalid UTF-8,
/// which it refuses; an `event` line without a colon, which it does not take as a reset; and
/// control bytes other than TAB and NUL in ids, which we refuse (a decision of ours).
fn common_ground() -> impl Strategy<Value = String> {
    let token = select(vec![
        "data",
        "data:",
        "data: ",
        "event: ",
        "event:",
        "id: ",
        "id:",
        "id",
        "retry: ",
        "retry",
        "12",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\0",
        "\t",
        "x",
        "\u{feff}",
        "é",
        "😀",
        "\u{2028}",
        "unknown: ",
        "Data: ",
    ]);
    vec(token, 0..60)
        .prop_map(|tokens| tokens.concat())
        .prop_filter("a bare event line", |text| {
            !text
                .trim_start_matches('\u{feff}')
                .split(['\r', '\n'])
                .any(|line| line == "event")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn an_independent_parser_sees_the_same_events(
        text in common_ground(),
        places in vec(0_usize..64, 0..12),
    ) {
        let chunks = cut(text.as_bytes(), &places);
        prop_assert_eq!(ours(&chunks), theirs(&chunks));
    }
}

#[test]
fn large_values_come_out_whole_and_leave_little_behind() {
    let mut parser = Parser::new(ROOMY);
    for size in [1, 255, 256, 257, 16 << 10, (16 << 10) + 1, 300_000] {
        let value = Bytes::from(vec![b'v'; size]);
        let named = Event {
            name: value.clone(),
            data: value.clone(),
            id: None,
        };
        let unnamed = Event {
            name: Bytes::new(),
            ..named.clone()
        };
        for event in [&named, &named, &unnamed, &named] {
            let payload = encoded(None, &event.name, &event.data);
            let mut items = Vec::new();
            for chunk in payload.chunks(1_000) {
                parser.feed(chunk, &mut |item| items.push(item));
            }
            assert_eq!(items, [Item::Event(event.clone())], "{size}");
            assert!(
                parser.allocated_bytes() <= 32 << 10,
                "{}",
                parser.allocated_bytes()
            );
        }
    }
}
