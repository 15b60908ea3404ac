use http::HeaderValue;

use super::*;

fn config() -> Config {
    const SOURCE: &str = "
version: 1
listeners: [{ address: '127.0.0.1:0' }]
upstreams: { app: 'http://127.0.0.1:1' }
routes:
  - { name: feed, path: '/feed/{name}', action: fanout }
  - { name: open, path: '/open/{name}', action: fanout, methods: [GET],
      cors: { origins: ['https://a.example'], credentials: true } }
  - { name: chat, path: /chat, action: stream }
  - { name: rest, path: '/rest/{*path}', action: proxy }
";
    match crate::config::load(SOURCE, "test.yaml", &|_| None) {
        Ok(config) => config,
        Err(report) => panic!("{report}"),
    }
}

fn decided(method: Method, target: &str, pairs: &[(&'static str, &'static str)]) -> Decision {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let request = RequestView {
        method: &method,
        target: target.as_bytes(),
        host: "h",
        forwarded_host: None,
        scheme: Scheme::Http,
        headers: &headers,
        has_body: false,
        client: None,
    };
    decide(&request, &config())
}

fn joined(target: &str, pairs: &[(&'static str, &'static str)]) -> FanOut {
    match decided(Method::GET, target, pairs) {
        Decision::FanOut(fan_out) => *fan_out,
        other @ (Decision::Proxy(_)
        | Decision::Stream(_)
        | Decision::Refuse(_)
        | Decision::Answer(_)) => panic!("{target}: {other:?}"),
    }
}

#[test]
fn each_action_is_taken_by_its_route() {
    assert!(matches!(
        decided(Method::GET, "/feed/a", &[]),
        Decision::FanOut(_)
    ));
    assert!(matches!(
        decided(Method::POST, "/chat", &[]),
        Decision::Stream(_)
    ));
    assert!(matches!(
        decided(Method::GET, "/rest/a/b", &[]),
        Decision::Proxy(_)
    ));
    let Decision::Refuse(refusal) = decided(Method::GET, "/nowhere", &[]) else {
        panic!()
    };
    assert_eq!(
        (refusal.status.as_u16(), refusal.reason),
        (404, RefuseReason::NoRoute)
    );
}

#[test]
fn only_a_plain_get_shares() {
    for method in [Method::HEAD, Method::OPTIONS, Method::POST, Method::DELETE] {
        assert!(matches!(
            decided(method, "/feed/a", &[]),
            Decision::Proxy(_)
        ));
    }
    let upgrade = decided(Method::GET, "/feed/a", &[("upgrade", "WebSocket")]);
    assert!(matches!(upgrade, Decision::Proxy(_)));
    let h2c = decided(Method::GET, "/feed/a", &[("upgrade", "h2c")]);
    assert!(
        matches!(h2c, Decision::FanOut(_)),
        "RFC 9110 section 7.8: an upgrade may be ignored"
    );
}

#[test]
fn a_path_with_two_readings_is_refused_on_fan_out_only() {
    let Decision::Refuse(refusal) = decided(Method::GET, "/feed/%2e%2e", &[]) else {
        panic!()
    };
    assert_eq!(refusal.status.as_u16(), 400);
    let encoded_slash = "/rest/a%2Fb%25";
    assert!(matches!(
        decided(Method::GET, encoded_slash, &[]),
        Decision::Proxy(_)
    ));
}

#[test]
fn no_route_is_reached_by_another_spelling_of_its_path() {
    for path in [
        "/rest/../feed/a",
        "/rest/%2e%2e/feed/a",
        "/rest/a\\b",
        "/rest/%00",
    ] {
        let Decision::Refuse(refusal) = decided(Method::GET, path, &[]) else {
            panic!("{path}")
        };
        assert_eq!(refusal.status.as_u16(), 400, "{path}");
    }
}

