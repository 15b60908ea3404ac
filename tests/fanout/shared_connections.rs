//! What the streams of one HTTP/2 connection share: how many there may be, and its end.

use crate::{
    base::{client::tcp, h2peer::End},
    rig::{
        Settings, Side,
        app::App,
        peers::{ROOMY, Yardstick, roomy},
    },
};

/// RFC 9113, section 7.
const REFUSED_STREAM: u32 = 7;

/// Subscribers count, although the h2 crate has forgotten them, and those who have left do not.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_those_who_leave_make_room() {
    let app = App::start().await;
    let settings = Settings {
        fanout: ROOMY,
        limits: "streams_per_connection_max: 3",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut all = Yardstick::open(&side, &app).await;
    let mut peer = roomy(tcp(side.plain()).await).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(peer.get("/feed/a").await);
    }
    side.until_members(4).await;
    let over = peer.get("/feed/a").await;
    peer.until("a refusal", |peer| peer.end(over).is_some())
        .await;
    assert_eq!(peer.end(over), Some(End::Reset(REFUSED_STREAM)));
    assert_eq!(peer.streams[&over].status, None, "safe to repeat");

    peer.reset(ids.remove(0)).await;
    side.until_members(3).await;
    ids.push(peer.get("/feed/a").await);
    side.until_members(4).await;
    all.event(100).await;
    all.until_had_by(&mut peer, &ids).await;
    all.finish().await;
    side.until_empty().await;
}

/// A client that says GOAWAY wants what it has asked for: the connection ends after that, and not
/// before.
#[tokio::test]
async fn a_client_that_says_goaway_keeps_its_streams_and_then_the_connection_ends() {
    let app = App::start().await;
    let side = Side::start(app.port(), ROOMY);
    let mut all = Yardstick::open(&side, &app).await;
    let mut peer = roomy(tcp(side.plain()).await).await;
    let ids = [peer.get("/feed/a").await, peer.get("/feed/a").await];
    side.until_members(3).await;
    peer.goaway().await;
    peer.ping().await;
    peer.until("an answer", |peer| peer.is_answered()).await;
    for _ in 0..3 {
        all.event(100).await;
    }
    all.until_had_by(&mut peer, &ids).await;
    let connections = "connections{protocol=\"h2\"}";
    assert_eq!(side.metric(connections), 2);
    all.finish().await;
    peer.until("the ends", |peer| {
        ids.iter().all(|id| peer.end(*id) == Some(End::Whole))
    })
    .await;
    // Long before it would be idle for too long.
    side.until_metric(connections, 0).await;
}
