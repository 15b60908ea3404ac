//! Clients behind proxies: whose word about them the app gets to see.

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, tcp},
    h2::{H2, get},
    head,
};

/// Every client of these tests connects from loopback, and by the unix socket.
const TRUSTED: Settings = Settings {
    upstream: &[],
    limits: &[],
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
