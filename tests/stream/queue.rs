//! The end of an answer over HTTP/2, when what came before it still waits to be written.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    paced::paced,
    reader::counted,
    rig::{
        Rig,
        app::{App, STREAM},
        client::narrow,
        h2raw::{
            Answer, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawH2, WINDOW_UPDATE,
            block, frame,
        },
        permits::Permits,
        until,
    },
};

/// Far more than all buffers on the way to a client hold that reads nothing.
const STUCK_BYTES: usize = 16 << 20;
/// What an app has sent by then.
const SENT_BYTES: usize = 1 << 20;

const INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: u32 = 8;

/// An app that answers `/stream/stuck` at length, and breaks any other off with the permit.
async fn app(permits: &Permits, sent: &Arc<AtomicUsize>) -> App {
    let sent = sent.clone();
    paced(permits, move |head, mut conn, permits| {
        let sent = sent.clone();
        async move {
            if head.starts_with("GET /stream/stuck") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {STUCK_BYTES}\r\n\r\n");
                conn.send(head).await;
                let piece = vec![b'x'; 64 << 10];
                while conn.try_send(&piece).await {
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
            } else {
                conn.send(STREAM).await;
                permits.take().await;
                conn.send("9\r\ndata: a\n\n\r\n").await;
            }
        }
    })
    .await
}

fn get(path: &str) -> Vec<u8> {
    block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"shop.example"),
        (b":path", path.as_bytes()),
        (b"accept", b"text/event-stream"),
    ])
}

fn wider(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

#[tokio::test]
async fn a_cut_comes_behind_all_that_there_is_of_the_answer() {
    let (permits, sent) = (Permits::new(), Arc::default());
    let app = app(&permits, &sent).await;
    let rig = Rig::start(&app.address);
    // A window that one event does not fit into.
    let io = narrow(rig.plain()).await;
    let mut client = RawH2::over(io, &[(INITIAL_WINDOW_SIZE, 4)]).await;
    let flags = END_STREAM | END_HEADERS;
    let ask = |stream, path| frame(HEADERS, flags, stream, &get(path));
    let stuck = [
        wider(0, 1 << 30),
        ask(1, "/stream/stuck"),
        wider(1, 1 << 30),
    ];
    assert!(client.send(&stuck.concat()).await);
    assert_eq!(client.answer(1).await, Answer::Status(200));
    until("the connection to be stuck", || {
        sent.load(Ordering::Relaxed) >= SENT_BYTES
    })
    .await;

    assert!(client.send(&ask(3, "/stream/a")).await);
    rig.until_metric("subscribers{route=\"stream-rest\",protocol=\"h2\"}", 1)
        .await;
    permits.give(1);
    assert!(client.send(&wider(3, 5)).await);
    let broken = "ended_total{route=\"stream-rest\",reason=\"upstream_cut\"} 1";
    counted(&rig, broken).await;

    // It reads again, and wants no more of the other.
    assert!(
        client
            .send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()))
            .await
    );
    let mut got = Vec::new();
    let code = loop {
        let frame = client.next().await.expect("a frame before the end");
        match frame.kind {
            _ if frame.stream != 3 => {}
            DATA => got.extend(frame.payload),
            RST_STREAM => break u32::from_be_bytes(frame.payload[..4].try_into().unwrap()),
            _ => {}
        }
    };
    assert_eq!(String::from_utf8(got).unwrap(), "data: a\n\n");
    assert_eq!(code, CANCEL);
}
