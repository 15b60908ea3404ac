//! What the h2 crate writes: it goes out, or waits for the client's window. Pure.

use super::{
    frame::{Head, Piece, Walker, kind},
    held::Held,
    ledger::Ledger,
    out::Out,
};

/// What is held of the crate's for the client's window, from which on it may write no more. A client that
/// grants no more than the standard's window is never behind by more than that: 65,535.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// The frames of the crate.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Follows what the crate writes.
    walker: Walker,
    /// A field block of the crate's goes on in its next frame.
    continues: bool,
    /// What the client has no room for, and what must not overtake it.
    held: Held,
    /// The frame that the crate is writing goes there.
    holds: bool,
}

impl Outbound {
    /// Nothing that must stay together is torn by a frame that comes here.
    pub(super) const fn is_between_frames(&self) -> bool {
        (self.holds || self.walker.is_between_frames()) && !self.continues
    }

    /// Whether the crate may write no more, which is never in the middle of what it has begun.
    pub(super) const fn is_full(&self) -> bool {
        let between = self.walker.is_between_frames() && !self.continues;
        self.held.bytes() >= HELD_BYTES_MAX && between
    }

    /// Whether something waits for the client's window.
    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
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
                self.holds = self.held.is_before(head)
                    || head.kind() == kind::DATA && !ledger.admits(head.len());
                if self.holds {
                    self.held.begin(head);
                } else {
                    out.push(&head.0);
                    self.note(head, ledger);
                }
            }
            Some(Piece::Payload(part)) if self.holds => self.held.extend(part),
            Some(Piece::Payload(part)) => out.push(part),
            None => return false,
        }
        true
    }

    /// Moves what there is room for. A client may grant more only when all of its window is used up, so
    /// a frame that does not fit goes out as far as it does.
    pub(super) fn move_held(&mut self, ledger: &mut Ledger, out: &mut Out) {
        while let Some(head) = self.held.first()
            && (self.is_between_frames() || head.kind() == kind::CONTINUATION)
        {
            let fits = head.kind() != kind::DATA || ledger.admits(head.len());
            let (head, payload) = if fits && let Some(payload) = self.held.take() {
                // The crate may not have written all of it.
                self.holds &= !self.held.is_empty();
                (head, payload)
            } else if let Some(part) = self.held.split(ledger.room()) {
                part
            } else {
                return;
            };
            out.push(&head.0);
            out.push(&payload);
            self.note(head, ledger);
        }
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
