//! Who the clients are, what trusted proxies say about those of an event stream, and what one of them
//! may take.

use crate::base::client::{self, Client};
use crate::rig::{
    Settings, Side,
    app::App,
    reader::{Ask, End, H2, event_source, get, h1, h1_pending, try_h1_over},
    soon, until,
    wire::Item,
};

/// Every client of these tests connects from loopback.
const TRUSTED: &str = "trusted_proxies: [loopback]\n";

/// A request of the client at `address`, passed on by a proxy.
fn proxied(target: &str, address: &str) -> Ask {
    get(target).with("X-Forwarded-For", address)
}

#[tokio::test]
async fn the_app_sees_the_scheme_host_and_address_that_the_client_used() {
    for (file, host, proto, address) in [
        (TRUSTED, "app.example", "https", "192.0.2.7"),
        ("", "shop.example", "http", "127.0.0.1"),
    ] {
        let app = App::start().await;
        let settings = Settings {
            file,
            ..Settings::default()
        };
        let side = Side::with(app.port(), &settings);
        let ask = proxied("/feed/a", "192.0.2.7")
            .with("X-Forwarded-Proto", "https")
            .with("X-Forwarded-Host", "app.example")
            .with("Authorization", "Bearer x");
        let pending = h1_pending(side.plain(), &ask).await;
        let exchange = app.opens().await;
        assert_eq!(exchange.field("host"), Some("shop.example"));
        assert_eq!(exchange.field("x-forwarded-host"), Some(host));
        assert_eq!(exchange.field("x-forwarded-proto"), Some(proto));
        assert_eq!(exchange.field("x-forwarded-for"), Some(address));
        assert_eq!(
            exchange
                .head
                .to_lowercase()
                .matches("x-forwarded-host")
                .count(),
            1
        );
        assert_eq!(pending.head().await.status, 200);
    }
}

