//! HTTP/2 frames (RFC 9113, section 4), read incrementally: DATA is handed on in slices as it comes,
//! other frames whole.

/// Largest payload of a frame (RFC 9113, section 4.2): we never ask for more than the default.
const PAYLOAD_BYTES_MAX: u32 = 16_384;

/// Frame types.
pub mod kind {
    /// Body bytes.
    pub const DATA: u8 = 0;
    /// Opens a stream, or answers on it.
    pub const HEADERS: u8 = 1;
    /// Resets a stream.
    pub const RST_STREAM: u8 = 3;
    /// Parameters of the peer.
    pub const SETTINGS: u8 = 4;
    /// Liveness.
    pub const PING: u8 = 6;
    /// The peer is leaving.
    pub const GOAWAY: u8 = 7;
    /// Flow-control credit.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a header block.
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub mod flag {
    /// Of SETTINGS and PING: an acknowledgement.
    pub const ACK: u8 = 0x1;
    /// The last frame of the sender on this stream.
    pub const END_STREAM: u8 = 0x1;
    /// The header block is whole.
    pub const END_HEADERS: u8 = 0x4;
    /// A pad length stands in front, padding behind.
    pub const PADDED: u8 = 0x8;
    /// Priority fields stand in front.
    pub const PRIORITY: u8 = 0x20;
}

/// Something read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Some bytes of a DATA frame, padding left out.
    Data {
        /// Stream.
        stream: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A DATA frame is through.
    DataEnd {
        /// Stream.
        stream: u32,
        /// What it counts for flow control, padding included.
        flow_bytes: u32,
        /// The stream is complete.
        end_stream: bool,
    },
    /// Any other frame.
    Frame {
        /// Type, see [`kind`].
        kind: u8,
        /// Flags, see [`flag`].
        flags: u8,
        /// Stream; 0 is the connection.
        stream: u32,
        /// Payload.
        payload: &'a [u8],
    },
}

impl Piece<'_> {
    /// True when it goes on with the header block of a stream: nothing else may stand before the end
    /// of one (RFC 9113, section 6.10).
    #[must_use]
    pub fn continues(&self, block_of: u32) -> bool {
        match self {
            Self::Frame { kind, stream, .. } => (*kind, *stream) == (kind::CONTINUATION, block_of),
            Self::Data { .. } | Self::DataEnd { .. } => false,
        }
    }
}

/// The peer broke the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Reader of one connection.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of an unfinished head, or of an unfinished frame that is not DATA.
    held: Vec<u8>,
    /// A DATA frame in progress.
    data: Option<Data>,
}

#[derive(Debug)]
struct Data {
    stream: u32,
    end_stream: bool,
    flow_bytes: u32,
    /// The pad length byte is still to come.
    awaits_padding: bool,
    content_left: usize,
    padding_left: usize,
}

const HEAD_BYTES: usize = 9;

impl Frames {
    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// [`Malformed`] when a length is not believable; the connection is of no more use.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut piece: impl FnMut(Piece<'_>),
    ) -> Result<(), Malformed> {
        loop {
            if let Some(data) = &mut self.data {
                bytes = data.feed(bytes, &mut piece)?;
                if !data.is_through() {
                    return Ok(());
                }
                piece(data.end());
                self.data = None;
            } else if self.held.is_empty() {
                let Some((head, rest)) = Head::split(bytes) else {
                    self.held.extend_from_slice(bytes);
                    return Ok(());
                };
                match head.check()? {
                    Some(data) => (self.data, bytes) = (Some(data), rest),
                    None => match rest.split_at_checked(head.length as usize) {
                        Some((payload, rest)) => {
                            piece(head.frame(payload));
                            bytes = rest;
                        }
                        None => {
                            self.held.extend_from_slice(bytes);
                            return Ok(());
                        }
                    },
                }
            } else {
                match self.complete_held(bytes, &mut piece)? {
                    Some(rest) => bytes = rest,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Adds to the held bytes what they lack; `None` when that is not all here.
    fn complete_held<'a>(
        &mut self,
        bytes: &'a [u8],
        piece: &mut impl FnMut(Piece<'_>),
    ) -> Result<Option<&'a [u8]>, Malformed> {
        let bytes = self.hold_up_to(HEAD_BYTES, bytes);
        let Some((head, _)) = Head::split(&self.held) else {
            return Ok(None);
        };
        if let Some(data) = head.check()? {
            self.held.clear();
            self.data = Some(data);
            return Ok(Some(bytes));
        }
        let whole = HEAD_BYTES + head.length as usize;
        let bytes = self.hold_up_to(whole, bytes);
        if self.held.len() < whole {
            return Ok(None);
        }
        piece(head.frame(self.held.get(HEAD_BYTES..).unwrap_or_default()));
        // A fresh vector: an idle connection keeps no buffer.
        self.held = Vec::new();
        Ok(Some(bytes))
    }

    fn hold_up_to<'a>(&mut self, len: usize, bytes: &'a [u8]) -> &'a [u8] {
        let lacking = len.saturating_sub(self.held.len());
        let (add, rest) = split_at_most(bytes, lacking);
        self.held.extend_from_slice(add);
        rest
    }
}

