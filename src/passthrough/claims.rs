//! What only a proxy in front of us may say, in the spellings of the proxies and hosting services in
//! use: dropped, since nobody in front of us is trusted yet, and what we know ourselves is set anew.
//!
//! | they say | an app that believes them |
//! |---|---|
//! | whose address asks | logs, limits and allows by an address of the client's choice |
//! | by which scheme, host and port | builds links and redirects to a host of the client's choice |
//! | what was asked for before a rewrite | serves another path than the one that our routes were asked for |
//! | with which TLS certificate | takes anybody for the bearer of it |
//!
//! Who the user is (`X-Forwarded-User`, `X-Auth-Request-*`) is not among them: no proxy knows that
//! from a connection, so it is between the app and whoever logs its users in.

use http::HeaderName;
use pingora::http::RequestHeader;

const CLAIMS: [&str; 44] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-ip",
    "cloudfront-forwarded-proto",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-forwarded-uri",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Removes them, also when spelled with underscores: CGI-like apps cannot tell the two apart.
pub(super) fn drop_from(head: &mut RequestHeader) {
    let claimed: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| CLAIMS.contains(&name.as_str().replace('_', "-").as_str()))
        .cloned()
        .collect();
    for name in claimed {
        head.remove_header(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_listed_once_and_can_be_found() {
        assert!(CLAIMS.is_sorted_by(|a, b| a < b), "sorted, without doubles");
        for name in CLAIMS {
            assert_eq!(name, name.to_lowercase().replace('_', "-"));
        }
    }

    #[test]
    fn every_claim_goes_in_every_spelling_and_nothing_else_does() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for name in CLAIMS {
            for spelling in [name.to_owned(), name.to_uppercase().replace('-', "_")] {
                head.append_header(spelling, "6.6.6.6").unwrap();
            }
        }
        for name in ["Host", "X-Forwarded-User", "X-Request-Id"] {
            head.append_header(name.to_owned(), "kept").unwrap();
        }
        drop_from(&mut head);
        assert_eq!(head.headers.len(), 3, "{head:?}");
        assert!(head.headers.values().all(|value| value == "kept"));
    }
}
