//! A client that stops reading its connection, with many streams on it: nobody else notices, and what
//! it gets when it reads on is what the policy says.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    base::{
        client::{narrow, tls_over},
        h2peer::{End, Peer},
    },
    rig::{
        Settings, Side,
        app::App,
        peers::{ROOMY, Yardstick, roomy},
    },
};

const STREAMS: usize = 50;

/// Small socket buffers: who does not read is soon noticed.
const NARROW: &str = "tcp_send_buffer_bytes: 4KiB";

trait Socket: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

/// TCP, or TLS.
async fn connection(side: &Side, tls: bool) -> Box<dyn Socket> {
    if tls {
        let stream = narrow(side.tls()).await;
        Box::new(tls_over(stream, &side.certificate(), &["h2"]).await)
    } else {
        Box::new(narrow(side.plain()).await)
    }
}

/// Fifty streams, all level.
async fn asked(side: &Side, peer: &mut Peer<Box<dyn Socket>>) -> Vec<u32> {
    let mut ids = Vec::new();
    for _ in 0..STREAMS {
        ids.push(peer.get("/feed/a").await);
    }
    side.until_members(1 + STREAMS).await;
    ids
}

#[tokio::test]
async fn streams_that_stood_still_together_go_on_without_a_gap() {
    for tls in [false, true] {
        let app = App::start().await;
        let settings = Settings {
            fanout: ROOMY,
            limits: NARROW,
            ..Settings::default()
        };
        let side = Side::with(app.port(), &settings);
        // By the same scheme: another one is another channel.
        let mut all = Yardstick::over(connection(&side, tls).await, &side, &app).await;
        let mut peer = roomy(connection(&side, tls).await).await;
        let ids = asked(&side, &mut peer).await;
        // First they are behind together, and read on before they are given up; then each by itself;
        // and then they are level again.
        for apart in [false, true, false] {
            for _ in 0..60 {
                all.event(2_000).await;
            }
            if apart {
                side.until_metric("behind_subscribers", STREAMS as i64)
                    .await;
                for _ in 0..20 {
                    all.event(2_000).await;
                }
            }
            all.until_had_by(&mut peer, &ids).await;
            side.until_metric("behind_subscribers", 0).await;
        }
        assert_eq!(side.metric("events_skipped_total{route=\"feed\"}"), 0);
        all.finish().await;
        peer.until("the end", |peer| {
            ids.iter().all(|id| peer.end(*id) == Some(End::Whole))
        })
        .await;
        side.until_empty().await;
    }
}