#[test]
fn the_last_event_id_comes_by_header_or_query() {
    let id = |target, pairs| joined(target, pairs).last_event_id;
    let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(id("/feed/a", &[]), None);
    assert_eq!(id("/feed/a", &[("last-event-id", "x-1")]), some("x-1"));
    assert_eq!(id("/feed/a?last_event_id=x-1", &[]), some("x-1"));
    assert_eq!(
        id("/feed/a?b=1&last_event_id=a%20b+c%", &[]),
        some("a b c%")
    );
    assert_eq!(
        id("/feed/a?last_event_id=q", &[("last-event-id", "h")]),
        some("h")
    );
    assert_eq!(
        id("/feed/a?last_event_id=q", &[("last-event-id", "")]),
        None,
        "an empty id is a reset"
    );
    assert_eq!(id("/feed/a?last_event_id=", &[]), None);
    assert_eq!(id("/feed/a?last_event_id=%00", &[]), None);
}

#[test]
fn a_native_event_source_is_told_apart() {
    let kind = |pairs: &[(&'static str, &'static str)]| joined("/feed/a", pairs).reader;
    let accept = ("accept", "text/event-stream");
    assert_eq!(
        kind(&[accept, ("cache-control", "no-cache")]),
        Reader::EventSource
    );
    assert_eq!(kind(&[accept]), Reader::Other);
    assert_eq!(
        kind(&[("accept", "*/*"), ("cache-control", "no-cache")]),
        Reader::Other
    );
}

#[test]
fn a_body_on_a_fan_out_get_is_refused() {
    let headers = HeaderMap::new();
    let request = RequestView {
        method: &Method::GET,
        target: b"/feed/a",
        host: "h",
        forwarded_host: None,
        scheme: Scheme::Http,
        headers: &headers,
        has_body: true,
        client: None,
    };
    assert!(matches!(decide(&request, &config()), Decision::Refuse(_)));
}

#[test]
fn a_route_says_itself_which_pages_may_read() {
    let listed = ("origin", "https://a.example");
    let foreign = ("origin", "https://b.example");
    let asks = |method| ("access-control-request-method", method);
    let outcome = |method, target, pairs: &[_]| match decided(method, target, pairs) {
        Decision::FanOut(fan_out) => format!("joins with {:?}", fan_out.key.headers),
        Decision::Answer(answer) => format!("answered {}", answer.status),
        Decision::Refuse(refusal) => format!("refused by {}", refusal.reason.label()),
        Decision::Proxy(_) | Decision::Stream(_) => "passed".to_owned(),
    };
    let (get, options) = (|| Method::GET, || Method::OPTIONS);
    for (method, target, pairs, expected) in [
        (get(), "/open/a", vec![], "joins with []"),
        (get(), "/open/a", vec![listed], "joins with []"),
        (get(), "/open/a", vec![foreign], "refused by origin"),
        (
            get(),
            "/open/a",
            vec![("origin", "null")],
            "refused by origin",
        ),
        (
            get(),
            "/open/a",
            vec![("origin", "https://h")],
            "joins with []",
        ),
        (
            get(),
            "/feed/a",
            vec![foreign],
            "joins with [(\"origin\", b\"https://b.example\")]",
        ),
        (
            options(),
            "/open/a",
            vec![listed, asks("GET")],
            "answered 204 No Content",
        ),
        (
            options(),
            "/open/a",
            vec![foreign, asks("GET")],
            "refused by origin",
        ),
        (
            options(),
            "/open/a",
            vec![listed, asks("POST")],
            "refused by no_route",
        ),
        (options(), "/open/a", vec![listed], "refused by no_route"),
        (options(), "/feed/a", vec![listed, asks("GET")], "passed"),
        (options(), "/rest/a", vec![listed, asks("GET")], "passed"),
    ] {
        assert_eq!(
            outcome(method, target, &pairs),
            expected,
            "{target} {pairs:?}"
        );
    }
}
