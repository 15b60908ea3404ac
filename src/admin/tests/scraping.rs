//! The page of metrics for those outside.

use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn who_scrapes_from_outside_gets_the_metrics_and_nothing_else() {
    let sources = sources();
    let address = start_with(&loopback(), Pages::Metrics, &sources);
    let drain = "POST /drain HTTP/1.1\r\nSidestream-Command: drain\r\n";
    for (head, status) in [
        ("GET /metrics HTTP/1.1\r\n", 200),
        ("GET /metrics?name=x HTTP/1.1\r\n", 200),
        ("HEAD /metrics HTTP/1.1\r\n", 200),
        ("POST /metrics HTTP/1.1\r\n", 405),
        ("GET /metrics/ HTTP/1.1\r\n", 404),
        ("GET / HTTP/1.1\r\n", 404),
        ("GET /livez HTTP/1.1\r\n", 404),
        ("GET /channels HTTP/1.1\r\n", 404),
        ("GET /config HTTP/1.1\r\n", 404),
        (drain, 404),
    ] {
        // By whatever name: it is a pod's address, or a Service's.
        let request = format!("{head}Host: 10.1.2.3:9902\r\n\r\n");
        let answer = exchange(&address, request.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{head}: {answer}");
        let has_metrics = answer.contains("sidestream_subscribers_max");
        assert_eq!(has_metrics, status == 200 && head.starts_with("GET"));
    }
    assert_eq!(sources.lifecycle.phase(), Phase::Starting);
}

#[tokio::test]
async fn who_scrapes_and_never_reads_keeps_nobody_from_the_admin_service() {
    let sources = sources();
    let scraped = start_with(&loopback(), Pages::Metrics, &sources);
    let admin = start(&loopback(), &sources);
    let ListenAddress::Tcp(scraped) = scraped else {
        panic!("not TCP")
    };
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(scraped).await.unwrap());
    }
    // Long before any of them is given up, which would make room.
    let answer = timeout(HEAD_TIMEOUT / 2, get(&admin, "/livez")).await;
    assert_eq!(answer.expect("the admin service has room").0, 200);
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_from_the_metrics() {
    let sources = sources();
    let address = start_with(&loopback(), Pages::Metrics, &sources);
    let ListenAddress::Tcp(tcp) = address else {
        panic!("not TCP")
    };
    let mut silent = Vec::new();
    for _ in 0..SCRAPES_MAX {
        silent.push(TcpStream::connect(tcp).await.unwrap());
    }
    // Long before any of them is given up.
    let soon = HEAD_TIMEOUT / 2;
    let answer = timeout(soon, get(&address, "/metrics")).await;
    assert_eq!(answer.expect("there is room").0, 200);
    // The first of them made it, and none of the others.
    let mut rest = Vec::new();
    let gone = timeout(soon, silent[0].read_to_end(&mut rest)).await;
    assert_eq!(gone.expect("it is closed").unwrap(), 0);
    for stream in &mut silent[1..] {
        stream
            .write_all(b"HEAD /metrics HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named() {
    let sources = sources();
    let address = start_with(&loopback(), Pages::Metrics, &sources);
    let taken = Admin::bind(&address, Pages::Metrics).unwrap_err();
    let said = format!("the page of metrics cannot listen on {address}: ");
    assert!(taken.to_string().starts_with(&said), "{taken}");
}