#[tokio::test]
async fn clients_by_different_schemes_or_hosts_share_nothing() {
    let app = App::start().await;
    let settings = Settings {
        fanout: "share: public",
        file: TRUSTED,
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let asks = [
        get("/feed/a"),
        get("/feed/a").with("X-Forwarded-Proto", "https"),
        get("/feed/a").with("X-Forwarded-Host", "app.example"),
        // The same as the first.
        proxied("/feed/a", "192.0.2.7").with("X-Forwarded-Proto", "http"),
    ];
    let mut pending = Vec::new();
    for ask in &asks {
        pending.push(h1_pending(side.plain(), ask).await);
        side.until_members(pending.len()).await;
    }
    let mut exchanges = [app.opens().await, app.opens().await, app.opens().await];
    for exchange in &mut exchanges {
        let proto = exchange.field("x-forwarded-proto").unwrap();
        let said = format!("{proto} {}", exchange.field("x-forwarded-host").unwrap());
        exchange.event(&said).await;
    }
    let expected = [
        "http shop.example",
        "https shop.example",
        "http app.example",
        "http shop.example",
    ];
    for (pending, expected) in pending.into_iter().zip(expected) {
        assert_eq!(pending.head().await.data(1).await, [expected]);
    }
    assert_eq!(app.requests(), 3);
}

/// The clients behind one proxy are counted one by one, over all its connections and both protocols,
/// whatever they make up.
#[tokio::test]
async fn the_cap_of_an_address_counts_the_clients_behind_a_proxy() {
    let app = App::start().await;
    let settings = Settings {
        fanout: "share: public",
        limits: "per_address: { subscribers_max: 2, connections_max: 1 }",
        file: TRUSTED,
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let pending = h1_pending(side.plain(), &proxied("/feed/a", "192.0.2.1")).await;
    let _exchange = app.opens().await;
    let mut inside = vec![pending.head().await];
    let h2 = H2::connect(side.plain()).await;
    for address in [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8::2",
    ] {
        inside.push(h2.ask(&proxied("/feed/a", address)).await);
    }
    assert!(inside.iter().all(|reader| reader.status == 200));
    for address in [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.9, 192.0.2.1",
        "2001:db8::3",
    ] {
        let refused = h1(side.plain(), &proxied("/feed/a", address)).await;
        assert_eq!(refused.status, 503, "{address}");
    }
    let page = event_source("/feed/a").with("X-Forwarded-For", "192.0.2.1");
    let (items, end) = h2.ask(&page).await.rest().await;
    assert!(
        matches!(items[..], [Item::Retry(_), Item::Comment(_)]),
        "{items:?}"
    );
    assert_eq!(end, End::Complete);
    assert_eq!(side.metric("refused_total{reason=\"address_max\"}"), 5);
    assert_eq!(side.metric("shed_total"), 5);
    side.until_metric("counted_addresses", 3).await;

    drop(inside.remove(0));
    side.until_members(5).await;
    let next = h1(side.plain(), &proxied("/feed/a", "192.0.2.1")).await;
    assert_eq!(next.status, 200);
}

/// Without trust, whoever claims an address is counted by its own.
#[tokio::test]
async fn a_stranger_is_counted_by_its_own_address() {
    let app = App::start().await;
    let settings = Settings {
        limits: "per_address: { subscribers_max: 1 }",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let pending = h1_pending(side.plain(), &proxied("/feed/a", "192.0.2.1")).await;
    let _exchange = app.opens().await;
    let _inside = pending.head().await;
    let refused = h1(side.plain(), &proxied("/feed/a", "192.0.2.2")).await;
    assert_eq!(refused.status, 503);
}

#[tokio::test]
async fn connections_of_one_address_have_a_cap_of_their_own() {
    let app = App::start().await;
    let settings = Settings {
        limits: "per_address: { connections_max: 2 }",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut kept = [
        Client::connect(side.plain()).await,
        Client::connect(side.plain()).await,
    ];
    for client in &mut kept {
        client.send("GET").await;
    }
    side.until_metric("connections{protocol=\"h1\"}", 2).await;
    let mut refused = Client::connect(side.plain()).await;
    assert!(refused.rest().await.is_empty(), "closed without a word");
    let refusals = "refused_total{reason=\"address_connections_max\"}";
    side.until_metric(refusals, 1).await;
    drop(kept);
    until("they are gone", || side.connections() == 0).await;
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let _exchange = app.opens().await;
    assert_eq!(pending.head().await.status, 200);
}

#[tokio::test]
async fn the_cap_of_a_route_is_over_all_its_channels_and_of_no_other_route() {
    let app = App::start().await;
    let settings = Settings {
        fanout: "route_subscribers_max: 2",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut inside = Vec::new();
    for target in ["/feed/a", "/feed/b"] {
        let pending = h1_pending(side.plain(), &get(target)).await;
        app.asked().await.stay_open().await;
        inside.push(pending.head().await);
    }
    for target in ["/feed/a", "/feed/c"] {
        assert_eq!(h1(side.plain(), &get(target)).await.status, 503);
    }
    assert_eq!(side.metric("refused_total{reason=\"route_max\"}"), 2);
    let passed = h1_pending(side.plain(), &get("/pass/a")).await;
    app.asked().await.send_answer("200 OK", "", b"yes").await;
    assert_eq!(passed.head().await.status, 200);
    inside.pop();
    side.until_members(1).await;
    assert_eq!(h1(side.plain(), &get("/feed/a")).await.status, 200);
}

/// The burst is taken at once; the others come in at the rate, and none is lost.
#[tokio::test]
async fn connections_beyond_the_rate_wait_for_their_turn() {
    const RATE: usize = 20;
    let app = App::start().await;
    let settings = Settings {
        limits: "connects_per_second: 20",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let _exchange = app.opens().await;
    let _first = pending.head().await;
    let begun = sidestream::clock::now();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 * RATE {
        let address = side.plain();
        readers
            .spawn(async move { try_h1_over(client::tcp(address).await, &get("/feed/a")).await });
    }
    let readers = soon("all are in", readers.join_all()).await;
    assert!(readers.iter().flatten().all(|reader| reader.status == 200));
    assert_eq!(readers.iter().flatten().count(), 2 * RATE);
    let waited = side.metric("delayed_connects_total");
    assert!((1..=21).contains(&waited), "{waited} waited");
    let took = sidestream::clock::now().since(begun);
    assert!(took.as_millis() >= 900, "{took:?}");
}
