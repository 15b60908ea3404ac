//! Signs that a setting does not fit, as an operator sees them.

use serde_json::Value;

use crate::rig::{
    Side,
    app::App,
    reader::{event_source, get, h1_pending},
    until,
};

async fn hints(side: &Side) -> Vec<Value> {
    let page = side.admin("/channels").await;
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let mut page: Value = serde_json::from_str(body).unwrap();
    page["hints"].as_array_mut().unwrap().drain(..).collect()
}

/// An analytics cookie that counts as identity costs its clients their places.
#[tokio::test]
async fn clients_that_lose_their_places_by_a_cookie_are_told_of_by_its_name() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let ask = |visit: usize| {
        let cookie = format!("session=me; _ga={visit}");
        event_source("/feed/a").with("Cookie", &cookie)
    };
    let first = h1_pending(side.plain(), &ask(0)).await;
    let mut exchange = app.opens().await;
    exchange.event("x").await;
    let mut first = first.head().await;
    let id = first.event().await.id().to_owned();
    let mut streams = Vec::new();
    for visit in 1..=10 {
        assert!(hints(&side).await.is_empty());
        let back = h1_pending(side.plain(), &ask(visit).last_id(&id)).await;
        streams.push(app.opens().await);
        assert!(back.head().await.event().await.is_gap());
    }
    let hint = hints(&side).await.pop().unwrap();
    assert_eq!(hint["route"], "feed");
    assert_eq!(hint["hint"], "stray_ids");
    let detail = hint["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("what had changed: cookie _ga (10)"),
        "{detail}"
    );
    assert!(hint["advice"].as_str().unwrap().contains("`identity`"));
    side.until_metric("hints{route=\"feed\",hint=\"stray_ids\"}", 1)
        .await;
}

#[tokio::test]
async fn a_public_stream_that_the_app_marks_is_told_of() {
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public");
    let reader = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    exchange
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: private\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    let _reader = reader.head().await;
    until("the hint", || !side.hub().registry.hints().is_empty()).await;
    let hint = hints(&side).await.pop().unwrap();
    assert_eq!(hint["detail"], "the app sends Cache-Control: private");
    let metric = side.metric("hints{route=\"feed\",hint=\"marked_private\"}");
    assert_eq!(metric, 1);
}
