//! Where the body of an HTTP/1 request ends. Pure.
//!
//! The proxy below us is handed exactly one request at a time ([`super::turnstile`]); this module
//! is what knows the end. It accepts the strict form of RFC 9112 section 7.1 only: CRLF everywhere,
//! hexadecimal sizes, bounded extensions and trailers.

use std::fmt;

/// How a request announces its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`, above zero.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Longest chunk-size line, extensions included. Extensions mean nothing to us; a client has no
/// reason to send long ones.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// All trailer lines of one request together.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Hexadecimal digits of a chunk size: 15 of them stay far below `u64::MAX`.
const SIZE_DIGITS_MAX: usize = 15;

/// The client broke the chunked framing; nothing after this point can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFraming(pub &'static str);

impl fmt::Display for BadFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadFraming {}

/// Measures a body as its bytes pass.
#[derive(Debug)]
pub struct Meter {
    state: State,
    /// Bytes of the line or trailer section being read.
    line: usize,
    /// What apps are forgiven, and clients are not.
    is_answer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    /// Reading hexadecimal digits: value so far and their number.
    Size {
        value: u64,
        digits: usize,
    },
    /// After the digits, up to the CR.
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

impl Meter {
    /// A meter at the start of a body.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
            },
        };
        Self {
            state,
            line: 0,
            is_answer: false,
        }
    }

    /// The same for an answer, of an app that may pad its chunk sizes, fold its trailers, and write
    /// what it likes into extensions: servers in use do, and clients read it.
    #[must_use]
    pub const fn of_answer(framing: Framing) -> Self {
        Self {
            is_answer: true,
            ..Self::new(framing)
        }
    }

    /// The last chunk has passed, and what follows are trailers, or the empty line behind them.
    #[must_use]
    pub const fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerStart | State::Trailer | State::TrailerLf | State::EndLf
        )
    }

    /// The body is complete; no further byte belongs to it.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the bytes that belong to the body from the front of `bytes` and says how many.
    ///
    /// # Errors
    /// The chunked framing is broken.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BadFraming> {
        self.take_while(bytes, |meter| !meter.is_done())
    }

    /// Takes no more than what stands before the trailers.
    ///
    /// # Errors
    /// The chunked framing is broken.
    pub fn take_content(&mut self, bytes: &[u8]) -> Result<usize, BadFraming> {
        self.take_while(bytes, |meter| !meter.is_done() && !meter.is_in_trailers())
    }

    fn take_while(
        &mut self,
        bytes: &[u8],
        wanted: impl Fn(&Self) -> bool,
    ) -> Result<usize, BadFraming> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..)
            && let Some(&byte) = rest.first()
            && wanted(self)
        {
            taken += match self.state {
                State::Length(left) => {
                    let (n, left) = spend(left, rest.len());
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    n
                }
                State::Data(left) => {
                    let (n, left) = spend(left, rest.len());
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data(left)
                    };
                    n
                }
                State::Done
                | State::Size { .. }
                | State::Extension { .. }
                | State::SizeLf { .. }
                | State::DataCr
                | State::DataLf
                | State::TrailerStart
                | State::Trailer
                | State::TrailerLf
                | State::EndLf => {
                    self.state = self.step(byte)?;
                    1
                }
            };
        }
        debug_assert!(taken <= bytes.len());
        Ok(taken)
    }

    /// One byte of chunk syntax.
    fn step(&mut self, byte: u8) -> Result<State, BadFraming> {
        self.line += 1;
        let in_trailer = matches!(
            self.state,
            State::TrailerStart | State::Trailer | State::TrailerLf
        );
        if self.line
            > if in_trailer {
                TRAILER_BYTES_MAX
            } else {
                SIZE_LINE_BYTES_MAX
            }
        {
            return Err(BadFraming("chunk size line or trailers too long"));
        }
        match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(BadFraming("chunk size too large"));
                }
                let digit = u64::from(char::from(byte).to_digit(16).unwrap_or(0));
                Ok(State::Size {
                    value: value << 4 | digit,
                    digits: digits + 1,
                })
            }
            (State::Size { digits: 0, .. }, _) => Err(BadFraming("chunk size is not a number")),
            (State::Size { value, .. }, b';') => Ok(State::Extension { value }),
            (State::Size { value, .. }, b' ' | b'\t') | (State::Extension { value }, 0x80..)
                if self.is_answer =>
            {
                Ok(State::Extension { value })
            }
            (State::TrailerStart, b' ' | b'\t') if self.is_answer => Ok(State::Trailer),
            (State::Size { value, .. } | State::Extension { value }, b'\r') => {
                Ok(State::SizeLf { value })
            }
            (State::Extension { value }, b'\t' | b' '..=b'~') => Ok(State::Extension { value }),
            (State::SizeLf { value }, b'\n') => {
                self.line = 0;
                Ok(if value == 0 {
                    State::TrailerStart
                } else {
                    State::Data(value)
                })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line = 0;
                Ok(State::Size {
                    value: 0,
                    digits: 0,
                })
            }
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::TrailerStart, b'!'..=b'~') => Ok(State::Trailer),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Trailer),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(BadFraming("chunked encoding is malformed")),
        }
    }
}

/// Takes up to `available` bytes off `left`: how many, and what is left then.
fn spend(left: u64, available: usize) -> (usize, u64) {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(available);
    (n, left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `piece` bytes; the number of bytes taken, and whether done.
    fn run(framing: Framing, input: &[u8], piece: usize) -> Result<(usize, bool), BadFraming> {
        let mut meter = Meter::new(framing);
        let mut taken = 0;
        for part in input.chunks(piece) {
            let n = meter.take(part)?;
            taken += n;
            if n < part.len() {
                break;
            }
        }
        Ok((taken, meter.is_done()))
    }

    fn check(framing: Framing, input: &str, expected: Result<(usize, bool), ()>) {
        for piece in [1, 2, 3, 7, 1000] {
            let got = run(framing, input.as_bytes(), piece).map_err(|_| ());
            assert_eq!(got, expected, "{input:?} in pieces of {piece}");
        }
    }

    #[test]
    fn length_and_none_end_where_they_say() {
        check(Framing::None, "GET", Ok((0, true)));
        check(Framing::Length(0), "GET", Ok((0, true)));
        check(Framing::Length(3), "abcGET", Ok((3, true)));
        check(Framing::Length(9), "abc", Ok((3, false)));
    }

    #[test]
    fn chunked_ends_after_the_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A;name=\"v\"\r\n0123456789\r\n000\r\nX-T: 1\r\nY: \u{e9}\r\n\r\n",
        ] {
            check(Framing::Chunked, body, Ok((body.len(), true)));
            check(
                Framing::Chunked,
                &format!("{body}GET / HTTP/1.1"),
                Ok((body.len(), true)),
            );
        }
        check(Framing::Chunked, "3\r\nabc\r\n0\r\n", Ok((11, false)));
    }

    #[test]
    fn broken_chunks_are_errors() {
        for body in [
            "\r\n",
            "g\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "-1\r\n",
            "3\nabc\r\n",
            "3\rabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "0\r\n\n",
            "0\r\n folded: 1\r\n\r\n",
            "0\r\nA: 1\n\r\n",
            "1;a=\u{0}\r\na\r\n",
            "FFFFFFFFFFFFFFFFF\r\n",
        ] {
            check(Framing::Chunked, body, Err(()));
        }
        check(Framing::Chunked, &format!("1;{}", "x".repeat(300)), Err(()));
        check(
            Framing::Chunked,
            &format!("0\r\nA: {}", "x".repeat(9000)),
            Err(()),
        );
    }
}
