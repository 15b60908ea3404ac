mod scraping;

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{channels::*, *};
use crate::{clock::Millis, hints, lifecycle::Phase, metrics::labels::Hint};

/// So many channels, all alike.
struct Alike(usize);

impl ChannelSource for Alike {
    fn channels(&self, limit: usize) -> (Rows<'_>, usize) {
        let row = ChannelRow {
            route: "prices".to_owned(),
            host: "shop.example".to_owned(),
            target: format!("/prices/{}\u{1b}", "x".repeat(1_000)),
            identity: None,
            state: "live",
            subscribers: 12,
            ring_events: 3,
            ring_bytes: 400,
            epoch: "k3x".to_owned(),
            head_sequence: 77,
            upstream_since: Some(Millis(0)),
            reconnects: 1,
        };
        (
            Box::new(std::iter::repeat_n(row, limit.min(self.0))),
            self.0,
        )
    }

    fn hints(&self) -> Vec<hints::Row> {
        vec![hints::Row {
            route: "prices".to_owned(),
            hint: Hint::StrayIds,
            detail: "12 clients".to_owned(),
            since: Millis(0),
            seen: Millis(1),
        }]
    }
}

fn sources() -> Arc<Sources> {
    with_channels(3)
}

fn with_channels(count: usize) -> Arc<Sources> {
    Arc::new(Sources {
        lifecycle: Arc::new(Lifecycle::new()),
        metrics: Arc::new(Metrics::new()),
        channels: Box::new(Alike(count)),
        config: Box::new(|| "threads: 2\n".to_owned()),
    })
}

fn loopback() -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Starts a service and returns where it is.
fn start(address: &ListenAddress, sources: &Arc<Sources>) -> ListenAddress {
    start_with(address, Pages::All, sources)
}

fn start_with(address: &ListenAddress, pages: Pages, sources: &Arc<Sources>) -> ListenAddress {
    let admin = Admin::bind(address, pages).unwrap();
    let address = admin.address().clone();
    let lifecycle = Arc::clone(&sources.lifecycle);
    let end = async move { lifecycle.reached(Phase::Stopped).await };
    let sources = Arc::clone(sources);
    tokio::spawn(async move { admin.serve(sources, end).await });
    address
}

/// Sends bytes and returns everything that comes until the end.
async fn exchange(address: &ListenAddress, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    match address {
        ListenAddress::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
        }
        ListenAddress::Unix { path, .. } => {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
        }
    }
    String::from_utf8(answer).unwrap()
}

/// Status, head and body of a GET.
async fn get(address: &ListenAddress, target: &str) -> (u16, String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost:9901\r\n\r\n");
    let answer = exchange(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn question<'a>(path: &'a str, query: &'a str) -> Question<'a> {
    Question {
        method: &Method::GET,
        path,
        query,
        host: None,
        command: None,
        peer: Peer::Network,
    }
}

#[tokio::test]
async fn readiness_follows_the_lifecycle_and_says_why() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    let cases = [
        (
            Phase::Starting,
            503,
            r#"{"notes":[],"ready":false,"reasons":["starting"]}"#,
        ),
        (
            Phase::Ready,
            200,
            r#"{"notes":[],"ready":true,"reasons":[]}"#,
        ),
        (
            Phase::Draining,
            503,
            r#"{"notes":[],"ready":false,"reasons":["draining"]}"#,
        ),
        (
            Phase::Drained,
            503,
            r#"{"notes":[],"ready":false,"reasons":["drained"]}"#,
        ),
    ];
    for (phase, status, body) in cases {
        sources.lifecycle.advance(phase);
        let (got, _, json) = get(&address, "/readyz").await;
        assert_eq!((got, json.trim_end()), (status, body));
    }
}

#[tokio::test]
async fn a_needed_restart_is_a_note_and_no_reason() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    sources.lifecycle.advance(Phase::Ready);
    let note = "restart needed: listeners".to_owned();
    sources.lifecycle.note("restart", vec![note]);
    let (status, _, body) = get(&address, "/readyz").await;
    assert_eq!(status, 200);
    assert!(
        body.contains(r#""notes":["restart needed: listeners"]"#),
        "{body}"
    );
}

#[tokio::test]
async fn liveness_fails_for_what_hangs_or_is_down_and_for_nothing_else() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    assert_eq!(get(&address, "/livez").await.0, 200, "starting is alive");
    let pulse = sources.lifecycle.pulse(Millis(0));
    let ask = async |now| pages::answer(&question("/livez", ""), &sources, now).await;
    assert_eq!(ask(Millis(4_999)).await.status, StatusCode::OK);
    let stuck = ask(Millis(5_000)).await;
    assert_eq!(stuck.status, StatusCode::SERVICE_UNAVAILABLE);
    let said = r#"{"live":false,"reasons":["shard 0 has not moved for 5 s"]}"#;
    assert_eq!(stuck.body.trim_end(), said);
    pulse.beat(Millis(5_000));
    assert_eq!(ask(Millis(5_000)).await.status, StatusCode::OK);
    drop(sources.lifecycle.duty("the acceptor of web"));
    let (status, _, body) = get(&address, "/livez").await;
    assert_eq!(status, 503);
    assert!(body.contains("the acceptor of web is down"), "{body}");
}

