//! A request in pingora's form, as `decide` wants to see it.

use http::{Uri, header};
use pingora::{Result, http::RequestHeader};

use crate::{
    channel::id,
    client::Client,
    decide::{LAST_EVENT_ID, RequestView, last_event_id},
    route::key::Target,
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

/// An id of ours says nothing to an app; the app's own in it does. As in the request of a channel it
/// stands in the header, also if the client gave it by `parameter` of its query.
pub(super) fn to_apps_id(head: &mut RequestHeader, parameter: &str) -> Result<()> {
    let target = Target::new(head.raw_path());
    let given = last_event_id(&head.headers, &target, parameter);
    if let Some(uri) = without(&head.uri, parameter) {
        head.set_uri(uri);
    }
    let Some(given) = given else {
        return Ok(());
    };
    let id = match id::parse(&given) {
        Some(local) => local.app_id,
        None if head.headers.contains_key(LAST_EVENT_ID) => return Ok(()),
        None => Some(given).filter(|id| id::is_sendable(id)),
    };
    head.remove_header(&LAST_EVENT_ID);
    match id {
        Some(id) => head.insert_header(LAST_EVENT_ID, id.as_ref()),
        None => Ok(()),
    }
}

/// The target without a parameter of its query. `None`: it has none of that name.
fn without(uri: &Uri, parameter: &str) -> Option<Uri> {
    let pairs = uri.query()?.split('&');
    let is_other = |pair: &&str| pair.split('=').next() != Some(parameter);
    let others: Vec<&str> = pairs.clone().filter(is_other).collect();
    if others.len() == pairs.count() {
        return None;
    }
    let mark = if others.is_empty() { "" } else { "?" };
    let target = format!("{}{mark}{}", uri.path(), others.join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
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
            let mut head = RequestHeader::build("GET", b"/?since=1", None).unwrap();
            head.insert_header(LAST_EVENT_ID, given).unwrap();
            to_apps_id(&mut head, "since").unwrap();
            let id = head.headers.get(LAST_EVENT_ID);
            assert_eq!(id.map(|id| id.to_str().unwrap()), expected, "{given}");
            assert_eq!(head.raw_path(), b"/", "the header wins");
        }
    }

    #[test]
    fn ids_in_the_query_become_a_header() {
        for (given, target, expected) in [
            ("/a", "/a", None),
            ("/a?", "/a?", None),
            ("/a?b=since=1", "/a?b=since=1", None),
            ("/a?since=", "/a", None),
            ("/a?since=7%208", "/a", Some("7 8")),
            ("/a?b&since=0000000000-5&c=1", "/a?b&c=1", None),
            ("/a?since=0000000000-5~x7&b", "/a?b", Some("x7")),
            ("/a?since=%0a", "/a", None),
        ] {
            for authority in ["", "https://shop.example:8"] {
                let mut head = RequestHeader::build("GET", given.as_bytes(), None).unwrap();
                head.set_uri(format!("{authority}{given}").parse().unwrap());
                to_apps_id(&mut head, "since").unwrap();
                let id = head.headers.get(LAST_EVENT_ID);
                assert_eq!(id.map(|id| id.to_str().unwrap()), expected, "{given}");
                assert_eq!(head.uri.to_string(), format!("{authority}{target}"));
            }
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
