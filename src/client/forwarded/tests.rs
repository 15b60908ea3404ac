use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const NETWORKS: &str = "10.0.0.0/8";

fn trusted(header: ForwardedHeader) -> TrustedProxies {
    TrustedProxies {
        networks: vec![NETWORKS.parse().unwrap(), "fd00::/8".parse().unwrap()],
        unix: true,
        header,
    }
}

fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn peer(address: &str) -> Client {
    Client::peer(address.parse().ok(), Scheme::Http)
}

/// What was found out: address (or `-`), scheme, host (or `-`), and what the app is told.
fn shown(peer: Client, headers: &HeaderMap, header: ForwardedHeader) -> String {
    let client = peer.behind(headers, &trusted(header));
    let address = client.address.map(|address| address.to_string());
    let told = client.chain(headers).or_else(|| address.clone());
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{} {} {} [{}]",
        or_none(address),
        client.scheme.as_str(),
        client.host(headers).unwrap_or("-"),
        or_none(told),
    )
}

#[test]
fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
    for (from, hops, expected) in [
        // Nobody in front, or somebody whom nobody trusts.
        ("192.0.2.1", vec![], "192.0.2.1 http - [192.0.2.1]"),
        ("192.0.2.1", vec!["6.6.6.6"], "192.0.2.1 http - [192.0.2.1]"),
        // A trusted proxy that says nothing.
        ("10.0.0.1", vec![], "10.0.0.1 http - [10.0.0.1]"),
        ("-", vec![], "- http - [-]"),
        (
            "10.0.0.1",
            vec!["192.0.2.7"],
            "192.0.2.7 http - [192.0.2.7]",
        ),
        ("-", vec!["192.0.2.7"], "192.0.2.7 http - [192.0.2.7]"),
        // What the client made up, in one field or in one of its own.
        (
            "10.0.0.1",
            vec!["6.6.6.6, 192.0.2.7"],
            "192.0.2.7 http - [192.0.2.7]",
        ),
        (
            "10.0.0.1",
            vec!["6.6.6.6", "192.0.2.7"],
            "192.0.2.7 http - [192.0.2.7]",
        ),
        (
            "10.0.0.1",
            vec!["10.9.9.9, 192.0.2.7"],
            "192.0.2.7 http - [192.0.2.7]",
        ),
        // Through several trusted proxies.
        (
            "10.0.0.1",
            vec!["6.6.6.6, 192.0.2.7, 10.0.0.3", "10.0.0.2"],
            "192.0.2.7 http - [192.0.2.7, 10.0.0.3, 10.0.0.2]",
        ),
        // A client among the trusted networks.
        (
            "10.0.0.1",
            vec!["10.0.0.9, 10.0.0.8"],
            "10.0.0.9 http - [10.0.0.9, 10.0.0.8]",
        ),
        // One that its proxy does not know, or does not say in a form that we know.
        (
            "10.0.0.1",
            vec!["192.0.2.7, unknown"],
            "10.0.0.1 http - [10.0.0.1]",
        ),
        (
            "10.0.0.1",
            vec!["192.0.2.7, x, 10.0.0.2"],
            "10.0.0.2 http - [10.0.0.2]",
        ),
        // All forms of an address.
        (
            "10.0.0.1",
            vec![" 192.0.2.7:5678 ,, "],
            "192.0.2.7 http - [192.0.2.7]",
        ),
        (
            "10.0.0.1",
            vec!["2001:db8::7"],
            "2001:db8::7 http - [2001:db8::7]",
        ),
        (
            "10.0.0.1",
            vec!["[2001:db8::7]:80"],
            "2001:db8::7 http - [2001:db8::7]",
        ),
        (
            "10.0.0.1",
            vec!["192.0.2.7, [fd00::1]"],
            "192.0.2.7 http - [192.0.2.7, fd00::1]",
        ),
        (
            "10.0.0.1",
            vec!["192.0.2.7, ::ffff:10.0.0.2"],
            "192.0.2.7 http - [192.0.2.7, 10.0.0.2]",
        ),
    ] {
        let fields: Vec<_> = hops.iter().map(|hop| (X_FORWARDED_FOR, *hop)).collect();
        let got = shown(
            peer(from),
            &headers(&fields),
            ForwardedHeader::XForwardedFor,
        );
        assert_eq!(got, expected, "{from} {hops:?}");
    }
}

