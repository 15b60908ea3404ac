use std::time::Duration;

use http::{HeaderName, StatusCode, header};

use super::*;
use crate::{
    config::testing,
    error::ConnectOutcome,
    upstream::testing::{App, PATIENCE, Step, open as open_at, refusing},
};

fn request(target: &str) -> UpstreamRequest {
    UpstreamRequest {
        target: target.to_owned(),
        host: "app.example:8080".to_owned(),
        headers: Vec::new(),
    }
}

async fn open_with(app: &App, request: &UpstreamRequest) -> Result<Opened, OpenError> {
    let dialer = Dialer::new(Arc::new(Peers::new(Arc::default())));
    let upstream = testing::upstream(app.address.port());
    let opening = open_at(&dialer, &upstream, request);
    tokio::time::timeout(PATIENCE, opening)
        .await
        .expect("an outcome in time")
}

async fn open(app: &App) -> Result<Opened, OpenError> {
    open_with(app, &request("/stream")).await
}

/// Reads the whole body.
async fn drain(body: &mut Body) -> (Vec<u8>, Result<(), CutKind>) {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, body.read())
            .await
            .expect("a part in time")
        {
            Ok(Part::Data(data)) => bytes.extend_from_slice(data),
            Ok(Part::End) => return (bytes, Ok(())),
            Err(cut) => return (bytes, Err(cut.kind)),
        }
    }
}

#[track_caller]
fn no_head(result: Result<Opened, OpenError>) -> OpenError {
    let error = result.map(|opened| opened.head).unwrap_err();
    assert_eq!(error.outcome(), ConnectOutcome::NoHead, "{error}");
    error
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNFRAMED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

#[tokio::test]
async fn the_request_carries_constants_and_what_was_given() {
    let mut app = App::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let headers = vec![
        (header::COOKIE, Bytes::from_static(b"session=1")),
        (
            HeaderName::from_static("last-event-id"),
            Bytes::from_static("é7".as_bytes()),
        ),
    ];
    let request = UpstreamRequest {
        headers,
        ..request("/a%2f%c3?b=[1]&c={}|^`'&&")
    };
    open_with(&app, &request).await.unwrap();
    let expected = format!(
        "GET /a%2f%c3?b=[1]&c={{}}|^`'&& HTTP/1.1\r\n\
         Host: app.example:8080\r\n\
         Accept: text/event-stream\r\n\
         Cache-Control: no-cache\r\n\
         Accept-Encoding: identity\r\n\
         User-Agent: sidestream/{}\r\n\
         cookie: session=1\r\n\
         last-event-id: é7\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(app.request().await, expected);
}

#[tokio::test]
async fn a_given_field_takes_the_place_of_a_constant() {
    let mut app = App::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let headers = vec![(header::ACCEPT, Bytes::from_static(b"a/b"))];
    open_with(
        &app,
        &UpstreamRequest {
            headers,
            ..request("/")
        },
    )
    .await
    .unwrap();
    let head = app.request().await;
    assert!(
        head.contains("accept: a/b\r\n") && !head.contains("Accept: "),
        "{head}"
    );
}

#[tokio::test]
async fn what_cannot_stand_in_a_request_is_never_sent() {
    let app = App::start(Vec::new()).await;
    for value in [&b"a\r\nx: y"[..], b"a\nb", b"a\0b"] {
        let headers = vec![(header::AUTHORIZATION, Bytes::copy_from_slice(value))];
        let error = no_head(
            open_with(
                &app,
                &UpstreamRequest {
                    headers,
                    ..request("/")
                },
            )
            .await,
        );
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("authorization") && !text.contains("x: y"),
            "{text}"
        );
    }
    for target in [
        "/a b",
        "/a\r\nx: y",
        "/a\nb",
        "/a#b",
        "a",
        "*",
        "http://x/a",
        "",
    ] {
        no_head(open_with(&app, &request(target)).await);
    }
}

#[tokio::test]
async fn a_chunked_stream_ends_with_its_last_chunk() {
    let chunks = "6\r\ndata: \r\n3;ext=1\r\nx\n\n\r\n0\r\n\r\n";
    let app = App::answering(format!("{CHUNKED}{chunks}").as_bytes()).await;
    let mut opened = open(&app).await.unwrap();
    assert_eq!(opened.head.status, StatusCode::OK);
    assert_eq!(
        opened.head.headers[header::CONTENT_TYPE],
        "text/event-stream"
    );
    assert_eq!(
        drain(&mut opened.body).await,
        (b"data: x\n\n".to_vec(), Ok(()))
    );
}

#[tokio::test]
async fn trailers_are_skipped() {
    let app = App::answering(format!("{CHUNKED}1\r\nx\r\n0\r\nA: b\r\n\r\n").as_bytes()).await;
    let mut opened = open(&app).await.unwrap();
    assert_eq!(drain(&mut opened.body).await, (b"x".to_vec(), Ok(())));
}

#[tokio::test]
async fn a_close_is_the_end_of_an_unframed_stream() {
    for head in [
        UNFRAMED,
        "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    ] {
        let app = App::answering(format!("{head}data: x\n\n").as_bytes()).await;
        let mut opened = open(&app).await.unwrap();
        assert_eq!(
            drain(&mut opened.body).await,
            (b"data: x\n\n".to_vec(), Ok(()))
        );
    }
}

#[tokio::test]
async fn a_content_length_ends_the_stream_without_a_close() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let script = vec![
        Step::Request,
        Step::Send(format!("{head}data: x\n\n").into()),
        Step::Wait,
    ];
    let app = App::start(vec![script]).await;
    let mut opened = open(&app).await.unwrap();
    assert_eq!(
        drain(&mut opened.body).await,
        (b"data: x\n\n".to_vec(), Ok(()))
    );
}

