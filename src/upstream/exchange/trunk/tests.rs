use std::sync::Arc;

use bytes::Bytes;
use http::{Request, uri::Scheme};
use pingora::http::RequestHeader;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
};

use super::{
    super::{
        CutKind, RequestBody,
        call::{Call, Order},
    },
    *,
};
use crate::metrics::Metrics;

/// Bytes under way between the two sides.
const LINE_BYTES: usize = 64 * 1024;

async fn open(line: DuplexStream) -> Result<Arc<Trunk>, String> {
    let counted = Metrics::new().upstream("app").shared_connections.hold();
    Trunk::open(line, counted).await
}

fn order() -> Order {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.append_header("Host", "app").unwrap();
    Order::new(&head, Scheme::HTTP, RequestBody::None).unwrap()
}

/// An app that answers one request with a head, and is dead from then on though its connection is
/// not.
async fn answers_and_freezes(line: DuplexStream, frozen: oneshot::Receiver<()>) {
    let mut connection = h2::server::handshake(line).await.unwrap();
    let (_request, mut respond): (Request<_>, _) = connection.accept().await.unwrap().unwrap();
    let body = respond.send_response(http::Response::new(()), false);
    let frozen = async {
        let _told = frozen.await;
    };
    tokio::select! {
        _ = connection.accept() => panic!("one request"),
        () = frozen => {}
    }
    let _held: (_, h2::server::Connection<_, Bytes>) = (body, connection);
    pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_hangs_is_found_by_its_silence() {
    let (ours, apps) = duplex(LINE_BYTES);
    let (freeze, frozen) = oneshot::channel();
    let app = tokio::spawn(answers_and_freezes(apps, frozen));
    let trunk = open(ours).await.unwrap();
    let requests = trunk.requests();
    let (mut call, _) = order().put_on(trunk, requests).unwrap();
    assert_eq!(call.heard().await.unwrap().status, 200);
    // For as long as it answers pings, it may be as silent as it likes.
    assert!(
        tokio::time::timeout(UNACKNOWLEDGED_MAX * 10, call.read())
            .await
            .is_err()
    );
    freeze.send(()).unwrap();
    let wait = KEEPALIVE_IDLE + UNACKNOWLEDGED_MAX * 2;
    let cut = tokio::time::timeout(wait, call.read())
        .await
        .expect("found in time")
        .unwrap_err();
    assert_eq!(cut.kind, CutKind::Connection);
    assert_eq!(
        cut.to_string(),
        "the connection to the app failed: no answer to a PING in 30s"
    );
    app.abort();
}

#[tokio::test]
async fn what_is_no_http2_is_told_at_once() {
    for (said, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it does not speak HTTP/2: "),
        (b"", "it "),
        // SETTINGS with SETTINGS_MAX_CONCURRENT_STREAMS of 0, and the answer to our PING.
        (
            b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\0\0\0\x08\x06\x01\0\0\0\0\x3b\x7c\xdb\x7a\x0b\x87\x16\xb4",
            "it takes no request (SETTINGS_MAX_CONCURRENT_STREAMS is 0)",
        ),
    ] {
        let (ours, mut apps) = duplex(LINE_BYTES);
        let app = tokio::spawn(async move {
            let mut preface = [0; 24];
            apps.read_exact(&mut preface).await.unwrap();
            apps.write_all(said).await.unwrap();
            if said.len() > 30 {
                let _closed = apps.read_to_end(&mut Vec::new()).await;
            }
        });
        let problem = open(ours).await.unwrap_err();
        assert!(problem.starts_with(expected), "{problem}");
        app.await.unwrap();
    }
}

/// SETTINGS, and the answer to our PING.
const HELLO: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\x01\0\0\0\0\x3b\x7c\xdb\x7a\x0b\x87\x16\xb4";

/// HEADERS of our first stream: `:status: 200`.
const ANSWER: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88";

const HEADERS: u8 = 1;

fn goaway(last: u8, reason: h2::Reason, debug: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + debug.len()).unwrap().to_be_bytes();
    let reason = u32::from(reason).to_be_bytes();
    let head = [length[1], length[2], length[3], 7, 0, 0, 0, 0, 0];
    [&head[..], &[0, 0, 0, last], &reason, debug].concat()
}

/// Of our first stream.
fn reset(reason: h2::Reason) -> Vec<u8> {
    let reason = u32::from(reason).to_be_bytes();
    [&b"\0\0\x04\x03\0\0\0\0\x01"[..], &reason].concat()
}

/// An app that says hello, waits for a request, says one thing more and closes.
async fn says(mut line: DuplexStream, said: Vec<u8>) {
    let mut preface = [0; 24];
    line.read_exact(&mut preface).await.unwrap();
    line.write_all(HELLO).await.unwrap();
    let mut head = [0; 9];
    while head[3] != HEADERS {
        line.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        line.read_exact(&mut payload).await.unwrap();
    }
    line.write_all(&said).await.unwrap();
}

async fn called(said: Vec<u8>) -> (Box<Call>, Arc<Trunk>) {
    let (ours, apps) = duplex(LINE_BYTES);
    tokio::spawn(says(apps, said));
    let trunk = open(ours).await.unwrap();
    let requests = trunk.requests();
    let (call, _) = order().put_on(trunk.clone(), requests).unwrap();
    (call, trunk)
}

#[tokio::test]
async fn what_the_app_has_not_looked_at_is_told_from_what_it_may_have_seen() {
    use h2::Reason;
    for (said, is_untouched) in [
        (reset(Reason::REFUSED_STREAM), true),
        (reset(Reason::CANCEL), false),
        (goaway(0, Reason::NO_ERROR, b""), true),
        (goaway(0, Reason::ENHANCE_YOUR_CALM, b"later"), true),
        (goaway(1, Reason::NO_ERROR, b""), false),
        (Vec::new(), false),
    ] {
        let (mut call, trunk) = called(said.clone()).await;
        let error = call.heard().await.unwrap_err();
        let case = format!("{error:?} {said:?}");
        assert_eq!(
            matches!(error, OpenError::Untouched(_)),
            is_untouched,
            "{case}"
        );
        assert_eq!(trunk.is_averse(), is_untouched, "{case}");
        trunk.forgive();
        assert!(!trunk.is_averse());
    }
}

#[tokio::test]
async fn what_the_app_says_of_its_leaving_is_not_quoted() {
    let secret = "secret".repeat(1_000);
    let leaves = goaway(0, h2::Reason::ENHANCE_YOUR_CALM, secret.as_bytes());
    let (mut call, _) = called(leaves.clone()).await;
    let no_head = call.heard().await.unwrap_err();
    // It takes back what it has begun.
    let (mut call, _) = called([ANSWER, &leaves].concat()).await;
    assert_eq!(call.heard().await.unwrap().status, 200);
    let cut = call.read().await.unwrap_err();
    for text in [format!("{no_head} {no_head:?}"), format!("{cut} {cut:?}")] {
        assert!(text.contains("connection error received"), "{text}");
        assert!(!text.contains("secret") && text.len() < 250, "{text}");
    }
}
