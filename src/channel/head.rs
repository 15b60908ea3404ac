//! What of the app's response head every joiner gets. Pure.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, SET_COOKIE,
        STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use crate::{
    config::model::{Fanout, Share},
    cors,
};

/// Headers of the app's that every joiner gets: what the stream is, and the security that the app
/// asked for. Everything else may belong to the one request that opened the channel.
const KEPT: [HeaderName; 13] = [
    CONTENT_TYPE,
    VARY,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    CONTENT_SECURITY_POLICY,
    STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
    REFERRER_POLICY,
    HeaderName::from_static("cross-origin-resource-policy"),
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderName::from_static("permissions-policy"),
];

/// Headers that no configuration can add: they frame, they identify one response, or one user.
const NEVER_SHARED: [HeaderName; 5] = [
    SET_COOKIE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    http::header::ETAG,
    http::header::AGE,
];

/// Headers that we write ourselves.
const OURS: [HeaderName; 3] = [CACHE_CONTROL, X_ACCEL_BUFFERING, http::header::DATE];

/// Directives to shared caches (RFC 9111, section 5.2.2): none of them may store a stream of one
/// identity, so they go where `private` stands.
const SHARED_CACHES: [&str; 3] = ["public", "s-maxage", "proxy-revalidate"];

/// nginx buffers responses unless told not to.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The response head of every joiner, less what the protocol adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinersHead {
    /// In the order of the wire.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The app's own head, less what is never shared: other settings may ask for more of it.
    app: HeaderMap,
}

impl JoinersHead {
    /// From the app's head.
    #[must_use]
    pub fn from_app(app: &HeaderMap, settings: &Fanout) -> Self {
        let mut app = app.clone();
        for name in &NEVER_SHARED {
            app.remove(name);
        }
        let mut headers = Vec::new();
        let more = settings
            .response_headers
            .iter()
            .filter(|name| !KEPT.contains(name) && !OURS.contains(name));
        for name in KEPT.iter().chain(more) {
            headers.extend(app.get_all(name).iter().map(|v| (name.clone(), v.clone())));
        }
        if let Some(cors) = &settings.cors {
            // The lines for one origin come on top, for each joiner.
            cors::apply(&mut headers, cors, None);
        }
        headers.push((CACHE_CONTROL, cache_control(&app, settings.share)));
        headers.push((X_ACCEL_BUFFERING, HeaderValue::from_static("no")));
        Self { headers, app }
    }

    /// The same app's head under other settings.
    #[must_use]
    pub fn under(&self, settings: &Fanout) -> Self {
        Self::from_app(&self.app, settings)
    }

    /// For joiners that get theirs before the app has sent one (`head_wait`).
    #[must_use]
    pub fn early(settings: &Fanout) -> Self {
        let mut app = HeaderMap::new();
        app.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Self::from_app(&app, settings)
    }
}

/// The app's directives plus `no-transform`; without any, `no-store, no-transform`. A channel of
/// one identity is `private` whatever the app says, and says nothing to shared caches.
fn cache_control(app: &HeaderMap, share: Share) -> HeaderValue {
    let mut directives: Vec<String> = Vec::new();
    for value in app.get_all(CACHE_CONTROL) {
        let text = String::from_utf8_lossy(value.as_bytes());
        directives.extend(
            text.split(',')
                .map(|d| d.trim().to_owned())
                .filter(|d| !d.is_empty()),
        );
    }
    if share == Share::Credentials {
        directives.retain(|directive| !is_for_shared_caches(directive));
    }
    if directives.is_empty() {
        directives.push("no-store".to_owned());
    }
    let mut ensure = |directive: &str| {
        if !directives.iter().any(|d| d.eq_ignore_ascii_case(directive)) {
            directives.push(directive.to_owned());
        }
    };
    ensure("no-transform");
    if share == Share::Credentials {
        ensure("private");
    }
    HeaderValue::from_maybe_shared(Bytes::from(directives.join(", ")))
        .unwrap_or(HeaderValue::from_static("no-store, no-transform, private"))
}

fn is_for_shared_caches(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim_end();
    SHARED_CACHES
        .iter()
        .any(|shared| name.eq_ignore_ascii_case(shared))
}

/// How an app marks an answer as one client's own. Noted on public routes; NestJS sends `private`
/// always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// `Cache-Control: private`.
    pub private: bool,
    /// `Vary` on a header that is not in the key.
    pub varies: bool,
    /// `Set-Cookie`. It reaches the one client that opened, so that it alone is no reason not to
    /// share.
    pub sets_cookie: bool,
}

impl Marks {
    /// By the app's head.
    #[must_use]
    pub fn of(app: &HeaderMap) -> Self {
        Self {
            private: lists(app, &CACHE_CONTROL, &|item| {
                item.eq_ignore_ascii_case("private")
            }),
            varies: lists(app, &VARY, &is_unkeyed),
            sets_cookie: app.contains_key(SET_COOKIE),
        }
    }

    /// What either of them has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            private: self.private || other.private,
            varies: self.varies || other.varies,
            sets_cookie: self.sets_cookie || other.sets_cookie,
        }
    }

    /// The answer is not to be shared, if that counts.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.private || self.varies
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marks = [
            (self.private, "Cache-Control: private"),
            (self.varies, "Vary on what is not keyed"),
            (self.sets_cookie, "Set-Cookie"),
        ];
        let marks = marks.iter().filter(|(is_there, _)| *is_there);
        let marks: Vec<&str> = marks.map(|(_, mark)| *mark).collect();
        f.write_str(&marks.join(", "))
    }
}

