use std::sync::Arc;

use bytes::Bytes;
use http::{Request, uri::Scheme};
use pingora::http::RequestHeader;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
};

use super::{
    super::{CutKind, RequestBody, call::Order},
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