#[test]
fn scheme_and_host_are_what_the_nearest_proxy_says() {
    for (proto, host, expected) in [
        ("https", "shop.example", "https shop.example"),
        ("HTTPS", "shop.example:8443", "https shop.example:8443"),
        ("wss", "[::1]:80", "https [::1]:80"),
        ("ws", "", "http -"),
        ("http, https", "6.example, b.example", "https b.example"),
        ("gopher", "a b", "http -"),
        ("https\"", "a\"b", "http -"),
    ] {
        let fields = [
            (X_FORWARDED_FOR, "192.0.2.7"),
            (X_FORWARDED_PROTO, proto),
            (X_FORWARDED_HOST, host),
        ];
        let believed = shown(
            peer("10.0.0.1"),
            &headers(&fields),
            ForwardedHeader::XForwardedFor,
        );
        let wanted = format!("192.0.2.7 {expected} [192.0.2.7]");
        assert_eq!(believed, wanted, "{proto} {host}");
        let stranger = shown(
            peer("6.6.6.6"),
            &headers(&fields),
            ForwardedHeader::XForwardedFor,
        );
        assert_eq!(stranger, "6.6.6.6 http - [6.6.6.6]");
    }
}

#[test]
fn forwarded_is_read_when_it_is_the_one_that_counts() {
    for (value, expected) in [
        (
            "for=192.0.2.7;proto=https;host=shop.example",
            "192.0.2.7 https shop.example [192.0.2.7]",
        ),
        (
            "For=\"[2001:db8::7]:4711\" ; Host=\"a:8\"",
            "2001:db8::7 http a:8 [2001:db8::7]",
        ),
        // The element that names the client is by a trusted proxy; those before it are not.
        (
            "for=6.6.6.6;proto=https, for=192.0.2.7;proto=https;host=a, for=10.0.0.2;proto=http",
            "192.0.2.7 https a [192.0.2.7]",
        ),
        (
            "for=\"6.6.6.6, for=192.0.2.7",
            "192.0.2.7 http - [192.0.2.7]",
        ),
        ("for=unknown;proto=https", "10.0.0.1 http - [10.0.0.1]"),
        ("for=_hidden", "10.0.0.1 http - [10.0.0.1]"),
        ("proto=https", "10.0.0.1 http - [10.0.0.1]"),
    ] {
        // The one that does not count may be a client's invention.
        let fields = [
            (FORWARDED, value),
            (X_FORWARDED_FOR, "6.6.6.6"),
            (X_FORWARDED_PROTO, "ws"),
        ];
        let got = shown(
            peer("10.0.0.1"),
            &headers(&fields),
            ForwardedHeader::Forwarded,
        );
        assert_eq!(got, expected, "{value}");
    }
    let fields = [(FORWARDED, "for=6.6.6.6"), (X_FORWARDED_FOR, "192.0.2.7")];
    let got = shown(
        peer("10.0.0.1"),
        &headers(&fields),
        ForwardedHeader::XForwardedFor,
    );
    assert_eq!(got, "192.0.2.7 http - [192.0.2.7]");
}

proptest! {
    /// Whatever a client sends, its proxy's word about it stands.
    #[test]
    fn what_a_client_makes_up_changes_nothing(
        invented in prop::collection::vec("[ -~]{0,40}|10\\.0\\.0\\.[0-9]|for=10\\.0\\.0\\.1", 0..4),
        by_x_forwarded in any::<bool>(),
    ) {
        let (header, name, said) = if by_x_forwarded {
            (ForwardedHeader::XForwardedFor, X_FORWARDED_FOR, "192.0.2.7")
        } else {
            (ForwardedHeader::Forwarded, FORWARDED, "for=192.0.2.7")
        };
        let mut fields: Vec<_> = invented.iter().map(|text| (name.clone(), text.as_str())).collect();
        fields.push((name.clone(), said));
        let got = shown(peer("10.0.0.1"), &headers(&fields), header);
        prop_assert_eq!(&got, "192.0.2.7 http - [192.0.2.7]");
        // Appended to the same field, as most proxies do.
        let joined = format!("{}, {said}", invented.join(","));
        let got = shown(peer("10.0.0.1"), &headers(&[(name, &joined)]), header);
        prop_assert_eq!(&got, "192.0.2.7 http - [192.0.2.7]");
    }
}
