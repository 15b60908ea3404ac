//! What only a proxy in front of us may say, in the spellings of the proxies and hosting services in
//! use.
//!
//! | they say | an app that believes them |
//! |---|---|
//! | whose address asks | logs, limits and allows by an address of the client's choice |
//! | by which scheme, host and port | builds links and redirects to a host of the client's choice |
//! | what was asked for before a rewrite | serves another path than the one that our routes were asked for |
//! | with which TLS certificate | takes anybody for the bearer of it |
//!
//! From strangers all of it is dropped, and what we know ourselves is set anew. What a trusted proxy
//! says of the circumstances passes, since nobody else knows; addresses become the one that we found.
//!
//! Who the user is (`X-Forwarded-User`, `X-Auth-Request-*`) is not among them: no proxy knows that
//! from a connection, so it is between the app and whoever logs its users in.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::client::{Client, Via};

/// What a trusted proxy may do with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Names the client by its address, which may be what the client made up and the proxy passed on:
    /// it becomes the address that we found.
    Address,
    /// Says how the client asked: passes.
    Circumstance,
    /// Is set anew from what we found, or says it in a form of its own: dropped.
    Ours,
}

/// By name, in order, so that a field is looked up in a few steps.
static CLAIMS: [(&str, Claim); 44] = [
    ("cf-connecting-ip", Claim::Address),
    ("cf-connecting-ipv6", Claim::Ours),
    ("cf-pseudo-ipv4", Claim::Ours),
    ("cf-visitor", Claim::Circumstance),
    ("client-ip", Claim::Address),
    ("cloudfront-forwarded-proto", Claim::Circumstance),
    ("do-connecting-ip", Claim::Address),
    ("fastly-client-ip", Claim::Address),
    ("fly-client-ip", Claim::Address),
    ("forwarded", Claim::Ours),
    ("front-end-https", Claim::Circumstance),
    ("true-client-ip", Claim::Address),
    ("x-appengine-user-ip", Claim::Address),
    ("x-azure-clientip", Claim::Address),
    ("x-azure-socketip", Claim::Ours),
    ("x-client-ip", Claim::Address),
    ("x-cluster-client-ip", Claim::Address),
    ("x-envoy-external-address", Claim::Address),
    ("x-envoy-original-path", Claim::Circumstance),
    ("x-forwarded", Claim::Ours),
    ("x-forwarded-by", Claim::Circumstance),
    ("x-forwarded-client-cert", Claim::Circumstance),
    ("x-forwarded-for", Claim::Ours),
    ("x-forwarded-host", Claim::Ours),
    ("x-forwarded-path", Claim::Circumstance),
    ("x-forwarded-port", Claim::Circumstance),
    ("x-forwarded-prefix", Claim::Circumstance),
    ("x-forwarded-proto", Claim::Ours),
    ("x-forwarded-protocol", Claim::Circumstance),
    ("x-forwarded-scheme", Claim::Circumstance),
    ("x-forwarded-server", Claim::Circumstance),
    ("x-forwarded-ssl", Claim::Circumstance),
    ("x-forwarded-tls-client-cert", Claim::Circumstance),
    ("x-forwarded-tls-client-cert-info", Claim::Circumstance),
    ("x-forwarded-uri", Claim::Circumstance),
    ("x-original-forwarded-for", Claim::Ours),
    ("x-original-host", Claim::Circumstance),
    ("x-original-uri", Claim::Circumstance),
    ("x-original-url", Claim::Circumstance),
    ("x-real-ip", Claim::Address),
    ("x-remote-addr", Claim::Address),
    ("x-remote-ip", Claim::Address),
    ("x-rewrite-url", Claim::Circumstance),
    ("x-url-scheme", Claim::Circumstance),
];

/// Leaves of the claims what `client` gives us reason to believe. Spelled with underscores they always
/// go: CGI-like apps cannot tell the two apart, and no proxy writes them so.
pub(super) fn settle(head: &mut RequestHeader, client: Client) {
    let claimed: Vec<(HeaderName, Claim)> = head
        .headers
        .keys()
        .filter_map(|name| Some((name.clone(), claim(name.as_str(), client.via)?)))
        .collect();
    for (name, claim) in claimed {
        let found = client.address.filter(|_| claim == Claim::Address);
        match found.map(|address| HeaderValue::from_str(&address.to_string())) {
            // It stands there already, so there is room for it.
            Some(Ok(address)) => drop(head.insert_header(name, address)),
            Some(Err(_)) | None => drop(head.remove_header(&name)),
        }
    }
}

/// What is to be done about a field; `None`: it passes.
fn claim(name: &str, via: Via) -> Option<Claim> {
    let is_underscored = name.contains('_');
    let plain = if is_underscored {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    };
    let at = CLAIMS.binary_search_by(|(known, _)| (*known).cmp(&plain));
    let &(_, claim) = at.ok().and_then(|at| CLAIMS.get(at))?;
    if via == Via::Connection || is_underscored {
        return Some(Claim::Ours);
    }
    (claim != Claim::Circumstance).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::key::Scheme;

    fn client(via: Via) -> Client {
        Client {
            via,
            ..Client::peer("192.0.2.7".parse().ok(), Scheme::Http)
        }
    }

    fn head(fields: impl Iterator<Item = String>) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for name in fields {
            head.append_header(name, "6.6.6.6").unwrap();
        }
        head
    }

    #[test]
    fn claims_are_listed_once_and_can_be_found() {
        assert!(
            CLAIMS.is_sorted_by(|(a, _), (b, _)| a < b),
            "sorted, without doubles"
        );
        for (name, _) in CLAIMS {
            assert_eq!(name, name.to_lowercase().replace('_', "-"));
        }
    }

    #[test]
    fn a_stranger_claims_nothing_in_any_spelling() {
        let spellings = CLAIMS.iter().flat_map(|(name, _)| {
            let name = (*name).to_owned();
            [name.to_uppercase().replace('-', "_"), name]
        });
        let kept = ["Host", "X-Forwarded-User", "X-Request-Id"].map(str::to_owned);
        let mut head = head(spellings.chain(kept));
        settle(&mut head, client(Via::Connection));
        assert_eq!(head.headers.len(), 3, "{head:?}");
    }

    #[test]
    fn a_trusted_proxy_says_how_and_we_say_who() {
        for (name, claim) in CLAIMS {
            let mut head = head([name.to_owned()].into_iter());
            settle(&mut head, client(Via::XForwardedFor(1)));
            let left = head.headers.get(name).map(HeaderValue::as_bytes);
            let expected: Option<&[u8]> = match claim {
                Claim::Address => Some(b"192.0.2.7"),
                Claim::Circumstance => Some(b"6.6.6.6"),
                Claim::Ours => None,
            };
            assert_eq!(left, expected, "{name}");
        }
        let underscored = CLAIMS.iter().map(|(name, _)| name.replace('-', "_"));
        let mut head = head(underscored.filter(|name| name.contains('_')));
        settle(&mut head, client(Via::Forwarded(1)));
        assert_eq!(head.headers.len(), 0, "{head:?}");
    }
}
