//! The response head, as far as a subscriber needs it.

/// Longest head taken.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// `Content-Length`.
    Length(u64),
    /// The connection closes.
    Close,
}

/// A response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Body framing.
    pub framing: Framing,
    /// The content type is `text/event-stream`.
    pub is_event_stream: bool,
    /// Bytes of the head, its empty line included.
    pub len: usize,
}

/// What the first bytes of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole head.
    Head(Head),
    /// More bytes are needed.
    Incomplete,
    /// Not a response head, or too long.
    Bad,
}

/// Reads the head at the front of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX {
            Parsed::Bad
        } else {
            Parsed::Incomplete
        };
    };
    let text = bytes
        .get(..end)
        .and_then(|head| std::str::from_utf8(head).ok());
    text.and_then(|text| fields(text, end + 4))
        .map_or(Parsed::Bad, Parsed::Head)
}

fn fields(text: &str, len: usize) -> Option<Head> {
    let mut lines = text.split("\r\n");
    let status_line = lines.next()?.strip_prefix("HTTP/1.")?;
    let status = status_line.get(2..5)?.parse().ok()?;
    let mut head = Head {
        status,
        framing: Framing::Close,
        is_event_stream: false,
        len,
    };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            head.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && head.framing != Framing::Chunked {
            head.framing = Framing::Length(value.parse().ok()?);
        } else if name.eq_ignore_ascii_case("content-type") {
            let kind = value.split(';').next().unwrap_or_default().trim();
            head.is_event_stream = kind.eq_ignore_ascii_case("text/event-stream");
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = |status, framing, is_event_stream, len| {
            Parsed::Head(Head {
                status,
                framing,
                is_event_stream,
                len,
            })
        };
        let cases: [(&str, Parsed); 7] = [
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\ntransfer-encoding: Chunked\r\n\r\nrest",
                head(200, Framing::Chunked, true, 95),
            ),
            (
                "HTTP/1.1 503 x\r\nContent-Length: 12\r\n\r\n",
                head(503, Framing::Length(12), false, 38),
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\n",
                head(200, Framing::Close, false, 19),
            ),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", Parsed::Incomplete),
            ("SMTP\r\n\r\n", Parsed::Bad),
            ("HTTP/1.1 2x0 OK\r\n\r\n", Parsed::Bad),
            ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", Parsed::Bad),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(parse(&vec![b'a'; HEAD_BYTES_MAX + 1]), Parsed::Bad);
    }
}
