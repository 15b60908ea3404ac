//! Heads of HTTP/2 frames (RFC 9113, section 4.1), found in whatever pieces they pass in. Pure.

use h2::Reason;

/// Length of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;

/// Types of frames, RFC 9113, section 6.
pub(super) mod kind {
    pub(in crate::egress::h2) const DATA: u8 = 0x0;
    pub(in crate::egress::h2) const HEADERS: u8 = 0x1;
    pub(in crate::egress::h2) const RST_STREAM: u8 = 0x3;
    pub(in crate::egress::h2) const SETTINGS: u8 = 0x4;
    pub(in crate::egress::h2) const GOAWAY: u8 = 0x7;
    pub(in crate::egress::h2) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::egress::h2) const CONTINUATION: u8 = 0x9;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The head of one frame, as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head(pub(super) [u8; HEAD_BYTES]);

impl Head {
    /// Of a DATA frame that does not end its stream. `len` has at most 24 bits.
    pub(super) const fn data(len: u32, stream: u32) -> Self {
        let [_, a, b, c] = len.to_be_bytes();
        let [d, e, f, g] = stream.to_be_bytes();
        Self([a, b, c, kind::DATA, 0, d, e, f, g])
    }

    /// Of the DATA frame that ends its stream and carries nothing.
    pub(super) const fn end(stream: u32) -> Self {
        Self::data(0, stream).with(kind::DATA, END_STREAM)
    }

    const fn with(self, kind: u8, flags: u8) -> Self {
        let [a, b, c, _, _, d, e, f, g] = self.0;
        Self([a, b, c, kind, flags, d, e, f, g])
    }

    /// The same frame, after which more comes on its stream.
    pub(super) const fn without_end(self) -> Self {
        self.with(self.kind(), self.0[4] & !END_STREAM)
    }

    /// The same frame, of which so many bytes went before.
    pub(super) const fn shorter_by(self, len: u32) -> Self {
        let [_, a, b, c] = self.len().saturating_sub(len).to_be_bytes();
        let [_, _, _, kind, flags, d, e, f, g] = self.0;
        Self([a, b, c, kind, flags, d, e, f, g])
    }

    /// Bytes of payload.
    pub(super) const fn len(self) -> u32 {
        let [a, b, c, ..] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }

    /// Type; see [`kind`].
    pub(super) const fn kind(self) -> u8 {
        self.0[3]
    }

    const fn has(self, flag: u8) -> bool {
        self.0[4] & flag != 0
    }

    /// Its stream; 0: the connection. The reserved bit does not count.
    pub(super) const fn stream(self) -> u32 {
        let [_, _, _, _, _, a, b, c, d] = self.0;
        u32::from_be_bytes([a & 0x7f, b, c, d])
    }

    /// It answers a SETTINGS frame.
    pub(super) const fn is_ack(self) -> bool {
        self.kind() == kind::SETTINGS && self.has(ACK)
    }

    /// The sender sends nothing more on this stream.
    pub(super) const fn ends_stream(self) -> bool {
        matches!(self.kind(), kind::DATA | kind::HEADERS) && self.has(END_STREAM)
    }

    /// A part of a field block that goes on in the next frame: nothing may come between.
    pub(super) const fn continues(self) -> bool {
        matches!(self.kind(), kind::HEADERS | kind::CONTINUATION) && !self.has(END_HEADERS)
    }
}

/// A frame that tells the client that there is no more of a stream: RST_STREAM (section 6.4).
pub(super) fn reset(stream: u32, reason: Reason) -> [u8; HEAD_BYTES + 4] {
    let head = Head::data(4, stream).with(kind::RST_STREAM, 0);
    with_payload(head, u32::from(reason).to_be_bytes())
}

/// A frame that asks the client to open no more streams, and judges none of those that it has:
/// GOAWAY of the highest number (section 6.8).
pub(super) fn go_away() -> [u8; HEAD_BYTES + 8] {
    let head = Head::data(8, 0).with(kind::GOAWAY, 0);
    with_payload(head, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])
}

