//! Requests that are not fan-out, from a raw client through the front to a scripted app.

mod rig;

use rig::{Rig, app::App, client::Client};

#[tokio::test]
async fn a_request_and_its_answer_pass() {
    let app = App::echo().await;
    let rig = Rig::start(app.address.clone());
    let mut client = Client::connect(rig.plain()).await;
    let answer = client
        .request("GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nX-Mine: 1\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200);
    let seen = answer.text();
    for line in [
        "GET /a?b=c HTTP/1.1",
        "Host: shop.example",
        "X-Mine: 1",
        "X-Forwarded-For: 127.0.0.1",
    ] {
        assert!(
            seen.lines().any(|l| l.eq_ignore_ascii_case(line)),
            "{line} in {seen}"
        );
    }
}
