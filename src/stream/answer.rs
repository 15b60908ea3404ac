//! The app's head as the client gets it. Pure.

use http::{StatusCode, Version, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

use crate::{config::model::Cors, cors, passthrough::forward};

/// What an answer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Events, between which comments may stand.
    Events,
    /// Anything else: not a byte of ours.
    Plain,
}

/// Prepares a final head for the client that sent `request`.
///
/// # Errors
/// A value cannot stand in a header field.
pub(super) fn for_client(head: &mut ResponseHeader, request: &RequestHeader) -> Result<Form> {
    forward::response(head);
    forward::unbuffered(head)?;
    let is_readable = head
        .headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let form = if head.status == StatusCode::OK
        && is_readable
        && forward::is_event_stream(&head.headers)
    {
        // Our comments would not be in it.
        head.remove_header(&header::CONTENT_LENGTH);
        Form::Events
    } else {
        Form::Plain
    };
    let has_body = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    if request.version == Version::HTTP_10 {
        // It knows no chunks: the end of the connection is the end of the body.
        head.remove_header(&header::TRANSFER_ENCODING);
    } else if has_body
        && !head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
    {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(form)
}

/// Puts the word of a route that fans out in place of what the app says to pages of other origins.
///
/// # Errors
/// A value cannot stand in a header field.
pub(super) fn allow(head: &mut ResponseHeader, cors: &Cors, origin: Option<&[u8]>) -> Result<()> {
    let spoken: Vec<_> = head
        .headers
        .keys()
        .filter(|name| cors::is_about(name))
        .cloned()
        .collect();
    for name in &spoken {
        head.remove_header(name);
    }
    let varies = head.headers.get_all(header::VARY).iter();
    let mut lines: cors::Lines = varies.map(|value| (header::VARY, value.clone())).collect();
    let said = lines.len();
    cors::apply(&mut lines, cors, origin);
    for (name, value) in lines.into_iter().skip(said) {
        head.append_header(name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed_for_their_client() {
        const EVENTS: (&str, &str) = ("Content-Type", "text/event-stream");
        const LENGTH: (&str, &str) = ("Content-Length", "9");
        const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");
        for (version, status, fields, form, framing) in [
            (
                Version::HTTP_11,
                200,
                &[EVENTS, CHUNKED][..],
                Form::Events,
                Some("chunked"),
            ),
            (
                Version::HTTP_2,
                200,
                &[EVENTS],
                Form::Events,
                Some("chunked"),
            ),
            (
                Version::HTTP_11,
                200,
                &[EVENTS, LENGTH],
                Form::Events,
                Some("chunked"),
            ),
            (
                Version::HTTP_10,
                200,
                &[EVENTS, CHUNKED],
                Form::Events,
                None,
            ),
            (
                Version::HTTP_11,
                200,
                &[EVENTS, ("Content-Encoding", "gzip")],
                Form::Plain,
                Some("chunked"),
            ),
            (
                Version::HTTP_11,
                200,
                &[EVENTS, ("Content-Encoding", "identity")],
                Form::Events,
                Some("chunked"),
            ),
            (
                Version::HTTP_11,
                404,
                &[EVENTS, LENGTH],
                Form::Plain,
                Some("9"),
            ),
            (Version::HTTP_11, 200, &[LENGTH], Form::Plain, Some("9")),
            (Version::HTTP_11, 204, &[], Form::Plain, None),
            (Version::HTTP_11, 202, &[], Form::Plain, Some("chunked")),
        ] {
            let case = format!("{version:?} {status} {fields:?}");
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.set_version(version);
            let mut head = ResponseHeader::build(status, None).unwrap();
            for (name, value) in fields {
                head.append_header(*name, *value).unwrap();
            }
            assert_eq!(for_client(&mut head, &request).unwrap(), form, "{case}");
            let found = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
                .iter()
                .find_map(|name| head.headers.get(name)?.to_str().ok());
            assert_eq!(found, framing, "{case}");
        }
    }
}
