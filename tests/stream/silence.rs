//! Heartbeats: what a client gets while the app thinks.

use crate::{
    paced::paced,
    reader::{BOTH, CHAT, FETCH, Next, ask},
    rig::{Rig, Settings, permits::Permits},
};

/// The app says the next piece only after the client had a heartbeat.
const PIECES: [&str; 3] = ["data: a\n", "\ndata: b\r\n", "\r\n"];

#[tokio::test]
async fn heartbeats_fill_the_apps_silence_between_lines() {
    let permits = Permits::new();
    let app = paced(&permits, |_, mut conn, permits| async move {
        let length: usize = PIECES.iter().map(|piece| piece.len()).sum();
        // With a length, which heartbeats would break if it were passed on.
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Content-Length: {length}\r\n\r\n"
        ))
        .await;
        for piece in PIECES {
            permits.take().await;
            conn.send(piece).await;
        }
        conn.closed().await;
    })
    .await;
    let settings = Settings {
        stream: &["heartbeat: 1s"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    for (over, request) in BOTH.into_iter().zip([CHAT, FETCH]) {
        let mut answer = ask(&rig, over, request).await;
        for piece in PIECES {
            answer.expect(":hb\n").await;
            permits.give(1);
            answer.expect(piece).await;
        }
        assert_eq!(answer.next().await, Next::End, "{over:?}");
    }
    assert!(rig.metrics().heartbeats.get() >= 6);
}
