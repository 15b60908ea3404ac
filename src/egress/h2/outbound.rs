//! What the h2 crate writes: it goes out, or waits for the client's window. Pure.

use bytes::BytesMut;

use super::{
    frame::{Head, Piece, Walker, kind},
    held::Held,
    ledger::Ledger,
    out::Out,
};

/// What is held of the crate's for the client's window, from which on it may write no more. A client that
/// grants no more than the standard's window is never behind by more than that: 65,535.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Where a frame goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Out,
    Held,
    /// Nobody wants it any more.
    Nowhere,
}

/// The frames of the crate.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Follows what the crate writes.
    walker: Walker,
    /// A field block of the crate's goes on in its next frame.
    continues: bool,
    /// What the client has no room for, and what must not overtake it.
    held: Held,
    /// Of the frame that the crate is writing.
    way: Way,
}

impl Outbound {
    /// Nothing that must stay together is torn by a frame that comes here.
    pub(super) const fn is_between_frames(&self) -> bool {
        let goes_out = matches!(self.way, Way::Out);
        (!goes_out || self.walker.is_between_frames()) && !self.continues
    }

    /// Whether the crate may write no more, which is never in the middle of what it has begun.
    pub(super) const fn is_full(&self) -> bool {
        let between = self.walker.is_between_frames() && !self.continues;
        self.held.bytes() >= HELD_BYTES_MAX && between
    }

    /// What waits for the client's window.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Takes a piece of what the crate writes off `bytes`; `false` when they are used up. DATA for which
    /// there is no room is held, and no other frame waits for it that need not: neither an answer to PING
    /// nor what a client may upload (section 5.2.2).
    pub(super) fn pass(&mut self, bytes: &mut &[u8], ledger: &mut Ledger, out: &mut Out) -> bool {
        match self.walker.next(bytes) {
            Some(Piece::Head(mut head)) => {
                if head.ends_stream() && ledger.streams.is_taken_over(head.stream()) {
                    head = head.without_end();
                }
                let waits = self.held.is_before(head)
                    || head.kind() == kind::DATA && !ledger.admits(head.len());
                if waits {
                    self.way = Way::Held;
                    self.held.begin(head);
                } else {
                    self.way = Way::Out;
                    out.push(&head.0);
                    self.note(head, ledger);
                }
            }
            Some(Piece::Payload(part)) => match self.way {
                Way::Out => out.push(part),
                Way::Held => self.held.extend(part),
                Way::Nowhere => {}
            },
            None => return false,
        }
        true
    }

    /// Moves what there is room for. A client may grant more only when all of its window is used up, so
    /// a frame that does not fit goes out as far as it does. DATA of a stream that the client has reset
    /// goes nowhere: it has let go of it, and needs the room for others. How much more the crate may send
    /// in its place.
    pub(super) fn move_held(&mut self, ledger: &mut Ledger, out: &mut Out) -> u32 {
        let mut instead = 0;
        while let Some(head) = self.held.first()
            && (self.is_between_frames() || head.kind() == kind::CONTINUATION)
        {
            let is_data = head.kind() == kind::DATA;
            if is_data && !ledger.streams.has(head.stream()) {
                self.take_held(Way::Nowhere);
                instead += ledger.dropped(head.len());
                continue;
            }
            let (head, payload) = if (!is_data || ledger.admits(head.len()))
                && let Some(payload) = self.take_held(Way::Out)
            {
                (head, payload)
            } else if let Some(part) = self.held.split(ledger.room()) {
                part
            } else {
                break;
            };
            out.push(&head.0);
            out.push(&payload);
            self.note(head, ledger);
        }
        instead
    }

    /// Takes the first frame, as far as the crate has written it: the rest goes the same `way`.
    fn take_held(&mut self, way: Way) -> Option<BytesMut> {
        let payload = self.held.take()?;
        if self.way == Way::Held && self.held.is_empty() {
            self.way = way;
        }
        Some(payload)
    }

    fn note(&mut self, head: Head, ledger: &mut Ledger) {
        let stream = head.stream();
        self.continues = head.continues();
        match head.kind() {
            kind::DATA => ledger.spent(stream, head.len()),
            kind::HEADERS => ledger.streams.headed(stream),
            kind::RST_STREAM => ledger.streams.closed(stream),
            kind::SETTINGS if head.is_ack() => ledger.acknowledged(),
            _ => {}
        }
        if head.ends_stream() {
            ledger.streams.closed(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::h2::ledger::Grant;

    fn data(stream: u32, len: u32) -> Vec<u8> {
        let mut frame = Head::data(len, stream).0.to_vec();
        frame.resize(frame.len() + len as usize, b'x');
        frame
    }

    fn write(this: &mut Outbound, mut bytes: &[u8], ledger: &mut Ledger, out: &mut Out) {
        while this.pass(&mut bytes, ledger, out) {}
    }

    /// The shard has used up the connection, and the crate writes what it was promised. Its client then
    /// grants as much as it will once more, before it resets the stream or after that.
    #[test]
    fn of_a_stream_that_was_reset_nothing_goes_out_and_others_have_its_room() {
        const PROMISED: u32 = 65_535;
        const GRANTED: u32 = 1_000;
        let frames = [data(1, 40_000), data(1, PROMISED - 40_000)].concat();
        let head = 40_000 + 2 * 9;
        for written in [40_009, 40_010, head - 1, head, head + 1, frames.len()] {
            for is_granted_first in [false, true] {
                let (mut this, mut ledger, mut out) =
                    (Outbound::default(), Ledger::default(), Out::default());
                for stream in [1, 3, 5] {
                    ledger.opened(stream);
                    ledger.streams.headed(stream);
                }
                let key = ledger.streams.adopt(5).unwrap();
                while ledger.take(key, 65_535) > 0 {}
                ledger.streams.release(key);

                write(&mut this, &frames[..written], &mut ledger, &mut out);
                let grant = |ledger: &mut Ledger| match ledger.granted(0, GRANTED) {
                    Grant::Pass(by) => by,
                    Grant::Keep => 0,
                };
                let mut told = 0;
                if is_granted_first {
                    told += grant(&mut ledger);
                }
                ledger.streams.closed(1);
                told += this.move_held(&mut ledger, &mut out);
                write(&mut this, &frames[written..], &mut ledger, &mut out);
                told += this.move_held(&mut ledger, &mut out);
                if !is_granted_first {
                    told += grant(&mut ledger);
                }
                let case = (written, is_granted_first);
                assert_eq!((out.len(), this.held_bytes()), (0, 0), "{case:?}");
                assert_eq!(told, GRANTED, "{case:?}");
                write(&mut this, &data(3, GRANTED), &mut ledger, &mut out);
                assert_eq!(out.rest(), data(3, GRANTED), "{case:?}");
            }
        }
    }
}
