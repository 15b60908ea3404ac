//! A request in pingora's form, as `decide` wants to see it.

use http::header;
use pingora::{Result, http::RequestHeader};

use super::turnstile::Client;
use crate::decide::RequestView;

/// The view of a request that decides, whichever protocol it came by.
#[must_use]
pub fn view<'a>(head: &'a RequestHeader, client: Client, has_body: bool) -> RequestView<'a> {
    let host = head
        .uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| head.headers.get(header::HOST)?.to_str().ok());
    RequestView {
        method: &head.method,
        target: head.raw_path(),
        host: host.unwrap_or_default(),
        forwarded_host: client.host(&head.headers),
        scheme: client.scheme,
        headers: &head.headers,
        has_body,
        client: client.address,
    }
}

/// An absolute-form target becomes origin-form; its authority equals `Host`, as checked before.
pub(super) fn to_origin_form(head: &mut RequestHeader) -> Result<()> {
    let target = head.raw_path();
    if target.first() == Some(&b'/') || target == b"*" {
        return Ok(());
    }
    let after_scheme = target
        .windows(3)
        .position(|part| part == b"://")
        .map(|at| at + 3);
    let rest = after_scheme
        .and_then(|at| target.get(at..))
        .unwrap_or_default();
    let path_at = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let mut origin = path_at
        .and_then(|at| rest.get(at..))
        .unwrap_or_default()
        .to_vec();
    if origin.first() != Some(&b'/') {
        origin.insert(0, b'/');
    }
    head.set_raw_path(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_targets_become_origin_form_and_others_stay() {
        for (target, expected) in [
            ("/a?b", "/a?b"),
            ("*", "*"),
            ("http://h/a?b", "/a?b"),
            ("https://h:8/", "/"),
            ("http://h", "/"),
            ("http://h?b", "/?b"),
            ("/http://h/a", "/http://h/a"),
        ] {
            let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            to_origin_form(&mut head).unwrap();
            assert_eq!(head.raw_path(), expected.as_bytes(), "{target}");
        }
    }
}
