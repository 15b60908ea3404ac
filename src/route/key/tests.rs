use http::HeaderValue;

use super::*;
use crate::config::testing::fanout;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn key(
    settings: &Fanout,
    target: &str,
    pairs: &[(&'static str, &'static str)],
) -> Result<ChannelKey, KeyError> {
    let target = Target::new(target.as_bytes());
    ChannelKey::of(
        "r",
        settings,
        &target,
        "App.example:8080",
        Scheme::Http,
        &headers(pairs),
    )
}

fn target(settings: &Fanout, target: &str) -> String {
    key(settings, target, &[]).unwrap().target
}

#[test]
fn the_raw_query_is_keyed_byte_for_byte_less_the_last_event_id() {
    let all = fanout();
    for (given, kept) in [
        ("/a", "/a"),
        ("/a?", "/a?"),
        ("/a?b", "/a?b"),
        ("/a?b=1&c=%2F&b=2", "/a?b=1&c=%2F&b=2"),
        ("/a?last_event_id=7", "/a"),
        ("/a?x=1&last_event_id=7&y=2", "/a?x=1&y=2"),
        ("/a?last_event_idx=7", "/a?last_event_idx=7"),
        ("/a%20b/%C3%A9", "/a%20b/%C3%A9"),
        ("//a", "//a"),
    ] {
        assert_eq!(target(&all, given), kept, "{given}");
    }
    let some = Fanout {
        query: QuerySelection::Only(vec!["b".into(), "c".into()]),
        ..fanout()
    };
    for (given, kept) in [
        ("/a?z=1", "/a"),
        ("/a?c=2&z=1&b=3", "/a?c=2&b=3"),
        ("/a?b", "/a?b"),
        ("/a?", "/a"),
    ] {
        assert_eq!(target(&some, given), kept, "{given}");
    }
}

#[test]
fn a_path_with_two_readings_is_refused() {
    let settings = fanout();
    for path in [
        "",
        "a",
        "*",
        "http://h/a",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/%2e",
        "/%2E%2e/x",
        "/.%2e",
        "/a%2fb",
        "/a%2Fb",
        "/a\\b",
        "/a%5cb",
        "/a%00",
        "/a\0",
        "/a%0a",
        "/a%7f",
        "/a%252fb",
        "/a%25",
        "/%",
        "/%1",
        "/%zz",
        "/a b",
        "/\u{e9}",
        "/a\tb",
    ] {
        assert_eq!(key(&settings, path, &[]), Err(KeyError::Path), "{path:?}");
    }
    for path in ["/...", "/.a", "/a..b", "/a;b=c", "/~a", "/a:b@c!$&'()*+,="] {
        assert!(key(&settings, path, &[]).is_ok(), "{path:?}");
    }
    for query in ["/a?b c", "/a?\u{e9}", "/a?b\r\n", "/a?b#c"] {
        assert_eq!(
            key(&settings, query, &[]),
            Err(KeyError::Query),
            "{query:?}"
        );
    }
}

#[test]
fn hosts_are_compared_without_case_and_checked() {
    let of = |host: &str| {
        ChannelKey::of(
            "r",
            &fanout(),
            &Target::new(b"/"),
            host,
            Scheme::Https,
            &HeaderMap::new(),
        )
        .map(|key| key.host)
    };
    assert_eq!(of("ExAmple.com:8443"), Ok("example.com:8443".to_owned()));
    assert_eq!(of("[::1]:80"), Ok("[::1]:80".to_owned()));
    let long = "a".repeat(256);
    for host in [
        "",
        "a b",
        "a/b",
        "user@host",
        "a\r\nb",
        "a\0",
        long.as_str(),
    ] {
        assert_eq!(of(host), Err(KeyError::Host), "{host:?}");
    }
}

