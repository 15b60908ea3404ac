//! Clients behind proxies: whose word about them the app gets to see.

use tokio::io::AsyncWriteExt;

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, tcp, tls_over},
    h2::{H2, get},
    head,
    process::Process,
    soon,
};

/// Every client of these tests connects from loopback, and by the unix socket.
const TRUSTED: Settings = Settings {
    upstream: &[],
    limits: &[],
    stream: &[],
    drain: &[],
    file: &["trusted_proxies: [loopback, 10.0.0.0/8, unix]"],
};

/// As of a client that made up an address of its own, through two proxies.
const CLAIMS: [(&str, &str); 6] = [
    ("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.2"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("X-Forwarded-Port", "443"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;host=evil.example"),
];

fn request(claims: &[(&str, &str)]) -> String {
    let fields: String = claims
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET / HTTP/1.1\r\nHost: backend\r\n{fields}\r\n")
}

/// What the app saw.
fn assert_seen(seen: &str, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        assert_eq!(head::field(seen, name), *value, "{name} in {seen}");
    }
}

#[tokio::test]
async fn the_app_sees_the_client_that_a_trusted_proxy_names() {
    let app = App::echo().await;
    let rig = Rig::with(&app.address, TRUSTED);
    let over_h1 = Client::connect(rig.plain())
        .await
        .request(&request(&CLAIMS))
        .await
        .text();
    let over_unix = Client::connect_unix(&rig.unix())
        .await
        .request(&request(&CLAIMS))
        .await
        .text();
    let mut asked = get("/");
    for (name, value) in CLAIMS {
        asked.headers_mut().append(name, value.parse().unwrap());
    }
    let mut h2 = H2::connect(tcp(rig.plain()).await).await;
    let (_, over_h2, _) = h2.request(asked, &[]).await.unwrap();
    let over_h2 = String::from_utf8(over_h2).unwrap();
    for (seen, host) in [
        (over_h1, "backend"),
        (over_unix, "backend"),
        (over_h2, "localhost"),
    ] {
        assert_seen(
            &seen,
            &[
                ("x-forwarded-for", Some("192.0.2.7, 10.0.0.2")),
                ("x-forwarded-proto", Some("https")),
                ("x-forwarded-host", Some("shop.example")),
                ("x-forwarded-port", Some("443")),
                ("x-real-ip", Some("192.0.2.7")),
                (
                    "forwarded",
                    Some("for=192.0.2.7;host=\"shop.example\";proto=https"),
                ),
                ("host", Some(host)),
            ],
        );
        assert!(
            !seen.contains("6.6.6.6") && !seen.contains("evil"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn a_stranger_that_says_the_same_is_believed_nothing() {
    let app = App::echo().await;
    for file in [&[][..], &["trusted_proxies: [10.0.0.0/8]"]] {
        let rig = Rig::with(&app.address, Settings { file, ..TRUSTED });
        let seen = Client::connect(rig.plain())
            .await
            .request(&request(&CLAIMS))
            .await
            .text();
        assert_seen(
            &seen,
            &[
                ("x-forwarded-for", Some("127.0.0.1")),
                ("x-forwarded-proto", Some("http")),
                ("x-forwarded-host", Some("backend")),
                ("x-forwarded-port", None),
                ("x-real-ip", None),
                (
                    "forwarded",
                    Some("for=127.0.0.1;host=\"backend\";proto=http"),
                ),
            ],
        );
    }
}

#[tokio::test]
async fn forwarded_counts_where_the_configuration_says_so() {
    let app = App::echo().await;
    let file = &["trusted_proxies: [loopback]", "forwarded_header: forwarded"];
    let rig = Rig::with(&app.address, Settings { file, ..TRUSTED });
    let claims = [
        ("X-Forwarded-For", "6.6.6.6"),
        (
            "Forwarded",
            "for=6.6.6.6, for=\"[2001:db8::7]:1\";proto=https;host=shop.example",
        ),
    ];
    let seen = Client::connect(rig.plain())
        .await
        .request(&request(&claims))
        .await
        .text();
    assert_seen(
        &seen,
        &[
            ("x-forwarded-for", Some("2001:db8::7")),
            ("x-forwarded-proto", Some("https")),
            (
                "forwarded",
                Some("for=\"[2001:db8::7]\";host=\"shop.example\";proto=https"),
            ),
        ],
    );
}

/// An app that insists on https, behind an ingress that ends TLS: each client arrives, and nobody
/// gets past the redirect by saying so.
#[tokio::test]
async fn an_app_that_redirects_to_https_does_not_when_a_trusted_proxy_ended_tls() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            if head::field(&head, "x-forwarded-proto") == Some("https") {
                conn.answer(200, "", b"welcome").await;
            } else {
                conn.answer(301, "Location: https://shop.example/\r\n", b"")
                    .await;
            }
        }
    })
    .await;
    for (settings, proto, status) in [
        (TRUSTED, "https", 200),
        (TRUSTED, "http", 301),
        (Settings::default(), "https", 301),
    ] {
        let rig = Rig::with(&app.address, settings);
        let claims = [
            ("X-Forwarded-For", "192.0.2.7"),
            ("X-Forwarded-Proto", proto),
        ];
        let answer = Client::connect(rig.plain())
            .await
            .request(&request(&claims))
            .await;
        assert_eq!(answer.status, status, "{proto}, {settings:?}");
    }
}

/// Sidestream with listeners on which clients are announced, by whom `trusted` names.
fn announced(app: &App, trusted: &str) -> Process {
    let listeners = "  - { name: raw, address: '127.0.0.1:0', proxy_protocol: true }\n\
                     \x20 - name: raw-tls\n\
                     \x20   address: '127.0.0.1:0'\n\
                     \x20   proxy_protocol: true\n\
                     \x20   tls: { certificate: '{folder}/cert.pem', key: '{folder}/key.pem' }\n";
    let rest = format!(
        "trusted_proxies: [{trusted}]\n\
         upstreams: {{ app: '{}' }}\n\
         routes: [{{ path: '/{{*rest}}', action: proxy }}]\n\
         limits: {{ head_timeout: 2s }}\n",
        app.address
    );
    Process::with_listeners(listeners, &rest)
}

/// A header of version 2 that names 192.0.2.7, with an extension.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x7f\0\0\x01\x30\x39\x01\xbb\xea\0\x01x";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 5678 443\r\n";

#[tokio::test]
async fn a_client_is_who_the_proxy_protocol_says() {
    let app = App::echo().await;
    let side = announced(&app, "loopback");
    for (header, address) in [
        (V1, "192.0.2.7"),
        (V2, "192.0.2.7"),
        (V2_LOCAL, "127.0.0.1"),
        (&b"PROXY UNKNOWN\r\n"[..], "127.0.0.1"),
    ] {
        // In one piece with the request; cut in the middle; before TLS; and before HTTP/2.
        let mut whole = Client::connect(side.tcp("raw")).await;
        let sent = [header, request(&[]).as_bytes()].concat();
        whole.send(&sent).await;
        let mut cut = Client::connect(side.tcp("raw")).await;
        for byte in header {
            cut.send([*byte]).await;
        }
        cut.send(request(&[])).await;
        let mut secure = tcp(side.tcp("raw-tls")).await;
        secure.write_all(header).await.unwrap();
        let secure = tls_over(secure, &side.certificate(), &["http/1.1"]).await;
        let mut h2 = tcp(side.tcp("raw")).await;
        h2.write_all(header).await.unwrap();
        let (_, over_h2, _) = H2::connect(h2).await.request(get("/"), &[]).await.unwrap();
        for seen in [
            whole.response().await.text(),
            cut.response().await.text(),
            Client::new(secure).request(&request(&[])).await.text(),
            String::from_utf8(over_h2).unwrap(),
        ] {
            assert_seen(&seen, &[("x-forwarded-for", Some(address))]);
        }
    }
}

/// What the client says in its own name counts no more than without the header.
#[tokio::test]
async fn a_client_that_was_announced_is_a_stranger_all_the_same() {
    let app = App::echo().await;
    let side = announced(&app, "loopback");
    let mut client = Client::connect(side.tcp("raw")).await;
    client.send(V2).await;
    let seen = client.request(&request(&CLAIMS)).await.text();
    assert_seen(
        &seen,
        &[
            ("x-forwarded-for", Some("192.0.2.7")),
            ("x-forwarded-proto", Some("http")),
            ("x-real-ip", None),
        ],
    );
}

#[tokio::test]
async fn a_connection_without_the_header_is_closed_and_counted() {
    let app = App::echo().await;
    let side = announced(&app, "loopback");
    let failures = "handshake_failures_total{kind=\"proxy_protocol\"}";
    let long = [b"PROXY UNKNOWN ", &b"x".repeat(200)[..]].concat();
    let bad: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 5678\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        &long,
    ];
    for (count, bytes) in (1..).zip(bad) {
        let mut client = Client::connect(side.tcp("raw")).await;
        client.send(bytes).await;
        assert!(client.rest().await.is_empty(), "no word to a stranger");
        side.until_metric(failures, count).await;
    }
    // One that never completes it is cut when a head must be there.
    let mut slow = Client::connect(side.tcp("raw")).await;
    slow.send("PROXY TCP4 ").await;
    assert!(soon("the deadline", slow.rest()).await.is_empty());
    side.until_metric("handshake_failures_total{kind=\"timeout\"}", 1)
        .await;
    // The listeners beside it know nothing of it.
    let mut plain = Client::connect(side.plain()).await;
    assert_eq!(plain.request(&request(&[])).await.status, 200);
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_may_announce() {
    let app = App::echo().await;
    let side = announced(&app, "10.0.0.0/8");
    let mut client = Client::connect(side.tcp("raw")).await;
    client
        .try_send(&[V1, request(&[]).as_bytes()].concat())
        .await;
    assert!(client.rest().await.is_empty());
    side.until_metric("handshake_failures_total{kind=\"proxy_protocol\"}", 1)
        .await;
    assert_eq!(app.connections(), 0);
}
