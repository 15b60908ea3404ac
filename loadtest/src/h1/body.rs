//! An incremental reader of response bodies; hands on slices of what it is given, copies nothing.

use super::head::Framing;
use crate::roster::COMPLETED;

/// Largest chunk that is believed.
const CHUNK_BYTES_MAX: u64 = 1 << 30;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By its own framing.
    Complete,
    /// The framing is broken.
    Malformed,
}

impl End {
    /// What a report says of it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Complete => COMPLETED,
            Self::Malformed => "malformed chunked framing",
        }
    }
}

/// Reader of one body.
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything is body.
    Close,
    /// So many bytes are left.
    Length(u64),
    /// Inside the hex digits of a chunk size; true after the first one.
    Size(u64, bool),
    /// After the digits: an extension, up to the LF.
    SizeLine(u64),
    /// So many bytes of the chunk are left.
    Data(u64),
    /// CR, then LF, after the data.
    DataCr,
    DataLf,
    /// A trailer line; true when it has bytes.
    Trailer(bool),
    Over(End),
}

impl Body {
    /// A reader for a framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Chunked => State::Size(0, false),
            Framing::Length(0) => State::Over(End::Complete),
            Framing::Length(length) => State::Length(length),
            Framing::Close => State::Close,
        })
    }

    /// Takes the next bytes; `body` gets the content. `Some` when the body is over.
    pub fn feed(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> Option<End> {
        loop {
            match self.0 {
                State::Over(end) => return Some(end),
                _ if bytes.is_empty() => return None,
                State::Close => {
                    body(bytes);
                    return None;
                }
                State::Length(left) | State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (content, rest) = bytes.split_at_checked(take).unwrap_or((bytes, b""));
                    body(content);
                    bytes = rest;
                    self.0 = self.0.after_content(left - take as u64);
                }
                State::Size(..)
                | State::SizeLine(_)
                | State::DataCr
                | State::DataLf
                | State::Trailer(_) => {
                    let (&byte, rest) = bytes.split_first()?;
                    self.0 = self.0.after_byte(byte);
                    bytes = rest;
                }
            }
        }
    }

    /// True when the end of the connection is the end of the body.
    #[must_use]
    pub fn ends_by_close(&self) -> bool {
        self.0 == State::Close
    }
}

impl State {
    fn after_content(self, left: u64) -> Self {
        match (self, left) {
            (Self::Data(_), 0) => Self::DataCr,
            (Self::Data(_), left) => Self::Data(left),
            (_, 0) => Self::Over(End::Complete),
            (_, left) => Self::Length(left),
        }
    }

    fn after_byte(self, byte: u8) -> Self {
        const MALFORMED: State = State::Over(End::Malformed);
        match (self, byte) {
            (Self::Size(size, has_digits), _) => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if size < CHUNK_BYTES_MAX => {
                    Self::Size(size * 16 + u64::from(digit), true)
                }
                (None, b'\r' | b';' | b' ') if has_digits => Self::SizeLine(size),
                _ => MALFORMED,
            },
            (Self::SizeLine(0), b'\n') => Self::Trailer(false),
            (Self::SizeLine(size), b'\n') => Self::Data(size),
            (Self::SizeLine(_), _) => self,
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0, false),
            (Self::Trailer(false), b'\n') => Self::Over(End::Complete),
            (Self::Trailer(has_bytes), b'\r') => Self::Trailer(has_bytes),
            (Self::Trailer(_), byte) => Self::Trailer(byte != b'\n'),
            _ => MALFORMED,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(framing: Framing, chunks: &[&[u8]]) -> (Vec<u8>, Option<End>) {
        let mut body = Body::new(framing);
        let (mut content, mut end) = (Vec::new(), None);
        for chunk in chunks {
            end = body.feed(chunk, |bytes| content.extend_from_slice(bytes));
        }
        (content, end)
    }

    #[test]
    fn bodies_are_unframed() {
        let complete = Some(End::Complete);
        let malformed = Some(End::Malformed);
        let cases: [(Framing, &str, &str, Option<End>); 10] = [
            (
                Framing::Chunked,
                "3\r\nabc\r\nA;x=y\r\n0123456789\r\n",
                "abc0123456789",
                None,
            ),
            (Framing::Chunked, "1\r\na\r\n0\r\n\r\n", "a", complete),
            (
                Framing::Chunked,
                "1\r\na\r\n0\r\nT: x\r\n\r\n",
                "a",
                complete,
            ),
            (Framing::Chunked, "3\r\nab", "ab", None),
            (Framing::Chunked, "x\r\n", "", malformed),
            (Framing::Chunked, "1\r\nab\r\n", "a", malformed),
            (Framing::Chunked, "\r\n", "", malformed),
            (Framing::Chunked, "fffffffffff\r\n", "", malformed),
            (Framing::Length(3), "abcd", "abc", complete),
            (Framing::Close, "abcd", "abcd", None),
        ];
        for (framing, text, content, end) in cases {
            let expected = (content.as_bytes().to_vec(), end);
            assert_eq!(read(framing, &[text.as_bytes()]), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_content(
            pieces in prop::collection::vec("[a-z]{1,40}", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let framed: String = pieces.iter().map(|p| format!("{:x}\r\n{p}\r\n", p.len())).collect();
            let framed = format!("{framed}0\r\n\r\n");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(framed.len() + 1)).collect();
            at.extend([0, framed.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &framed.as_bytes()[w[0]..w[1]]).collect();
            let (content, end) = read(Framing::Chunked, &chunks);
            prop_assert_eq!(content, pieces.concat().into_bytes());
            prop_assert_eq!(end, Some(End::Complete));
        }
    }
}