#[tokio::test]
async fn a_close_inside_of_framing_is_a_cut() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let cases = [
        (CHUNKED, "", ""),
        (CHUNKED, "3", ""),
        (CHUNKED, "3\r\n", ""),
        (CHUNKED, "3\r\nab", "ab"),
        (CHUNKED, "3\r\nabc", "abc"),
        (CHUNKED, "3\r\nabc\r", "abc"),
        (CHUNKED, "3\r\nabc\r\n", "abc"),
        (CHUNKED, "3\r\nabc\r\n0", "abc"),
        (CHUNKED, "3\r\nabc\r\n0\r\n", "abc"),
        (CHUNKED, "3\r\nabc\r\n0\r\n\r", "abc"),
        (CHUNKED, "3\r\nabc\r\n0\r\nA: b\r\n", "abc"),
        (sized, "", ""),
        (sized, "data: x\n", "data: x\n"),
    ];
    for (head, body, data) in cases {
        let app = App::answering(format!("{head}{body}").as_bytes()).await;
        let mut opened = open(&app).await.unwrap();
        let expected = (data.as_bytes().to_vec(), Err(CutKind::Truncated));
        assert_eq!(drain(&mut opened.body).await, expected, "{body:?}");
    }
}

#[tokio::test]
async fn malformed_chunks_are_a_cut() {
    for body in [
        "x\r\n",
        "-1\r\na\r\n",
        "1\r\nabc\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let app = App::answering(format!("{CHUNKED}{body}").as_bytes()).await;
        let mut opened = open(&app).await.unwrap();
        let (_, result) = drain(&mut opened.body).await;
        assert_eq!(result, Err(CutKind::Framing), "{body:?}");
    }
}

#[tokio::test]
async fn a_reset_is_a_cut_of_any_stream() {
    for (head, body) in [(CHUNKED, "3\r\nabc\r\n"), (UNFRAMED, "abc")] {
        let bytes = format!("{head}{body}").into_bytes();
        let script = vec![Step::Request, Step::Send(bytes), Step::Wait, Step::Reset];
        let app = App::start(vec![script]).await;
        let mut opened = open(&app).await.unwrap();
        assert_eq!(opened.body.read().await, Ok(Part::Data(b"abc")));
        app.go_on();
        assert_eq!(
            drain(&mut opened.body).await,
            (Vec::new(), Err(CutKind::Connection))
        );
    }
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let send = |text: &str| Step::Send(text.to_owned().into_bytes());
    let script = vec![
        Step::Request,
        send(CHUNKED),
        Step::Wait,
        send("3\r\nab"),
        Step::Wait,
        send("c\r\n0\r\n\r\n"),
    ];
    let app = App::start(vec![script]).await;
    let mut opened = open(&app).await.unwrap();
    let mut bytes = Vec::new();
    for _ in 0..2 {
        while let Ok(part) =
            tokio::time::timeout(Duration::from_millis(20), opened.body.read()).await
        {
            let Ok(Part::Data(data)) = part else {
                panic!("not the end yet: {part:?}")
            };
            bytes.extend_from_slice(data);
        }
        app.go_on();
    }
    let (rest, result) = drain(&mut opened.body).await;
    bytes.extend_from_slice(&rest);
    assert_eq!((bytes.as_slice(), result), (&b"abc"[..], Ok(())));
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let bytes = format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{CHUNKED}1\r\nx\r\n0\r\n\r\n");
    let app = App::start(vec![vec![Step::Request, Step::Drip(bytes.into_bytes())]]).await;
    let mut opened = open(&app).await.unwrap();
    assert_eq!(opened.head.headers.get("link"), None);
    assert_eq!(drain(&mut opened.body).await, (b"x".to_vec(), Ok(())));
}

