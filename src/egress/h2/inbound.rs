//! What a client sends, on its way to the h2 crate. Pure.
//!
//! The ledger takes note of what concerns sending, and WINDOW_UPDATEs reach the crate as far as they
//! are meant for it. All else passes as it came.

use super::{
    frame::{self, HEAD_BYTES, Head, Piece, Walker, kind},
    ledger::{Grant, Ledger, Settings},
};

/// The client's part of RFC 9113, section 3.4, before its first frame.
const PREFACE_BYTES: usize = 24;

/// Payload of a WINDOW_UPDATE.
const UPDATE_BYTES: usize = 4;

/// Payload of a GOAWAY: the last stream, and why.
const GO_AWAY_BYTES_MIN: u32 = 8;

/// One parameter of a SETTINGS frame: an identifier and a value.
const PARAMETER_BYTES: usize = 6;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;

/// Types of the frames that are not counted: they have bounds of their own, or grow with what the
/// client reads. See [`Budget`](super::budget::Budget).
const FREE: [u8; 5] = [
    kind::DATA,
    kind::HEADERS,
    kind::GOAWAY,
    kind::WINDOW_UPDATE,
    kind::CONTINUATION,
];

/// A few bytes of a frame, until they are complete.
#[derive(Debug)]
struct Gathered<const N: usize> {
    bytes: [u8; N],
    have: usize,
}

impl<const N: usize> Gathered<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            have: 0,
        }
    }

    /// Takes from `part` what is missing; the whole once it is complete.
    fn take(&mut self, part: &mut &[u8]) -> Option<[u8; N]> {
        let space = self.bytes.get_mut(self.have..).unwrap_or_default();
        let (now, rest) = part.split_at_checked(space.len()).unwrap_or((part, &[]));
        for (place, byte) in space.iter_mut().zip(now) {
            *place = *byte;
        }
        *part = rest;
        self.have += now.len();
        if self.have < N {
            return None;
        }
        self.have = 0;
        Some(self.bytes)
    }
}

/// What the frame that passes is to us.
#[derive(Debug)]
enum Passing {
    /// Nothing.
    Other,
    /// Settings of the client, as far as they have passed.
    Settings(Gathered<PARAMETER_BYTES>, Settings),
    /// A WINDOW_UPDATE, which is held back until it is whole.
    Update(Head, Gathered<UPDATE_BYTES>),
    /// A GOAWAY that the crate does not get.
    Parting,
}

/// The frames of one client.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Of the preface.
    left: usize,
    walker: Walker,
    passing: Passing,
    /// The client has said GOAWAY, and the crate was not told.
    is_left: bool,
    /// A field block of the client's goes on in its next frame: nothing may come between.
    continues: bool,
    /// What the crate may send more on the connection, and was not told yet.
    granted: u32,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            left: PREFACE_BYTES,
            walker: Walker::default(),
            passing: Passing::Other,
            is_left: false,
            continues: false,
            granted: 0,
        }
    }
}

impl Inbound {
    /// Whether the client has said GOAWAY while it had streams. The crate does not know: it would close
    /// the connection as soon as it has none, and of the shard's it has none.
    pub(super) const fn is_left(&self) -> bool {
        self.is_left
    }

