//! The publisher, read by hand.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, process::Stdio};

use loadtest::{
    app::{App, IdStyle, Options},
    payload::{self, Stamp},
    stats,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
};

/// Ids and stamps of the first events on a new connection.
async fn first_events(address: SocketAddr, count: usize) -> Vec<(Option<String>, Stamp)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /e HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let (mut events, mut id) = (Vec::new(), None);
    while events.len() < count {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(value) = line.strip_prefix("id: ") {
            id = Some(value.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            assert_eq!(data.len(), 150);
            events.push((id.take(), payload::decode(data.as_bytes()).unwrap()));
        }
    }
    events
}

#[tokio::test]
async fn events_are_numbered_and_carry_their_intended_times() {
    for ids in [IdStyle::PerConnection, IdStyle::Unique, IdStyle::None] {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            listen,
            events_per_second: 250.0,
            size: 150,
            ids,
        };
        let app = App::start(options).await.unwrap();
        drop(first_events(app.address, 2).await);
        let events = first_events(app.address, 5).await;
        let first = events[0].1;
        for (at, (id, stamp)) in (0..).zip(&events) {
            assert_eq!(stamp.seq, first.seq + at);
            assert_eq!(stamp.sent_ns, first.sent_ns + at * 4_000_000);
            let expected = match ids {
                IdStyle::PerConnection => Some((at + 1).to_string()),
                IdStyle::Unique => Some(stamp.seq.to_string()),
                IdStyle::None => None,
            };
            assert_eq!(id, &expected);
        }
        let target = format!("http://{}/stats", app.address).parse().unwrap();
        assert_eq!(stats::fetch(&target).await.unwrap().connections_total, 2);
    }
}

#[tokio::test]
async fn memory_per_subscriber_is_a_slope_and_can_fail() {
    let program = env!("CARGO_BIN_EXE_loadtest");
    for (bytes_max, code) in [("1000000", 0), ("0", 1)] {
        // A fresh one each time: what a process has once held, it may have at hand.
        let mut app = Command::new(program)
            .args(["app", "--listen", "127.0.0.1:0", "--rate", "0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let url = format!("{}/events", line.strip_prefix("listening on ").unwrap());
        let pid = app.id().unwrap().to_string();
        let output = Command::new(program)
            .args([
                "memory",
                &url,
                "--server-pid",
                &pid,
                "--small",
                "50",
                "--large",
                "400",
            ])
            .args(["--bytes-max", bytes_max])
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("bytes per subscriber: "), "{text}");
    }
}
