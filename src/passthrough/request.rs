//! A request in pingora's form, as `decide` wants to see it.

use http::header;
use pingora::{Result, http::RequestHeader};

use crate::{
    channel::id,
    client::Client,
    decide::{LAST_EVENT_ID, RequestView},
};

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

/// An id of ours says nothing to an app; the app's own in it does.
pub(super) fn to_apps_id(head: &mut RequestHeader) -> Result<()> {
    let given = head.headers.get(LAST_EVENT_ID);
    let Some(local) = given.and_then(|id| id::parse(id.as_bytes())) else {
        return Ok(());
    };
    head.remove_header(&LAST_EVENT_ID);
    match local.app_id {
        Some(app_id) => head.insert_header(LAST_EVENT_ID, app_id.as_ref()),
        None => Ok(()),
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
    fn ids_of_ours_become_the_apps() {
        for (given, expected) in [
            ("7", Some("7")),
            ("0000000000-5", None),
            ("0000000000-5~a%207", Some("a 7")),
            ("0000000000-5~%0a", Some("0000000000-5~%0a")),
        ] {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.insert_header(LAST_EVENT_ID, given).unwrap();
            to_apps_id(&mut head).unwrap();
            let id = head.headers.get(LAST_EVENT_ID);
            assert_eq!(id.map(|id| id.to_str().unwrap()), expected, "{given}");
        }
    }

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
