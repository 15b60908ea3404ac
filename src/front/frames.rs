//! Counts the frames of an HTTP/2 client that cost it nothing and us something. Pure.
//!
//! The h2 crate bounds what would take memory: open streams, header lists and CONTINUATION frames,
//! empty and tiny DATA frames, streams that are reset before we accept them. It does not bound work:
//! a client may open and reset streams for ever (each one a request for the app), and PING and
//! SETTINGS make an answer, SETTINGS a walk over all streams besides. So frames that ask for nothing
//! have a budget in time. Not among them are DATA and HEADERS, which have bounds of their own, and
//! WINDOW_UPDATE, whose number grows with what the client reads.

use std::time::Duration;

use crate::{clock::Millis, config::model::Limits};

/// The client's part of RFC 9113, 3.4, before its first frame.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// Over this time the budget is an average: so much of it may come at once.
const BURST: Duration = Duration::from_secs(10);

/// Types of the frames that are free: DATA, HEADERS, GOAWAY, WINDOW_UPDATE, CONTINUATION.
const FREE: [u8; 5] = [0x0, 0x1, 0x7, 0x8, 0x9];

/// Finds the frames in the bytes that pass, in whatever pieces they come.
#[derive(Debug)]
struct Frames {
    /// Bytes until the next frame head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    /// How much of `head` is there.
    have: usize,
}

impl Frames {
    /// How many frames that are not free begin in `bytes`.
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut counted = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((&byte, rest)) = bytes.split_first() else {
                return counted;
            };
            if let Some(place) = self.head.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            bytes = rest;
            if self.have == HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                let [a, b, c] = [a, b, c].map(usize::from);
                self.skip = a << 16 | b << 8 | c;
                self.have = 0;
                counted += u64::from(!FREE.contains(&kind));
            }
        }
    }
}

/// What one connection may spend on such frames.
#[derive(Debug)]
pub(super) struct Budget {
    frames: Frames,
    per_second: u64,
    /// What may come at once.
    most: u64,
    /// Left, in thousandths of a frame.
    left: u64,
    at: Millis,
}

impl Budget {
    /// The whole budget of a connection that has not sent its preface.
    pub(super) fn new(limits: &Limits, now: Millis) -> Self {
        let per_second = u64::from(limits.control_frames_per_second_max);
        // A client that closes all its streams does no wrong.
        let streams = u64::from(limits.streams_per_connection_max);
        let most = per_second * BURST.as_secs() + 2 * streams;
        Self {
            frames: Frames {
                skip: PREFACE_BYTES,
                head: [0; HEAD_BYTES],
                have: 0,
            },
            per_second,
            most,
            left: most * 1_000,
            at: now,
        }
    }

    /// Takes `bytes` as they come from the client; false when it sent more than it may.
    pub(super) fn spend(&mut self, bytes: &[u8], now: impl FnOnce() -> Millis) -> bool {
        let frames = self.frames.count(bytes);
        if frames == 0 {
            return true;
        }
        let now = now();
        let earned = now
            .0
            .saturating_sub(self.at.0)
            .saturating_mul(self.per_second);
        self.at = now;
        self.left = self.left.saturating_add(earned).min(self.most * 1_000);
        let spent = frames * 1_000;
        let is_enough = spent <= self.left;
        self.left = self.left.saturating_sub(spent);
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of `kind` with `length` bytes that look like frame heads themselves.
    fn frame(kind: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut frame = vec![0, high, low, kind, 0, 0, 0, 0, 1];
        frame.extend((0..length).map(|n| if n % 9 == 3 { 6 } else { 0 }));
        frame
    }

    fn wire(frames: &[(u8, u16)]) -> Vec<u8> {
        let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        wire.extend(
            frames
                .iter()
                .flat_map(|(kind, length)| frame(*kind, *length)),
        );
        wire
    }

    fn budget(per_second: u64, most: u64) -> Budget {
        Budget {
            frames: Frames {
                skip: PREFACE_BYTES,
                head: [0; HEAD_BYTES],
                have: 0,
            },
            per_second,
            most,
            left: most * 1_000,
            at: Millis(0),
        }
    }

    #[test]
    fn frames_are_found_in_whatever_pieces_they_come() {
        for (frames, expected) in [
            (&[(4, 0)][..], 1),
            (&[(0, 5_000), (1, 300), (9, 20), (8, 4), (7, 8)], 0),
            (&[(0, 100), (3, 4), (6, 8), (2, 5), (0, 0), (16, 40)], 4),
        ] {
            let wire = wire(frames);
            for piece in [1, 2, 9, 10, 1_000, wire.len()] {
                let mut scan = budget(0, 0).frames;
                let counted: u64 = wire.chunks(piece).map(|part| scan.count(part)).sum();
                assert_eq!(counted, expected, "{frames:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_burst_and_a_steady_rate_pass_and_more_does_not() {
        let pings = |n: usize| vec![(6, 8); n];
        let mut one = budget(10, 100);
        assert!(one.spend(&wire(&pings(100)), || Millis(0)));
        let more: Vec<u8> = pings(10).iter().flat_map(|(k, l)| frame(*k, *l)).collect();
        for second in 1..50 {
            assert!(one.spend(&more, || Millis(second * 1_000)), "{second}");
        }
        assert!(!one.spend(&more, || Millis(49_500)));
        // What was not used is not saved for later.
        assert!(one.spend(&frame(0, 10), || panic!("free frames need no clock")));
        let most: Vec<u8> = pings(101).iter().flat_map(|(k, l)| frame(*k, *l)).collect();
        assert!(!one.spend(&most, || Millis(10_000_000)));
    }
}
