//! Frames of the h2 crate that wait for the client's window. Pure.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::frame::{HEAD_BYTES, Head, kind};

/// In the order in which the crate wrote them; of the last one, a part may be still to come.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: VecDeque<(Head, BytesMut)>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// On the wire.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a frame must not overtake what is held. Streams keep their order, and so do field
    /// blocks, which share a compression context, and the SETTINGS acknowledgement: what is held was
    /// written under other settings, and field blocks behind it under these.
    pub(super) fn is_before(&self, head: Head) -> bool {
        let orders = |kind| matches!(kind, kind::HEADERS | kind::CONTINUATION | kind::SETTINGS);
        match head.kind() {
            kind::SETTINGS => !self.is_empty(),
            kind::DATA | kind::HEADERS | kind::CONTINUATION | kind::RST_STREAM => {
                let has_order = orders(head.kind());
                self.frames.iter().any(|(held, _)| {
                    held.stream() == head.stream() || has_order && orders(held.kind())
                })
            }
            _ => false,
        }
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, head: Head) {
        self.frames.push_back((head, BytesMut::new()));
        self.bytes += HEAD_BYTES;
    }

    /// More of the last one.
    pub(super) fn extend(&mut self, part: &[u8]) {
        if let Some((_, payload)) = self.frames.back_mut() {
            payload.extend_from_slice(part);
            self.bytes += part.len();
        }
    }

    pub(super) fn first(&self) -> Option<Head> {
        self.frames.front().map(|(head, _)| *head)
    }

    /// Takes as much of the first as there is room for, if it is DATA: a part of it that does not end
    /// the stream. What is left stays in front.
    pub(super) fn split(&mut self, room: u32) -> Option<(Head, BytesMut)> {
        let (head, payload) = self.frames.front_mut()?;
        let len = payload.len().min(room as usize);
        if head.kind() != kind::DATA || len == 0 {
            return None;
        }
        let part = Head::data(u32::try_from(len).ok()?, head.stream());
        *head = head.shorter_by(part.len());
        self.bytes -= len;
        Some((part, payload.split_to(len)))
    }

    /// Takes the first; what there is of its payload.
    pub(super) fn take(&mut self) -> Option<BytesMut> {
        let (_, payload) = self.frames.pop_front()?;
        self.bytes -= HEAD_BYTES + payload.len();
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, stream: u32) -> Head {
        let mut head = Head::data(0, stream);
        head.0[3] = kind;
        head
    }

    #[test]
    fn only_what_must_keep_its_order_waits() {
        const PING: u8 = 6;
        let (data, settings, headers, end) =
            (kind::DATA, kind::SETTINGS, kind::HEADERS, kind::RST_STREAM);
        let update = kind::WINDOW_UPDATE;
        // What is held; what comes; whether it waits.
        for (held, next, waits) in [
            (&[][..], (settings, 0), false),
            (&[(data, 1)], (data, 1), true),
            (&[(data, 1)], (data, 3), false),
            (&[(data, 1)], (headers, 1), true),
            (&[(data, 1)], (headers, 3), false),
            (&[(data, 1)], (end, 1), true),
            (&[(data, 1)], (end, 3), false),
            (&[(data, 1)], (settings, 0), true),
            (&[(data, 1)], (PING, 0), false),
            (&[(data, 1)], (update, 0), false),
            (&[(data, 1)], (update, 1), false),
            (&[(data, 1)], (kind::GOAWAY, 0), false),
            (&[(data, 1), (headers, 1)], (headers, 3), true),
            (&[(data, 1), (headers, 1)], (end, 3), false),
            (&[(data, 1), (settings, 0)], (headers, 3), true),
            (&[(data, 1), (settings, 0)], (data, 3), false),
        ] {
            let mut all = Held::default();
            for (kind, stream) in held {
                all.begin(head(*kind, *stream));
            }
            let (kind, stream) = next;
            assert_eq!(
                all.is_before(head(kind, stream)),
                waits,
                "{held:?} {next:?}"
            );
        }
    }

    #[test]
    fn data_is_split_where_the_room_ends_and_only_the_rest_ends_its_stream() {
        let mut held = Held::default();
        let mut ends = Head::data(5, 7);
        ends.0[4] = 1;
        held.begin(ends);
        assert_eq!(held.split(3), None, "nothing is there");
        held.extend(b"abcd");
        let (head, part) = held.split(3).unwrap();
        assert_eq!((head, &part[..]), (Head::data(3, 7), &b"abc"[..]));
        held.extend(b"e");
        let rest = held.first().unwrap();
        assert!(rest.ends_stream() && rest.len() == 2 && rest.stream() == 7);
        assert_eq!(held.take().unwrap(), "de");
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn frames_come_back_in_their_order_with_what_there_is_of_them() {
        let mut held = Held::default();
        held.begin(head(kind::DATA, 1));
        held.extend(b"ab");
        held.extend(b"c");
        held.begin(head(kind::DATA, 3));
        held.extend(b"d");
        assert_eq!(
            (held.bytes(), held.first()),
            (22, Some(head(kind::DATA, 1)))
        );
        assert_eq!(held.take().unwrap(), "abc");
        assert_eq!(held.take().unwrap(), "d");
        assert!(held.is_empty() && held.take().is_none() && held.bytes() == 0);
    }
}
