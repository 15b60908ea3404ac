//! Which protocol a plain-text connection speaks, from its first bytes. Pure.
//!
//! Pingora's own detection reads 24 bytes without a deadline: a client that sends fewer, be it the
//! complete request `GET / HTTP/1.0`, would wait for ever.

/// RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// Too early to say; never after the first byte that differs from the preface.
    Unknown,
    /// HTTP/1, or nothing that we know: the head gate will tell.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Looks at everything received so far.
#[must_use]
pub fn detect(bytes: &[u8]) -> Detected {
    if bytes.starts_with(PREFACE) {
        Detected::Http2
    } else if PREFACE.starts_with(bytes) {
        Detected::Unknown
    } else {
        Detected::Http1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_byte_decides() {
        for (bytes, expected) in [
            (&b""[..], Detected::Unknown),
            (b"P", Detected::Unknown),
            (b"PO", Detected::Http1),
            (b"GET / HTTP/1.0\r\n\r\n", Detected::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Detected::Unknown),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected::Http2),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04",
                Detected::Http2,
            ),
            (b"PRI * HTTP/2.0\r\n\r\nGET", Detected::Http1),
        ] {
            assert_eq!(detect(bytes), expected, "{bytes:?}");
        }
    }
}
