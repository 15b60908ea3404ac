use std::net::SocketAddr;

use serde_json::Value;

use super::*;
use crate::demo::{
    stats::Numbers,
    testing::{Client, eventually, request},
};

const PORTS: Ports = Ports {
    plain: 8080,
    secure: 8443,
    control: 8090,
};
const NUMBERS: Numbers = Numbers {
    subscribers: 60,
    channels: 2,
    upstream_connections: 1,
};

async fn control(backend: Backend) -> SocketAddr {
    let control = Control::new(PORTS, backend, "version: 1\n".into(), Box::new(|| NUMBERS));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(control.serve(listener));
    address
}

async fn built_in() -> (SocketAddr, Arc<App>) {
    let app = Arc::new(App::start(([127, 0, 0, 1], 0).into(), 7).await.unwrap());
    (control(Backend::BuiltIn(Arc::clone(&app))).await, app)
}

async fn own(url: &str) -> SocketAddr {
    control(Backend::Own {
        url: url.to_owned(),
        stream_paths: vec!["/{name}/stream".to_owned(), "/sse".to_owned()],
    })
    .await
}

fn body(wire: &str) -> &str {
    wire.split_once("\r\n\r\n").unwrap().1
}

fn facts_of(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"facts\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_at_both_places() {
    let (address, _app) = built_in().await;
    let page = request(address, "GET /", "").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert_eq!(
        body(&page),
        body(&request(address, "GET /__sidestream/", "").await)
    );
    let referred = body(&page)
        .split('"')
        .filter(|text| text.starts_with(PREFIX));
    for part in referred.chain(["/__sidestream/flow.js"]) {
        let answer = request(address, &format!("GET {part}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{part}: {answer}");
        assert!(
            answer.contains("text/css") || answer.contains("text/javascript"),
            "{part}"
        );
    }
}

#[tokio::test]
async fn the_page_knows_ports_and_streams_from_the_start() {
    let (address, _app) = built_in().await;
    let facts = facts_of(&request(address, "GET /", "").await);
    assert_eq!(facts["ports"]["secure"], 8443);
    assert_eq!(facts["upstream"], Value::Null);
    assert_eq!(facts["streams"][0]["path"], "/xxx/stream");

    let address = own("http://a/</script>").await;
    let facts = facts_of(&request(address, "GET /", "").await);
    assert_eq!(facts["upstream"], "http://a/</script>");
    assert_eq!(facts["streams"][1]["path"], "/sse");
}

#[tokio::test]
async fn the_state_has_the_numbers_of_sidestream_and_of_the_app() {
    let (address, app) = built_in().await;
    let mut reader = Client::get(app.address(), "/xxx/stream").await;
    reader.until("aaa").await;
    let wire = request(address, "GET /__sidestream/api/state", "").await;
    let state: Value = serde_json::from_str(body(&wire)).unwrap();
    assert_eq!(state["subscribers"], 60);
    assert_eq!(state["upstream_connections"], 1);
    assert_eq!(state["app"]["connections"], 1);
    assert_eq!(state["app"]["streams"][0]["open"], 1);

    let wire = request(own("http://a").await, "GET /__sidestream/api/state", "").await;
    let state: Value = serde_json::from_str(body(&wire)).unwrap();
    assert_eq!(
        (&state["channels"], &state["app"]),
        (&2.into(), &Value::Null)
    );
}

#[tokio::test]
async fn only_our_two_origins_may_read_and_push_the_button() {
    let (address, app) = built_in().await;
    let check = async |origin: &str, allowed: bool| {
        let extra = format!("origin: {origin}\r\n");
        let answer = request(address, "GET /__sidestream/api/state", &extra).await;
        let cors = format!("access-control-allow-origin: {origin}\r\n");
        assert_eq!(
            answer.to_lowercase().contains(&cors),
            allowed,
            "{origin}: {answer}"
        );
        if !allowed {
            let button = "POST /__sidestream/api/app/restart";
            let answer = request(address, button, &extra).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
        }
    };
    check("http://127.0.0.1:8080", true).await;
    check("https://localhost:8443", true).await;
    for foreign in ["http://127.0.0.1:8443", "https://evil.example", "null"] {
        check(foreign, false).await;
    }
    assert_eq!(app.starts(), 1);
}

#[tokio::test]
async fn the_button_takes_the_app_away_and_brings_it_back() {
    let (address, app) = built_in().await;
    let mut reader = Client::get(app.address(), "/xxx/stream").await;
    reader.until("aaa").await;
    let button = "POST /__sidestream/api/app/restart?pause_ms=50";
    let extra = "origin: http://127.0.0.1:8080\r\ncontent-length: 0\r\n";
    let answer = request(address, button, extra).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    reader.until_closed().await;
    eventually("the app is back", || app.is_up() && app.starts() == 2).await;
}

#[tokio::test]
async fn a_second_push_meanwhile_is_refused() {
    let (address, app) = built_in().await;
    let button = "POST /__sidestream/api/app/restart?pause_ms=30000";
    let answer = request(address, button, "").await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let answer = request(address, button, "").await;
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    eventually("the app is down", || !app.is_up()).await;
}

#[tokio::test]
async fn an_own_app_has_no_button_and_unknown_paths_are_not_found() {
    let address = own("http://a").await;
    for (request_line, status) in [
        ("POST /__sidestream/api/app/restart", "404"),
        ("GET /__sidestream/nothing", "404"),
        ("GET /__sidestream/api/config", "200"),
        ("HEAD /", "200"),
        ("DELETE /", "405"),
        ("OPTIONS /__sidestream/api/state", "204"),
        ("GET /nothing", "404"),
    ] {
        let answer = request(address, request_line, "").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request_line}: {answer}"
        );
        // Who asks for what is not there is told what is.
        if request_line.contains("nothing") || status == "405" {
            assert!(answer.contains("GET / is its page"), "{answer}");
        }
    }
}

#[test]
fn a_pause_is_bounded() {
    for (query, milliseconds) in [
        ("", 0),
        ("pause_ms=2500", 2_500),
        ("pause_ms=-1", 0),
        ("pause_ms=999999", 30_000),
    ] {
        assert_eq!(pause(query), Duration::from_millis(milliseconds), "{query}");
    }
}