#[test]
fn credentials_are_the_identity_by_default_and_nothing_else_is() {
    let settings = fanout();
    let of = |pairs| key(&settings, "/a", pairs).unwrap();
    let plain = of(&[]);
    assert!(!plain.has_identity() && !of(&[("origin", "https://a.example")]).has_identity());
    assert!(of(&[("cookie", "a=1")]).has_identity());
    for same in [
        &[("user-agent", "x")][..],
        &[("accept-language", "de")],
        &[("last-event-id", "9")],
        &[("x-forwarded-for", "1.2.3.4")],
        &[("x-api-key", "1")],
    ] {
        assert_eq!(of(same), plain, "{same:?}");
    }
    for other in [
        &[("cookie", "a=1")][..],
        &[("authorization", "Bearer x")],
        &[("mcp-session-id", "7")],
        &[("origin", "https://a.example")],
    ] {
        let keyed = of(other);
        assert_ne!(keyed, plain, "{other:?}");
        let sent: Vec<(&str, &[u8])> = keyed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]))
            .collect();
        assert_eq!(
            sent,
            [(other[0].0, other[0].1.as_bytes())],
            "what is keyed is what is sent"
        );
    }
    assert_eq!(
        of(&[("cookie", "a=1"), ("cookie", "b=2")]),
        of(&[("cookie", "a=1; b=2")])
    );
}

#[test]
fn a_public_route_sends_no_credential_but_keeps_origins_apart() {
    let settings = Fanout {
        share: Share::Public,
        ..fanout()
    };
    let of = |pairs| key(&settings, "/a", pairs).unwrap();
    assert_eq!(of(&[("cookie", "a=1"), ("authorization", "x")]), of(&[]));
    assert_ne!(of(&[("origin", "https://a.example")]), of(&[]));
}

#[test]
fn identity_can_be_narrowed_to_named_cookies_and_headers() {
    let mut settings = fanout();
    settings.identity.headers = vec![HeaderName::from_static("x-tenant")];
    settings.identity.cookies = CookieIdentity::Named(vec!["session".into(), "b".into()]);
    let of = |pairs| key(&settings, "/a", pairs).unwrap();
    assert_eq!(
        of(&[("cookie", "_ga=1; session=s; x=2")]),
        of(&[("cookie", "session=s")])
    );
    assert_eq!(
        of(&[("cookie", "b=1; session=s")]),
        of(&[("cookie", "session=s;b=1")])
    );
    assert_ne!(
        of(&[("cookie", "session=s")]),
        of(&[("cookie", "session=t")])
    );
    assert_ne!(
        of(&[("cookie", "sessionx=s")]),
        of(&[("cookie", "session=s")])
    );
    assert_eq!(of(&[("authorization", "x")]), of(&[]));
    assert_ne!(of(&[("x-tenant", "1")]), of(&[]));
}

#[test]
fn debug_output_holds_no_credential() {
    let key = key(
        &fanout(),
        "/a",
        &[("cookie", "secret=1"), ("authorization", "hidden")],
    )
    .unwrap();
    let text = format!("{key:?}");
    assert!(
        text.contains("cookie") && !text.contains("secret") && !text.contains("hidden"),
        "{text}"
    );
}

#[test]
fn spellings_of_another_path_are_told_from_odd_but_plain_ones() {
    for path in [
        "/..",
        "/a/../b",
        "/a/%2e%2E/b",
        "/.%2e",
        "/./a",
        "/a/.",
        "/a\\b",
        "/a%5Cb",
        "/a%00",
    ] {
        assert!(is_ambiguous(path.as_bytes()), "{path}");
    }
    for path in [
        "*", "/", "//", "/...", "/a..b", "/.a", "/a%2Fb", "/a%252e", "/%", "/%2", "/%zz", "/\u{e9}",
    ] {
        assert!(!is_ambiguous(path.as_bytes()), "{path}");
    }
}

#[test]
fn a_host_that_a_proxy_was_asked_for_is_keyed_once_and_names_nobody() {
    for (forwarded, expected) in [
        (None, None),
        (Some("H"), None),
        (Some("Shop.example"), Some("shop.example")),
    ] {
        let key = testing::key("/").forwarded_from(forwarded);
        let keyed = key.headers.first().map(|(_, value)| value.as_ref());
        assert_eq!(keyed, expected.map(str::as_bytes), "{forwarded:?}");
        assert!(!key.has_identity());
    }
}