#[tokio::test]
async fn pages_have_their_types() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    let cases = [
        (
            "/metrics",
            200,
            "application/openmetrics-text; version=1.0.0",
            "# EOF",
        ),
        ("/config", 200, "application/yaml", "threads: 2"),
        ("/channels", 200, "application/json", r#""total":3"#),
        ("/channels?limit=x", 400, "text/plain", "limit is a number"),
        ("/", 404, "text/plain", "no such page; there are /livez"),
        ("/livez/", 404, "text/plain", "no such page"),
        ("/livez?verbose", 200, "application/json", r#""live":true"#),
    ];
    for (target, status, content_type, text) in cases {
        let (got, head, body) = get(&address, target).await;
        assert_eq!(got, status, "{target}: {head}");
        assert!(
            head.contains(&format!("content-type: {content_type}")),
            "{target}: {head}"
        );
        assert!(body.contains(text), "{target}: {body}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{target}: {head}"
        );
    }
}

#[tokio::test]
async fn channels_are_limited_and_strangers_text_is_clipped() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    for (target, shown) in [
        ("/channels", 3),
        ("/channels?limit=2", 2),
        ("/channels?limit=0", 0),
    ] {
        let (_, _, body) = get(&address, target).await;
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["total"], 3);
        assert_eq!(json["shown"], shown);
        assert_eq!(json["channels"].as_array().unwrap().len(), shown);
        for row in json["channels"].as_array().unwrap() {
            let target = row["target"].as_str().unwrap();
            assert!(
                target.len() < 300 && target.ends_with("bytes more)"),
                "{target}"
            );
            assert_eq!(row["identity"], serde_json::Value::Null);
        }
    }
}

#[tokio::test]
async fn a_long_list_has_a_bound_and_lets_others_work_in_between() {
    let sources = with_channels(pages::ROWS_MAX + 1);
    let question = question("/channels", "limit=999999");
    let mut page = Box::pin(pages::answer(&question, &sources, Millis(0)));
    let mut turns = 0;
    let page = std::future::poll_fn(|cx| {
        turns += 1;
        page.as_mut().poll(cx)
    });
    let json: serde_json::Value = serde_json::from_str(&page.await.body).unwrap();
    assert_eq!(json["total"], pages::ROWS_MAX + 1);
    assert_eq!(json["channels"].as_array().unwrap().len(), pages::ROWS_MAX);
    assert_eq!(turns, pages::ROWS_MAX / pages::ROWS_AT_ONCE);
}

