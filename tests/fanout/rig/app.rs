//! An app that asks the test: each request waits until the test says byte for byte what is answered,
//! and when.

use std::{net::SocketAddr, time::Duration};

use tokio::sync::{Mutex, mpsc};

use super::soon;
pub(crate) use crate::base::app::STREAM;
use crate::base::{
    app::{App as Scripted, Conn},
    head,
};

/// Requests that may wait for the test.
const ASKED_MAX: usize = 1024;

/// An app. It ends with the test.
pub(crate) struct App {
    scripted: Scripted,
    asked: Mutex<mpsc::Receiver<Exchange>>,
}

/// A request that the app has got, and what it says to it.
pub(crate) struct Exchange {
    /// The request head, its empty line included.
    pub(crate) head: String,
    conn: Conn,
}

impl App {
    /// Listens on a port of the kernel's choice.
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap())
    }

    /// An address where nobody listens, for an app that comes later ([`App::listen`]).
    pub(crate) async fn nowhere() -> SocketAddr {
        let app = Self::start().await;
        app.kill().await
    }

    /// Listens on `address`, also right after another app did.
    pub(crate) fn listen(address: SocketAddr) -> Self {
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        let scripted = Scripted::listen(address, move |mut conn| {
            let sender = sender.clone();
            async move {
                if let Some(head) = conn.head().await {
                    let _gone = sender.send(Exchange { head, conn }).await;
                }
            }
        });
        Self {
            scripted,
            asked: Mutex::new(asked),
        }
    }

    fn address(&self) -> SocketAddr {
        let address = self.scripted.address.strip_prefix("http://").unwrap();
        address.parse().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    /// The next request.
    pub(crate) async fn asked(&self) -> Exchange {
        let mut asked = self.asked.lock().await;
        soon("a request to the app", asked.recv()).await.unwrap()
    }

    /// The next request, answered with the head of an event stream.
    pub(crate) async fn opens(&self) -> Exchange {
        let mut exchange = self.asked().await;
        exchange.send(STREAM).await;
        exchange
    }

    /// As [`App::opens`], of a request that may take so long to come.
    pub(crate) async fn opens_within(&self, time: Duration) -> Exchange {
        let mut asked = self.asked.lock().await;
        let asked = tokio::time::timeout(time, asked.recv()).await;
        let mut exchange = asked.expect("a request in time").unwrap();
        exchange.send(STREAM).await;
        exchange
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.scripted.heads().len()
    }

    /// Stops listening; exchanges live on until they are dropped.
    pub(crate) async fn kill(self) -> SocketAddr {
        let address = self.address();
        self.scripted.kill().await;
        address
    }
}

impl Exchange {
    /// Raw bytes. What becomes of them shows at the clients.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the app writes", self.conn.send(bytes)).await;
    }

    /// One chunk.
    pub(crate) async fn chunk(&mut self, text: &str) {
        self.send(chunk(text)).await;
    }

    /// An event with this data, in a chunk of its own.
    pub(crate) async fn event(&mut self, data: &str) {
        self.chunk(&format!("data: {data}\n\n")).await;
    }

    /// The last chunk: the app's own end.
    pub(crate) async fn finish(mut self) {
        self.send("0\r\n\r\n").await;
    }

    /// A whole answer with its length; `fields` are lines with their line ends.
    pub(crate) async fn answer(mut self, status: &str, fields: &str, body: &[u8]) {
        self.send_answer(status, fields, body).await;
        self.closed().await;
    }

    /// Answers 200 with `body`, in whatever time the client takes.
    pub(crate) async fn answer_only(&mut self, body: &[u8]) {
        self.conn.answer(200, "", body).await;
    }

    /// As [`Exchange::answer`], on a connection that stays open.
    pub(crate) async fn send_answer(&mut self, status: &str, fields: &str, body: &[u8]) {
        let answered = self.conn.answer_as(status, fields, body);
        soon("the app writes", answered).await;
    }

    /// Opens a stream that stays open, and silent, for as long as the test runs.
    pub(crate) async fn stay_open(mut self) {
        self.send(STREAM).await;
        tokio::spawn(async move { self.conn.closed().await });
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.conn.reset();
    }

    /// Waits until Sidestream has closed.
    pub(crate) async fn closed(&mut self) {
        soon("the app's connection closes", self.conn.closed()).await;
    }

    /// The body of the request.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let body = self.conn.body_of(&self.head);
        soon("the app reads a body", body).await
    }

    /// A field of the request.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        head::field(&self.head, name)
    }

    /// Request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// `text` as a chunk.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
