use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    config::testing::fanout,
    sse::{event::Item, parser::Parser},
};

/// The items of a stream, comments left out: those are what we add.
fn items(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    Parser::new(fanout().event).feed(bytes, &mut |item| items.push(item));
    items.retain(|item| !matches!(item, Item::Comment));
    items
}

fn pass(boundary: &mut Boundary, piece: &[u8]) -> Bytes {
    boundary.pass(Bytes::copy_from_slice(piece))
}

fn after(pieces: &[&str]) -> Boundary {
    let mut boundary = Boundary::new();
    for piece in pieces {
        assert_eq!(pass(&mut boundary, piece.as_bytes()), piece.as_bytes());
    }
    boundary
}

#[test]
fn a_line_of_ours_stands_between_lines_only() {
    for (pieces, line_start, event_end) in [
        (&[][..], true, true),
        (&["data: a"], false, false),
        (&["data: a\n"], true, false),
        (&["data: a\r"], false, false),
        (&["data: a\r", "\n"], true, false),
        (&["data: a\n\n"], true, true),
        (&["data: a\n", "\n"], true, true),
        (&["data: a\r\n\r\n"], true, true),
        (&["data: a\r\n", "\r", "\n"], true, true),
        (&["data: a\r\n", "\r"], false, false),
        (&["data: a\r\r"], false, false),
        (&["data: a\r\r\n"], true, true),
        (&["data: a\n\r\n"], true, true),
        (&["\n"], true, true),
        (&["\r\n"], true, true),
        (&["", ""], true, true),
        (&["\u{feff}"], false, false),
    ] {
        let boundary = after(pieces);
        let found = (boundary.is_line_start(), boundary.is_event_end());
        assert_eq!(found, (line_start, event_end), "{pieces:?}");
    }
}

#[test]
fn a_byte_order_mark_after_a_heartbeat_is_left_out() {
    for (pieces, expected) in [
        (&[&b"\xEF"[..], b"\xBB\xBFdata: a\n"][..], &b"data: a\n"[..]),
        (&[b"\xEF\xBB\xBF\xEF\xBB\xBF"], b"\xEF\xBB\xBF"),
        (&[b"\xEF", b"\xBB", b"data: a\n"], b"\xEF\xBBdata: a\n"),
        (&[b"data: a\n", b"\xEF\xBB\xBF"], b"data: a\n\xEF\xBB\xBF"),
    ] {
        let mut boundary = Boundary::new();
        boundary.interject();
        let passed: Vec<Bytes> = pieces
            .iter()
            .map(|piece| pass(&mut boundary, piece))
            .collect();
        assert_eq!(passed.concat(), expected, "{pieces:?}");
    }
}

/// Bytes that look enough like an event stream to reach every branch.
fn stream_like() -> impl Strategy<Value = Vec<u8>> {
    let tokens = vec![
        &b"data: "[..],
        b"data",
        b"event: e",
        b"id: 1",
        b"retry: 5",
        b": hi",
        b"x",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xBB",
    ];
    vec(select(tokens), 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn heartbeats_change_no_event(
        stream in stream_like(),
        pieces in vec((1_usize..9, any::<bool>()), 1..60),
    ) {
        let mut boundary = Boundary::new();
        let mut out = Vec::new();
        let mut beats = 0;
        let mut rest = &stream[..];
        for (length, beat) in pieces {
            if beat && boundary.is_line_start() {
                boundary.interject();
                out.extend_from_slice(HEARTBEAT);
                beats += 1;
            }
            let (piece, left) = rest.split_at(length.min(rest.len()));
            out.extend_from_slice(&pass(&mut boundary, piece));
            rest = left;
        }
        out.extend_from_slice(&pass(&mut boundary, rest));
        prop_assert_eq!(items(&out), items(&stream));
        if beats == 0 {
            prop_assert_eq!(&out, &stream);
        }
    }

    #[test]
    fn pieces_do_not_matter(stream in stream_like(), at in any::<usize>()) {
        let (head, tail) = stream.split_at(at % (stream.len() + 1));
        let (mut whole, mut cut) = (Boundary::new(), Boundary::new());
        pass(&mut whole, &stream);
        pass(&mut cut, head);
        pass(&mut cut, tail);
        prop_assert_eq!(whole, cut);
    }

    /// What is cut off at an event's end leaves no event half said.
    #[test]
    fn an_event_end_is_one_to_the_parser(stream in stream_like()) {
        let mut boundary = Boundary::new();
        pass(&mut boundary, &stream);
        if boundary.is_event_end() {
            let mut parser = Parser::new(fanout().event);
            parser.feed(&stream, &mut |_| {});
            prop_assert!(!parser.finish());
        }
    }
}
