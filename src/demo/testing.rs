//! A raw HTTP/1 client for the demo's tests: what it reads is what was on the wire.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Generous: a slow machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(super) struct Client {
    socket: TcpStream,
    /// Everything received.
    pub(super) received: String,
}

impl Client {
    /// Connects and sends a request without body. `extra` are header lines, each with CRLF.
    pub(super) async fn send(address: SocketAddr, request_line: &str, extra: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("{request_line} HTTP/1.1\r\nhost: {address}\r\n{extra}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Self {
            socket,
            received: String::new(),
        }
    }

    /// GET.
    pub(super) async fn get(address: SocketAddr, target: &str) -> Self {
        Self::send(address, &format!("GET {target}"), "").await
    }

    /// Reads until `text` was received.
    pub(super) async fn until(&mut self, text: &str) {
        while !self.received.contains(text) {
            assert!(
                self.read().await,
                "closed before {text:?}: {}",
                self.received
            );
        }
    }

    /// Reads until the other side is gone, cleanly or not.
    pub(super) async fn until_closed(mut self) -> String {
        while self.read().await {}
        self.received
    }

    async fn read(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut buffer));
        let count = read.await.expect("patience is over").unwrap_or(0);
        self.received += &String::from_utf8_lossy(&buffer[..count]);
        count > 0
    }
}

/// Sends one request on a connection of its own and reads the whole response.
pub(super) async fn request(address: SocketAddr, request_line: &str, extra: &str) -> String {
    let extra = format!("connection: close\r\n{extra}");
    let client = Client::send(address, request_line, &extra).await;
    client.until_closed().await
}

/// Yields until `condition` holds.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let tries = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, tries).await;
    assert!(in_time.is_ok(), "waited in vain: {what}");
}
