//! Metrics for those outside.

use crate::rig::{Side, app::App, reader::event_source, reader::h1_pending};

#[tokio::test]
async fn metrics_are_scraped_on_an_address_of_their_own_to_the_end() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let _exchange = app.opens().await;
    let _reader = pending.head().await;
    let subscribers = "sidestream_subscribers{route=\"feed\",protocol=\"h1\"} 1\n";
    for service in [side.admin("/metrics").await, side.scrape("/metrics").await] {
        assert!(service.starts_with("HTTP/1.1 200"), "{service}");
        assert!(service.contains(subscribers), "{service}");
    }
    assert!(side.admin("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(side.scrape("/livez").await.starts_with("HTTP/1.1 404"));
    side.drain();
    let last = side.scrape("/metrics").await;
    assert!(last.starts_with("HTTP/1.1 200"), "while it drains: {last}");
}