impl Data {
    /// Hands on what is there of this frame; returns the bytes behind it.
    fn feed<'a>(
        &mut self,
        mut bytes: &'a [u8],
        piece: &mut impl FnMut(Piece<'_>),
    ) -> Result<&'a [u8], Malformed> {
        if self.awaits_padding {
            let Some((&padding, rest)) = bytes.split_first() else {
                return Ok(bytes);
            };
            self.padding_left = usize::from(padding);
            self.content_left = self
                .content_left
                .checked_sub(1 + self.padding_left)
                .ok_or(Malformed)?;
            self.awaits_padding = false;
            bytes = rest;
        }
        let (content, rest) = split_at_most(bytes, self.content_left);
        if !content.is_empty() {
            piece(Piece::Data {
                stream: self.stream,
                bytes: content,
            });
        }
        self.content_left -= content.len();
        // Content that is not all here leaves no bytes for padding.
        let (padding, rest) = split_at_most(rest, self.padding_left);
        self.padding_left -= padding.len();
        Ok(rest)
    }

    fn is_through(&self) -> bool {
        !self.awaits_padding && self.content_left + self.padding_left == 0
    }

    fn end(&self) -> Piece<'static> {
        Piece::DataEnd {
            stream: self.stream,
            flow_bytes: self.flow_bytes,
            end_stream: self.end_stream,
        }
    }
}

/// The first `len` bytes, or all there are, and the rest.
fn split_at_most(bytes: &[u8], len: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(len).unwrap_or((bytes, b""))
}

#[derive(Debug, Clone, Copy)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[l0, l1, l2, kind, flags, s0, s1, s2, s3], rest) = bytes.split_first_chunk()?;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Some((
            Self {
                length,
                kind,
                flags,
                stream,
            },
            rest,
        ))
    }

    /// Checks the length; DATA gets a reader of its own.
    fn check(self) -> Result<Option<Data>, Malformed> {
        if self.length > PAYLOAD_BYTES_MAX {
            return Err(Malformed);
        }
        if self.kind != kind::DATA {
            return Ok(None);
        }
        let padded = self.flags & flag::PADDED != 0;
        if self.stream == 0 || (padded && self.length == 0) {
            return Err(Malformed);
        }
        Ok(Some(Data {
            stream: self.stream,
            end_stream: self.flags & flag::END_STREAM != 0,
            flow_bytes: self.length,
            awaits_padding: padded,
            content_left: self.length as usize,
            padding_left: 0,
        }))
    }

    fn frame(self, payload: &[u8]) -> Piece<'_> {
        Piece::Frame {
            kind: self.kind,
            flags: self.flags,
            stream: self.stream,
            payload,
        }
    }
}

/// Appends a frame.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, l0, l1, l2] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a connection carried: DATA content and end per stream, other frames as they are.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        content: std::collections::BTreeMap<u32, Vec<u8>>,
        ends: Vec<(u32, u32, bool)>,
        frames: Vec<(u8, u8, u32, Vec<u8>)>,
    }

    fn read(chunks: &[&[u8]]) -> Result<Seen, Malformed> {
        let (mut frames, mut seen) = (Frames::default(), Seen::default());
        for chunk in chunks {
            frames.feed(chunk, |piece| match piece {
                Piece::Data { stream, bytes } => {
                    seen.content
                        .entry(stream)
                        .or_default()
                        .extend_from_slice(bytes);
                }
                Piece::DataEnd {
                    stream,
                    flow_bytes,
                    end_stream,
                } => {
                    seen.ends.push((stream, flow_bytes, end_stream));
                }
                Piece::Frame {
                    kind,
                    flags,
                    stream,
                    payload,
                } => {
                    seen.frames.push((kind, flags, stream, payload.to_vec()));
                }
            })?;
        }
        Ok(seen)
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, kind, flags, stream, payload);
        out
    }

    #[test]
    fn padding_is_left_out_but_counts_for_flow_control() {
        let bytes = frame(kind::DATA, flag::PADDED | flag::END_STREAM, 3, b"\x02abcxx");
        let seen = read(&[&bytes]).unwrap();
        assert_eq!(seen.content[&3], b"abc");
        assert_eq!(seen.ends, [(3, 6, true)]);
    }

    #[test]
    fn an_empty_data_frame_can_end_a_stream() {
        let seen = read(&[&frame(kind::DATA, flag::END_STREAM, 1, b"")]).unwrap();
        assert_eq!(seen.ends, [(1, 0, true)]);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        let cases: [&[u8]; 5] = [
            &frame(kind::DATA, flag::PADDED, 3, b"\x04abc"),
            &frame(kind::DATA, flag::PADDED, 3, b""),
            &frame(kind::DATA, 0, 0, b"x"),
            &[0x00, 0x40, 0x01, kind::PING, 0, 0, 0, 0, 0],
            &[0x00, 0x40, 0x01, kind::DATA, 0, 0, 0, 0, 1],
        ];
        for bytes in cases {
            assert_eq!(read(&[bytes]), Err(Malformed), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same_frames(
            frames in prop::collection::vec(
                (0_u8..10, any::<u8>(), 1_u32..9, prop::collection::vec(0_u8..3, 1..60)), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&chunks), read(&[&bytes]));
        }
    }
}