#[tokio::test]
async fn other_methods_and_other_hosts_are_refused() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    let cases = [
        (
            "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        (
            "DELETE /channels HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "405",
        ),
        (
            "GET /livez HTTP/1.1\r\nHost: rebound.example:9901\r\n\r\n",
            "421",
        ),
        ("GET /livez HTTP/1.1\r\nHost: 10.0.0.7\r\n\r\n", "421"),
        (
            "GET /livez HTTP/1.1\r\nHost: localhost.example\r\n\r\n",
            "421",
        ),
        (
            "GET http://rebound.example/livez HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
            "421",
        ),
        (
            "GET http://rebound.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "400",
        ),
        ("GET /livez HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\nHost: [::1]:9901\r\n\r\n", "200"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        ("rubbish\r\n\r\n", "400"),
    ];
    for (request, status) in cases {
        let answer = exchange(&address, request.as_bytes()).await;
        assert_eq!(
            answer.split(' ').nth(1),
            Some(status),
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_drain_is_ordered_by_those_who_mean_it() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    sources.lifecycle.advance(Phase::Ready);
    let ask = async |line: &str, more: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        exchange(&address, request.as_bytes()).await
    };
    // What a page in a browser can send, and what it asks first when it wants to send more.
    let origin = "Origin: https://evil.example\r\n";
    let preflight = "Access-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: sidestream-command\r\n";
    for (line, more, status, says) in [
        ("GET /drain", "", "405", "Allow: POST"),
        ("HEAD /drain", "Sidestream-Command: drain\r\n", "405", ""),
        ("POST /drain", origin, "403", "Sidestream-Command: drain"),
        ("POST /drain", "Sidestream-Command: stop\r\n", "403", ""),
        ("OPTIONS /drain", preflight, "405", ""),
    ] {
        let answer = ask(line, more).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(says), "{answer}");
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "{answer}"
        );
        assert_eq!(sources.lifecycle.phase(), Phase::Ready, "{line}");
    }
    for phase in [Phase::Draining, Phase::Draining, Phase::Drained] {
        sources.lifecycle.advance(phase);
        let answer = ask("POST /drain", "Sidestream-Command: drain\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        let said = format!("{{\"phase\":\"{}\"}}\n", phase.as_str());
        assert!(answer.ends_with(&said), "{answer}");
        assert_eq!(sources.lifecycle.phase(), phase);
    }
    assert!(!sources.lifecycle.is_leaving(), "the process stays");
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    let answer = exchange(
        &address,
        b"HEAD /config HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("content-length: 11\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_replaces_a_stale_one_and_is_removed() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let sources = sources();
    let wanted = ListenAddress::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    let address = start(&wanted, &sources);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let answer = exchange(&address, b"GET /livez HTTP/1.1\r\nHost: anything\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let taken = Admin::bind(&wanted, Pages::All).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    assert!(taken.to_string().contains("admin.sock"), "{taken}");

    sources.lifecycle.advance(Phase::Stopped);
    let gone = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), gone)
        .await
        .expect("the socket file is removed");
}

#[tokio::test(start_paused = true)]
async fn slow_heads_are_cut_and_do_not_keep_others_out_for_ever() {
    let sources = sources();
    let address = start(&loopback(), &sources);
    let ListenAddress::Tcp(tcp) = address else {
        panic!("{address:?}")
    };
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        stream.write_all(b"GET /livez HTT").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(get(&address, "/livez").await.0, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

#[test]
fn identities_are_told_apart_but_not_shown() {
    let hash = IdentityHash::default();
    let one = vec![(http::header::COOKIE, Bytes::from_static(b"session=1"))];
    let other = vec![(http::header::COOKIE, Bytes::from_static(b"session=2"))];
    assert_eq!(hash.of(&[]), None);
    assert_eq!(hash.of(&one), hash.of(&one));
    assert_ne!(hash.of(&one), hash.of(&other));
    assert_eq!(hash.of(&one).unwrap().len(), 8);
    assert_ne!(
        hash.of(&one),
        IdentityHash::default().of(&one),
        "another key in each process"
    );
}
