//! HTTP/2 clients that make work without asking for anything: their connection ends with
//! ENHANCE_YOUR_CALM, and nobody else notices.

use h2::Reason;
use tokio::net::TcpStream;

use crate::rig::{
    Rig, Settings,
    app::App,
    h2::{H2, get},
    h2raw::{self, ENHANCE_YOUR_CALM, RawH2, block, frame},
    soon, until,
};

/// 10 x 10 frames at once, and twice the streams.
const SMALL_BUDGET: &[&str] = &[
    "control_frames_per_second_max: 10",
    "streams_per_connection_max: 10",
];
const BUDGET: usize = 120;

async fn rig() -> (App, Rig) {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            if !head.starts_with("GET /silent") {
                conn.answer(200, "", b"").await;
            }
        }
    })
    .await;
    let settings = Settings {
        limits: SMALL_BUDGET,
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    (app, rig)
}

async fn assert_served(rig: &Rig) {
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let answer = H2::connect(stream).await.request(get("/"), &[]).await;
    assert_eq!(answer.unwrap().0.status, 200);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_for_ever_end_the_connection() {
    let (app, rig) = rig().await;
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let mut asked = 0;
    while let Ok(mut ready) = soon("ready", send.clone().ready()).await {
        // The app has the request: the crate's own limit, on streams that nobody accepted, is not it.
        let Ok((answer, mut stream)) = ready.send_request(get("/silent"), true) else {
            break;
        };
        asked += 1;
        until("the app to be asked, or the end", || {
            app.heads().len() == asked || ended.is_finished()
        })
        .await;
        stream.send_reset(Reason::CANCEL);
        drop(answer);
        assert!(asked < 10 * BUDGET, "no end of it");
    }
    let error = soon("the end", ended).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    assert!(asked >= BUDGET, "{asked}");
    until("to be counted", || {
        rig.metrics().calmed_connections.get() == 1
    })
    .await;
    assert_served(&rig).await;
    until("its place to be free", || rig.connections() == 0).await;
}

#[tokio::test]
async fn closing_all_streams_at_once_is_no_flood() {
    let (app, rig) = rig().await;
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for round in 1..=3 {
        let mut open = Vec::new();
        for _ in 0..10 {
            let mut ready = soon("ready", send.clone().ready()).await.unwrap();
            open.push(ready.send_request(get("/silent"), true).unwrap());
        }
        until("the app to be asked", || app.heads().len() == round * 10).await;
        drop(open);
    }
    let mut ready = soon("ready", send.clone().ready()).await.unwrap();
    let (answer, _) = ready.send_request(get("/"), true).unwrap();
    assert_eq!(soon("answer", answer).await.unwrap().status(), 200);
}

#[tokio::test]
async fn floods_of_other_frames_end_the_connection() {
    let (app, rig) = rig().await;
    let opening = block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"a"),
    ]);
    let field = block(&[(b"x", b"y")]);
    let large = block(&[(b"x", &[b'y'; 100])]).repeat(150);
    let ping = frame(h2raw::PING, 0, 0, &[0; 8]);
    let settings = frame(h2raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0]);
    let priority = frame(2, 0, 3, &[0, 0, 0, 0, 1]);
    let unknown = frame(0xfa, 0, 0, b"hello");
    let begin = frame(h2raw::HEADERS, h2raw::END_STREAM, 1, &opening);
    let floods: &[(&str, &[u8], Vec<u8>)] = &[
        ("PING", &[], ping),
        ("SETTINGS", &[], settings),
        ("PRIORITY", &[], priority),
        ("a type that nobody knows", &[], unknown),
        // These two the crate guards against.
        (
            "short CONTINUATION",
            &begin,
            frame(h2raw::CONTINUATION, 0, 1, &field),
        ),
        (
            "long CONTINUATION",
            &begin,
            frame(h2raw::CONTINUATION, 0, 1, &large),
        ),
    ];
    for (n, (name, first, flood)) in (1..).zip(floods) {
        let mut client = RawH2::connect(rig.plain(), &[]).await;
        client.send(first).await;
        client.send(&flood.repeat(2 * BUDGET)).await;
        assert_eq!(client.goaway().await, Some(ENHANCE_YOUR_CALM), "{name}");
        until(name, || rig.metrics().calmed_connections.get() == n).await;
        assert_served(&rig).await;
    }
    assert_eq!(app.heads().len(), floods.len(), "none but the others'");
}

#[tokio::test]
async fn below_the_budget_such_frames_are_answered() {
    let (_app, rig) = rig().await;
    let mut client = RawH2::connect(rig.plain(), &[]).await;
    client
        .send(&frame(h2raw::PING, 0, 0, b"question").repeat(BUDGET / 2))
        .await;
    let mut pongs = 0;
    while pongs < BUDGET / 2 {
        let frame = client.next().await.expect("a connection that goes on");
        assert_eq!(frame.goaway(), None);
        pongs += usize::from(frame.kind == h2raw::PING && frame.payload == b"question");
    }
}
