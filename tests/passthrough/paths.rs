//! Paths that an app could read as another one than our routes did: refused on every kind of route,
//! over both protocols, and never repaired.

use crate::rig::{
    Rig,
    app::App,
    client::{Client, tcp},
    h2::{H2, get},
};

/// Ways to leave a folder, or to end a name early.
const AMBIGUOUS: [&str; 9] = [
    "../x", "a/./b", "..", "%2e%2e/x", ".%2E/x", "a%5cb", "a%00b", "%2e", "a/%2E%2e",
];

/// What an app may decode once more. A route that shares must know for certain which resource it
/// shares; to others this is a name like any other.
const NOT_SHARED: [&str; 3] = ["a%2fb", "a%252e%252e", "a%25"];

async fn statuses(rig: &Rig, target: &str) -> [u16; 2] {
    let mut client = Client::connect(rig.plain()).await;
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let over_h1 = client.request(&head).await.status;
    let mut connection = H2::connect(tcp(rig.plain()).await).await;
    let over_h2 = connection.request(get(target), &[]).await.unwrap().0.status;
    [over_h1, over_h2.as_u16()]
}

#[tokio::test]
async fn an_ambiguous_path_is_refused_on_every_route() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    for route in ["/fan/", "/stream/", "/"] {
        for path in AMBIGUOUS {
            let target = format!("{route}{path}");
            assert_eq!(statuses(&rig, &target).await, [400, 400], "{target}");
        }
    }
    for path in NOT_SHARED {
        let target = format!("/fan/{path}");
        assert_eq!(statuses(&rig, &target).await, [400, 400], "{target}");
    }
    assert_eq!(app.heads(), [""; 0], "the app saw none of them");
    for route in ["/stream/", "/"] {
        for path in NOT_SHARED {
            let target = format!("{route}{path}");
            assert_eq!(statuses(&rig, &target).await, [200, 200], "{target}");
            let line = format!("GET {target} HTTP/1.1");
            let heads = app.heads();
            let as_sent = heads.iter().filter(|head| head.starts_with(&line));
            assert_eq!(as_sent.count(), 2, "{target} arrives byte for byte");
        }
    }
}

/// A backslash as it is never gets further than the head of a request.
#[tokio::test]
async fn a_plain_backslash_is_refused() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    for route in ["/fan/", "/stream/", "/"] {
        let mut client = Client::connect(rig.plain()).await;
        let head = format!("GET {route}a\\b HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.request(&head).await.status, 400, "{route}");
    }
    assert_eq!(app.heads(), [""; 0]);
}
