//! HTTP/2 in: by prior knowledge and by ALPN.

use bytes::Bytes;

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{tcp, tls},
    h2::{H2, get, request},
    h2raw::{NO_ERROR, RawH2},
    large, soon,
};

async fn clients(rig: &Rig) -> [H2; 2] {
    let plain = tcp(rig.plain()).await;
    let secure = tls(rig.tls(), &rig.certificate(), &["h2", "http/1.1"]).await;
    assert_eq!(secure.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    [H2::connect(plain).await, H2::connect(secure).await]
}

#[tokio::test]
async fn requests_become_http_1_1_for_the_app() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    for (mut client, proto) in clients(&rig).await.into_iter().zip(["http", "https"]) {
        let mut request = get("/a?b");
        let fields = request.headers_mut();
        fields.append("cookie", "a=1".parse().unwrap());
        fields.append("cookie", "b=2".parse().unwrap());
        fields.append("x-forwarded-for", "6.6.6.6".parse().unwrap());
        let (head, body, _) = client.request(request, &[]).await.unwrap();
        assert_eq!(head.status, 200);
        assert!(!head.headers.contains_key("connection"));
        let seen = String::from_utf8(body).unwrap();
        for line in [
            "GET /a?b HTTP/1.1".to_owned(),
            "host: localhost".to_owned(),
            "cookie: a=1; b=2".to_owned(),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            format!("x-forwarded-proto: {proto}"),
        ] {
            assert!(
                seen.lines().any(|l| l.eq_ignore_ascii_case(&line)),
                "{line} in {seen}"
            );
        }
    }
}

#[tokio::test]
async fn ten_mebibytes_each_way() {
    let app = App::mirror().await;
    let rig = Rig::start(&app.address);
    let body = large();
    for mut client in clients(&rig).await {
        let (head, got, _) = client
            .request(request("POST", "/up"), std::slice::from_ref(&body))
            .await
            .unwrap();
        assert_eq!(head.status, 200);
        assert!(got == body);
    }
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut clients = clients(&rig).await;
    for client in &mut clients {
        // The server's limit of 100 streams is known with its first answer.
        client.request(get("/"), &[]).await.unwrap();
        let all: Vec<_> = (0..200)
            .map(|n| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let body = [Bytes::from(vec![b'x'; 3000])];
                    let target = format!("/{n}");
                    client
                        .request(request("POST", &target), &body)
                        .await
                        .unwrap()
                })
            })
            .collect();
        for (n, one) in all.into_iter().enumerate() {
            let (head, body, _) = soon("a stream", one).await.unwrap();
            assert_eq!(head.status, 200);
            assert!(body.starts_with(format!("POST /{n} ").as_bytes()));
            assert!(body.ends_with(&[b'x'; 3000]));
        }
    }
    assert_eq!(rig.connections(), 2);
}

#[tokio::test]
async fn malformed_requests_are_refused_alone() {
    let app = App::echo().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["head_fields_max: 50"],
            ..Settings::default()
        },
    );
    let [mut client, _] = clients(&rig).await;
    let mut many = get("/");
    for n in 0..60 {
        let name = http::HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
        many.headers_mut().append(name, "1".parse().unwrap());
    }
    let (head, ..) = client.request(many, &[]).await.unwrap();
    assert_eq!(head.status, 431);
    let (head, ..) = client.request(get("/fan/a%2fb"), &[]).await.unwrap();
    assert_eq!(head.status, 400);
    let (head, ..) = client.request(get("/"), &[]).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(app.heads().len(), 1);
}

#[tokio::test]
async fn endless_malformed_requests_end_the_connection() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let [mut client, _] = clients(&rig).await;
    let mut answered = 0;
    for _ in 0..100 {
        let mut bad = get("/");
        bad.headers_mut()
            .append("host", "elsewhere".parse().unwrap());
        match client.request(bad, &[]).await {
            Ok((head, ..)) => assert_eq!(head.status, 400),
            Err(_) => break,
        }
        answered += 1;
    }
    assert!((20..40).contains(&answered), "{answered}");
    assert!(app.heads().is_empty());
}

#[tokio::test]
async fn an_idle_connection_gets_a_goodbye() {
    let app = App::echo().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["keepalive_timeout: 300ms"],
            ..Settings::default()
        },
    );
    // It says hello, and from then on never answers anything.
    let mut client = RawH2::connect(rig.plain(), &[]).await;
    let mut codes = Vec::new();
    while let Some(code) = client.goaway().await {
        codes.push(code);
    }
    // One before the last streams could have come, and one behind them; then the end.
    assert!(codes.contains(&NO_ERROR), "{codes:?}");
    assert!(codes.iter().all(|code| *code == NO_ERROR), "{codes:?}");
}