#[tokio::test]
async fn a_head_may_be_cut_anywhere() {
    let (whole, body) = (CHUNKED.as_bytes(), b"1\r\nx\r\n0\r\n\r\n");
    for cut in 1..whole.len() {
        let (first, second) = whole.split_at(cut);
        let second = [second, body].concat();
        let script = vec![
            Step::Request,
            Step::Drip(first.to_vec()),
            Step::Send(second),
        ];
        let app = App::start(vec![script]).await;
        let mut opened = open(&app).await.unwrap();
        assert_eq!(
            drain(&mut opened.body).await,
            (b"x".to_vec(), Ok(())),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn a_close_before_or_inside_of_the_head_is_no_head() {
    for bytes in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
    ] {
        let app = App::answering(bytes.as_bytes()).await;
        no_head(open(&app).await);
    }
}

#[tokio::test]
async fn garbage_is_no_head_and_is_not_quoted() {
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    let secret = "HTTP/0.9 is <html>secret</html>\r\n\r\n";
    let double = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsecret";
    let gzip = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nsecret";
    let odd = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n";
    let tls_alert = "\x15\x03\x01\x00\x02\x02\x46";
    for bytes in [
        &hints, switching, secret, double, gzip, odd, tls_alert, "\0\0\0\0", "secret",
    ] {
        let app = App::answering(bytes.as_bytes()).await;
        let error = no_head(open(&app).await);
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret") && text.len() < 200, "{text}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_body() {
    for (status, head) in [
        (
            401,
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
        ),
        (
            503,
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ),
        (404, "HTTP/1.1 404 Not Found\r\n\r\nno"),
    ] {
        let app = App::answering(head.as_bytes()).await;
        let mut opened = open(&app).await.unwrap();
        assert_eq!(opened.head.status.as_u16(), status);
        let expected = RefusalBody {
            bytes: Bytes::from_static(b"no"),
            rest: Rest::None,
        };
        assert_eq!(opened.body.read_refusal(PATIENCE).await, expected);
    }
}

#[tokio::test]
async fn a_204_has_no_body_and_waits_for_none() {
    let script = vec![
        Step::Request,
        Step::Send(b"HTTP/1.1 204 No\r\n\r\n".to_vec()),
        Step::Wait,
    ];
    let app = App::start(vec![script]).await;
    let mut opened = open(&app).await.unwrap();
    let expected = RefusalBody {
        bytes: Bytes::new(),
        rest: Rest::None,
    };
    assert_eq!(opened.body.read_refusal(PATIENCE).await, expected);
}

#[tokio::test]
async fn a_long_refusal_is_read_in_part_and_can_be_read_on() {
    let length = 200 * 1024;
    let mut bytes = format!("HTTP/1.1 500 Oh\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let head_len = bytes.len();
    bytes.extend((0..length).map(|index: u32| b'a' + (index % 26) as u8));
    let app = App::answering(&bytes).await;
    let mut opened = open(&app).await.unwrap();
    let start = opened.body.read_refusal(PATIENCE).await;
    assert_eq!(start.rest, Rest::More);
    assert!(start.bytes.len() > REFUSAL_BYTES_MAX && start.bytes.len() <= 2 * REFUSAL_BYTES_MAX);
    let (rest, result) = drain(&mut opened.body).await;
    assert_eq!(result, Ok(()));
    assert!([&start.bytes[..], &rest].concat() == bytes[head_len..]);
}

#[tokio::test]
async fn a_refusal_of_exactly_the_bound_is_whole() {
    let mut bytes =
        format!("HTTP/1.1 500 Oh\r\nContent-Length: {REFUSAL_BYTES_MAX}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + REFUSAL_BYTES_MAX, b'x');
    let app = App::answering(&bytes).await;
    let body = open(&app).await.unwrap().body.read_refusal(PATIENCE).await;
    assert_eq!(
        (body.bytes.len(), body.rest),
        (REFUSAL_BYTES_MAX, Rest::None)
    );
}

#[tokio::test]
async fn a_slow_or_broken_refusal_gives_what_came() {
    let sent = b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\npart".to_vec();
    let script = vec![Step::Request, Step::Send(sent.clone()), Step::Wait];
    let app = App::start(vec![script]).await;
    let body = open(&app)
        .await
        .unwrap()
        .body
        .read_refusal(Duration::from_millis(50))
        .await;
    assert_eq!((&body.bytes[..], body.rest), (&b"part"[..], Rest::Cut));

    let app = App::answering(&sent).await;
    let body = open(&app).await.unwrap().body.read_refusal(PATIENCE).await;
    assert_eq!((&body.bytes[..], body.rest), (&b"part"[..], Rest::Cut));
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let (_socket, address) = refusing();
    let dialer = Dialer::new(Arc::new(Peers::new(Arc::default())));
    let upstream = testing::upstream(address.port());
    let result = open_at(&dialer, &upstream, &request("/")).await;
    let error = result.map(|opened| opened.head).unwrap_err();
    assert_eq!(error.outcome(), ConnectOutcome::Unreachable);
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("refused"),
        "{text}"
    );
}
