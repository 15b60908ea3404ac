//! What a server answers to a subscriber: an event stream, or why there is none.

use super::{
    body::Body,
    head::{self, Head, Parsed},
};
use crate::roster::Reason;

/// Takes the head off the front of `bytes` once it is whole, and those of status 1xx before it. The
/// reader of the stream behind it; `None`: more bytes are needed.
///
/// # Errors
/// Why there is no event stream.
pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Body>, Reason> {
    loop {
        let head = match head::parse(bytes) {
            Parsed::Incomplete => return Ok(None),
            Parsed::Bad => return Err("malformed head".into()),
            Parsed::Head(head) => head,
        };
        bytes.drain(..head.len);
        match head {
            Head {
                status: 100..200, ..
            } => {}
            Head {
                status: 200,
                framing,
                is_event_stream: true,
                ..
            } => return Ok(Some(Body::new(framing))),
            Head { status: 200, .. } => return Err("200 without an event stream".into()),
            Head { status, .. } => return Err(format!("status {status}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_stream_or_a_reason() {
        const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        for (text, expected, rest) in [
            (STREAM.to_owned(), Ok(true), ""),
            (format!("{STREAM}data"), Ok(true), "data"),
            // Both heads may come in one read, or the second one later.
            (
                format!("HTTP/1.1 103 Early\r\n\r\n{STREAM}x"),
                Ok(true),
                "x",
            ),
            (
                "HTTP/1.1 103 Early\r\n\r\nHTTP".to_owned(),
                Ok(false),
                "HTTP",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
                Err("200 without an event stream"),
                "",
            ),
            (
                "HTTP/1.1 503 x\r\n\r\nbody".to_owned(),
                Err("status 503"),
                "body",
            ),
            (
                "SMTP\r\n\r\n".to_owned(),
                Err("malformed head"),
                "SMTP\r\n\r\n",
            ),
        ] {
            let mut bytes = text.clone().into_bytes();
            let taken = take(&mut bytes).map(|body| body.is_some());
            assert_eq!(taken, expected.map_err(Reason::from), "{text:?}");
            assert_eq!(bytes, rest.as_bytes(), "{text:?}");
        }
    }
}