    /// Takes `bytes` as they come, and gives `emit` what the crate is to see. Stops behind the frame
    /// that begins the last request of this turn. Returns how many frames began that ask for nothing.
    pub(super) fn pass(
        &mut self,
        bytes: &mut &[u8],
        turn: &mut usize,
        ledger: &mut Ledger,
        mut emit: impl FnMut(&[u8]),
    ) -> u64 {
        let (preface, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.left -= preface.len();
        emit(preface);
        let mut counted = 0;
        self.tell_granted(&mut emit);
        while (*turn > 0 || !self.walker.is_between_frames())
            && let Some(piece) = self.walker.next(bytes)
        {
            match piece {
                Piece::Head(head) => {
                    counted += u64::from(!FREE.contains(&head.kind()));
                    *turn -= usize::from(head.kind() == kind::HEADERS);
                    self.continues = head.continues();
                    self.passing = begin(head, ledger);
                    self.is_left |= matches!(self.passing, Passing::Parting);
                    if !matches!(self.passing, Passing::Update(..) | Passing::Parting) {
                        emit(&head.0);
                    }
                }
                Piece::Payload(part) => self.payload(part, ledger, &mut emit),
            }
            if self.walker.is_at_end()
                && let Passing::Settings(_, settings) = self.passing
            {
                ledger.announced(settings);
                self.passing = Passing::Other;
            }
            self.tell_granted(&mut emit);
        }
        counted
    }

    /// Lets the crate send `by` more on the connection. It is told in front of the client's next frame.
    pub(super) const fn grant(&mut self, by: u32) {
        self.granted += by;
    }

    fn tell_granted(&mut self, emit: &mut impl FnMut(&[u8])) {
        if self.granted > 0 && self.walker.is_between_frames() && !self.continues {
            emit(&frame::update(std::mem::take(&mut self.granted)));
        }
    }

    fn payload(&mut self, part: &[u8], ledger: &mut Ledger, emit: &mut impl FnMut(&[u8])) {
        match &mut self.passing {
            Passing::Parting => {}
            Passing::Other => emit(part),
            Passing::Settings(parameter, settings) => {
                emit(part);
                let mut part = part;
                while let Some([a, b, value @ ..]) = parameter.take(&mut part) {
                    let value = u32::from_be_bytes(value);
                    match u16::from_be_bytes([a, b]) {
                        INITIAL_WINDOW_SIZE => settings.initial_window = Some(value),
                        MAX_FRAME_SIZE => settings.frame_bytes_max = Some(value),
                        _ => {}
                    }
                }
            }
            Passing::Update(head, increment) => {
                let mut part = part;
                let Some([a, b, c, d]) = increment.take(&mut part) else {
                    return;
                };
                let increment = u32::from_be_bytes([a & 0x7f, b, c, d]);
                if let Grant::Pass(increment) = ledger.granted(head.stream(), increment) {
                    let frame: [u8; HEAD_BYTES + UPDATE_BYTES] =
                        frame::with_payload(*head, increment.to_be_bytes());
                    emit(&frame);
                }
            }
        }
    }
}

fn begin(head: Head, ledger: &mut Ledger) -> Passing {
    match head.kind() {
        kind::HEADERS => ledger.opened(head.stream()),
        kind::RST_STREAM => ledger.streams.closed(head.stream()),
        kind::SETTINGS if !head.is_ack() => {
            return Passing::Settings(Gathered::new(), Settings::default());
        }
        kind::GOAWAY
            if head.stream() == 0
                && head.len() >= GO_AWAY_BYTES_MIN
                && ledger.streams.is_above(0) =>
        {
            return Passing::Parting;
        }
        // Of another length it is an error, which is the crate's to judge.
        kind::WINDOW_UPDATE if head.len() as usize == UPDATE_BYTES => {
            return Passing::Update(head, Gathered::new());
        }
        _ => {}
    }
    Passing::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, _, high, low] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![0, high, low, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn update(stream: u32, by: u32) -> Vec<u8> {
        frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    #[test]
    fn the_crate_sees_all_but_the_windows_of_the_shard_however_it_comes() {
        let settings = [0, 3, 0, 0, 0, 9, 0, 4, 0, 0, 0, 200, 0, 5, 0, 1, 0, 0];
        let before = [
            PREFACE.to_vec(),
            frame(kind::SETTINGS, 0, 0, &settings),
            update(0, 1_000),
            frame(kind::HEADERS, 5, 1, b"head that looks like a frame"),
            frame(kind::HEADERS, 5, 3, &[8; 50]),
        ]
        .concat();
        let after = [
            update(1, 70),
            frame(kind::DATA, 0, 3, &[0; 700]),
            update(3, 80),
            frame(kind::SETTINGS, 1, 0, b""),
            frame(6, 0, 0, b"12345678"),
        ]
        .concat();
        let expected = [&before[..], &after[13..]].concat();
        for size in [1, 2, 5, 9, 13, 64, 10_000] {
            let (mut inbound, mut ledger) = (Inbound::default(), Ledger::default());
            let (mut seen, mut counted) = (Vec::new(), 0);
            let mut pass = |bytes: &[u8], ledger: &mut Ledger| {
                for mut part in bytes.chunks(size) {
                    let emit = |part: &[u8]| seen.extend_from_slice(part);
                    counted += inbound.pass(&mut part, &mut 100, ledger, emit);
                    assert!(part.is_empty(), "the turn is long enough");
                }
            };
            pass(&before, &mut ledger);
            ledger.acknowledged();
            let key = ledger.streams.adopt(1).unwrap();
            assert_eq!(ledger.take(key, 1_000), 200, "of SETTINGS");
            pass(&after, &mut ledger);
            assert_eq!(ledger.take(key, 1_000), 70, "of WINDOW_UPDATE");
            assert_eq!(seen, expected, "in pieces of {size}");
            assert_eq!(counted, 3, "SETTINGS twice and PING");
        }
    }

    #[test]
    fn a_reset_closes_and_what_is_malformed_passes() {
        let (mut inbound, mut ledger) = (Inbound::default(), Ledger::default());
        let malformed = frame(kind::WINDOW_UPDATE, 0, 1, b"12345");
        let wire = [
            PREFACE.to_vec(),
            frame(kind::HEADERS, 5, 1, b""),
            malformed,
            frame(kind::SETTINGS, 0, 0, b"1234567"),
            frame(kind::RST_STREAM, 0, 1, b"1234"),
        ]
        .concat();
        let mut seen = Vec::new();
        let emit = |part: &[u8]| seen.extend_from_slice(part);
        inbound.pass(&mut &wire[..], &mut 100, &mut ledger, emit);
        assert_eq!(seen, wire);
        assert_eq!(ledger.streams.adopt(1), None);
    }

    #[test]
    fn a_turn_ends_with_the_head_of_its_last_request_however_it_comes() {
        let request = |stream| frame(kind::HEADERS, 5, stream, b"head");
        let ping = frame(6, 0, 0, b"12345678");
        let wire = [PREFACE.to_vec(), request(1), ping, request(3), request(5)].concat();
        let rest = request(5).len();
        for size in [1, 9, 10, 30, wire.len()] {
            let (mut inbound, mut ledger) = (Inbound::default(), Ledger::default());
            let (mut seen, mut turn, mut left) = (Vec::new(), 2, 0);
            for mut part in wire.chunks(size) {
                let emit = |part: &[u8]| seen.extend_from_slice(part);
                inbound.pass(&mut part, &mut turn, &mut ledger, emit);
                left += part.len();
            }
            assert_eq!((turn, left), (0, rest), "in pieces of {size}");
            assert_eq!(seen, wire[..wire.len() - rest]);
        }
    }

    #[test]
    fn what_we_grant_ourselves_comes_between_two_frames_of_the_client() {
        let block = [
            frame(kind::HEADERS, 1, 1, b"begins"),
            frame(kind::CONTINUATION, 4, 1, b"ends"),
        ]
        .concat();
        let data = frame(kind::DATA, 0, 1, &[0; 30]);
        let (before, after) = ([PREFACE, &block].concat(), [data.clone(), data].concat());
        let wire = [&before[..], &after].concat();
        for granted_at in [
            PREFACE.len() + 3,
            PREFACE.len() + 15,
            before.len() - 1,
            before.len(),
        ] {
            let (mut inbound, mut ledger) = (Inbound::default(), Ledger::default());
            let (mut seen, mut turn) = (Vec::new(), 100);
            let mut pass = |inbound: &mut Inbound, mut part: &[u8]| {
                let emit = |part: &[u8]| seen.extend_from_slice(part);
                inbound.pass(&mut part, &mut turn, &mut ledger, emit);
            };
            pass(&mut inbound, &wire[..granted_at]);
            inbound.grant(70);
            pass(&mut inbound, &[]);
            inbound.grant(7);
            pass(&mut inbound, &wire[granted_at..]);
            let (now, later) = if granted_at == before.len() {
                (update(0, 70), update(0, 7))
            } else {
                (Vec::new(), update(0, 77))
            };
            let expected = [&before[..], &now, &later, &after].concat();
            assert_eq!(seen, expected, "at {granted_at}");
        }
    }
}