fn lists(app: &HeaderMap, name: &HeaderName, mark: &dyn Fn(&str) -> bool) -> bool {
    app.get_all(name).iter().any(|value| {
        String::from_utf8_lossy(value.as_bytes())
            .split(',')
            .any(|item| mark(item.trim()))
    })
}

fn is_unkeyed(field: &str) -> bool {
    let is_known = ["origin", "accept", "accept-encoding"]
        .iter()
        .any(|known| field.eq_ignore_ascii_case(known));
    !field.is_empty() && !is_known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::fanout;

    fn app(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn value(head: &JoinersHead, name: &str) -> Vec<String> {
        let of = |(n, v): &(HeaderName, HeaderValue)| {
            (n == name).then(|| v.to_str().unwrap().to_owned())
        };
        head.headers.iter().filter_map(of).collect()
    }

    #[test]
    fn joiners_get_what_the_stream_is_and_nothing_of_the_openers_own() {
        let given = app(&[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("access-control-allow-origin", "https://a.example"),
            ("vary", "Origin"),
            ("x-frame-options", "DENY"),
            ("set-cookie", "session=secret"),
            ("content-length", "7"),
            ("etag", "x"),
            ("age", "3"),
            ("x-request-id", "1"),
            ("connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
        ]);
        let mut settings = fanout();
        settings.response_headers = vec![
            HeaderName::from_static("x-feed"),
            SET_COOKIE,
            http::header::ETAG,
            VARY,
            CACHE_CONTROL,
        ];
        let head = JoinersHead::from_app(&given, &settings);
        let names: Vec<&str> = head.headers.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(
            names,
            [
                "content-type",
                "vary",
                "access-control-allow-origin",
                "x-frame-options",
                "cache-control",
                "x-accel-buffering"
            ]
        );
    }

    #[test]
    fn configured_headers_of_the_app_are_passed_on() {
        let mut settings = fanout();
        settings.response_headers = vec![HeaderName::from_static("x-feed")];
        let head = JoinersHead::from_app(&app(&[("x-feed", "7")]), &settings);
        assert_eq!(value(&head, "x-feed"), ["7"]);
    }

    #[test]
    fn cache_control_keeps_the_apps_word_and_forbids_transforming() {
        let of = |given: &[(&'static str, &'static str)], share| {
            let settings = Fanout { share, ..fanout() };
            value(
                &JoinersHead::from_app(&app(given), &settings),
                "cache-control",
            )
            .join("|")
        };
        assert_eq!(of(&[], Share::Public), "no-store, no-transform");
        assert_eq!(
            of(&[], Share::Credentials),
            "no-store, no-transform, private"
        );
        assert_eq!(
            of(
                &[("cache-control", "No-Transform, no-cache")],
                Share::Public
            ),
            "No-Transform, no-cache"
        );
        assert_eq!(
            of(
                &[("cache-control", "private"), ("cache-control", "max-age=0")],
                Share::Credentials
            ),
            "private, max-age=0, no-transform"
        );
    }

    #[test]
    fn a_stream_of_one_identity_is_never_offered_to_shared_caches() {
        let shared = "Public, max-age=5, S-MaxAge=60, s-maxage = 7, proxy-revalidate, no-cache";
        for (given, share, expected) in [
            (
                shared,
                Share::Credentials,
                "max-age=5, no-cache, no-transform, private",
            ),
            (
                "public",
                Share::Credentials,
                "no-store, no-transform, private",
            ),
            (
                "public, no-transform",
                Share::Public,
                "public, no-transform",
            ),
        ] {
            let settings = Fanout { share, ..fanout() };
            let head = JoinersHead::from_app(&app(&[("cache-control", given)]), &settings);
            assert_eq!(value(&head, "cache-control"), [expected]);
        }
    }

    #[test]
    fn other_settings_give_another_head_of_the_same_app() {
        let given = app(&[("x-feed", "7"), ("set-cookie", "a=1"), ("etag", "x")]);
        let mut settings = fanout();
        let before = JoinersHead::from_app(&given, &settings);
        settings.response_headers = vec![HeaderName::from_static("x-feed"), SET_COOKIE];
        let after = before.under(&settings);
        assert_eq!(value(&after, "x-feed"), ["7"]);
        assert!(value(&after, "set-cookie").is_empty());
        assert_eq!(after.under(&fanout()), before);
    }

    #[test]
    fn private_answers_are_noticed() {
        for (given, is_private, told) in [
            (
                &[("cache-control", "Private, no-cache")][..],
                true,
                "Cache-Control: private",
            ),
            (
                &[("vary", "Origin, Cookie"), ("set-cookie", "a=1")],
                true,
                "Vary on what is not keyed, Set-Cookie",
            ),
            (&[("set-cookie", "a=1")], false, "Set-Cookie"),
            (
                &[
                    ("cache-control", "no-cache"),
                    ("vary", "Origin, accept-encoding"),
                ],
                false,
                "",
            ),
        ] {
            let marks = Marks::of(&app(given));
            assert_eq!(
                (marks.is_private(), marks.to_string().as_str()),
                (is_private, told)
            );
        }
    }
}