/// A frame that lets the other side send more on the connection: WINDOW_UPDATE (section 6.9).
pub(super) fn update(by: u32) -> [u8; HEAD_BYTES + 4] {
    let head = Head::data(4, 0).with(kind::WINDOW_UPDATE, 0);
    with_payload(head, by.to_be_bytes())
}

/// A whole frame of which this is the head.
pub(super) fn with_payload<const N: usize, const M: usize>(
    head: Head,
    payload: [u8; N],
) -> [u8; M] {
    let mut frame = [0; M];
    for (place, byte) in frame.iter_mut().zip(head.0.into_iter().chain(payload)) {
        *place = byte;
    }
    frame
}

/// A piece of what passes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// A head is complete.
    Head(Head),
    /// Payload of the last head.
    Payload(&'b [u8]),
}

/// Finds the frames in the bytes that pass.
#[derive(Debug, Default)]
pub(super) struct Walker {
    head: [u8; HEAD_BYTES],
    /// How much of `head` is there.
    have: usize,
    /// Payload to come.
    left: usize,
}

impl Walker {
    /// What passed ends with a frame.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// The payload of the last head has passed.
    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0
    }

    /// The next piece of `bytes`, which is taken off them. `None`: they are used up.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Piece<'b>> {
        if self.left > 0 {
            let (part, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
            *bytes = rest;
            self.left -= part.len();
            return (!part.is_empty()).then_some(Piece::Payload(part));
        }
        let space = self.head.get_mut(self.have..).unwrap_or_default();
        let take = space.len().min(bytes.len());
        let (part, rest) = bytes.split_at_checked(take)?;
        for (place, byte) in space.iter_mut().zip(part) {
            *place = *byte;
        }
        *bytes = rest;
        self.have += take;
        if self.have < HEAD_BYTES {
            return None;
        }
        let head = Head(self.head);
        self.have = 0;
        self.left = head.len() as usize;
        Some(Piece::Head(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_in_whatever_pieces_they_come() {
        let mut wire = Vec::new();
        // Payloads that look like heads themselves.
        for (len, kind, flags, stream) in [(5, 0, 1, 1), (0, 4, 1, 0), (300, 1, 4, 3), (9, 9, 0, 3)]
        {
            let [_, a, b, c] = u32::to_be_bytes(len);
            let [d, e, f, g] = u32::to_be_bytes(stream);
            wire.extend([a, b, c, kind, flags, d, e, f, g]);
            wire.extend((0..len).map(|n| n.to_le_bytes()[0]));
        }
        for size in [1, 2, 8, 9, 10, 100, wire.len()] {
            let mut walker = Walker::default();
            let (mut heads, mut payload) = (Vec::new(), 0);
            for mut part in wire.chunks(size) {
                while let Some(piece) = walker.next(&mut part) {
                    match piece {
                        Piece::Head(head) => heads.push((head.len(), head.kind(), head.stream())),
                        Piece::Payload(part) => payload += part.len(),
                    }
                }
            }
            assert_eq!(
                heads,
                [(5, 0, 1), (0, 4, 0), (300, 1, 3), (9, 9, 3)],
                "{size}"
            );
            assert_eq!(payload, 314, "{size}");
            assert!(walker.is_between_frames());
        }
    }

    #[test]
    fn a_head_tells_what_its_flags_mean() {
        let head = |kind, flags| Head([0, 0, 0, kind, flags, 0x80, 0, 0, 7]);
        assert_eq!(head(kind::DATA, 0).stream(), 7);
        assert!(head(kind::DATA, 1).ends_stream());
        assert!(head(kind::HEADERS, 5).ends_stream());
        assert!(!head(kind::SETTINGS, 1).ends_stream());
        assert!(head(kind::SETTINGS, 1).is_ack());
        assert!(!head(6, 1).is_ack());
        assert!(head(kind::HEADERS, 1).continues());
        assert!(head(kind::CONTINUATION, 0).continues());
        assert!(!head(kind::CONTINUATION, 4).continues());
        assert!(!head(kind::DATA, 0).continues());
        let data = Head::data(0x01_02_03, 0x7fff_ffff);
        assert_eq!((data.len(), data.stream()), (0x01_02_03, 0x7fff_ffff));
    }
}
