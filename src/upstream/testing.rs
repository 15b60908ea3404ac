//! A scripted app: a raw TCP server that does exactly what a test says, byte by byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use super::{
    exchange::{Dialer, OpenError, Opened},
    request::UpstreamRequest,
};
use crate::config::model::Upstream;

/// One thing that the app does on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads a request head and hands it to the test.
    Request,
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes these bytes one by one, and lets the client run between them.
    Drip(Vec<u8>),
    /// Waits until the test says [`App::go_on`].
    Wait,
    /// Resets the connection; a script that ends without it closes.
    Reset,
}

/// A running app. Dropping it stops it and closes its connections.
pub(crate) struct App {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: mpsc::Receiver<String>,
    signals: Arc<Semaphore>,
    task: JoinHandle<()>,
}

/// Longest that any test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl App {
    /// Serves one connection after the other, each by its script, and then refuses.
    pub(crate) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let signals = Arc::new(Semaphore::new(0));
        let (sender, requests) = mpsc::channel(64);
        let permits = Arc::clone(&signals);
        let task = tokio::spawn(async move {
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                play(stream, script, &sender, &permits).await;
            }
        });
        Self {
            address,
            requests,
            signals,
            task,
        }
    }

    /// Serves one connection: takes a request, sends these bytes, closes.
    pub(crate) async fn answering(bytes: &[u8]) -> Self {
        Self::start(vec![vec![Step::Request, Step::Send(bytes.to_vec())]]).await
    }

    /// Ends one [`Step::Wait`].
    pub(crate) fn go_on(&self) {
        self.signals.add_permits(1);
    }

    /// The next request head.
    pub(crate) async fn request(&mut self) -> String {
        let request = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        request.expect("a request in time").expect("the app runs")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(
    mut stream: TcpStream,
    script: Vec<Step>,
    requests: &mpsc::Sender<String>,
    signals: &Semaphore,
) {
    stream.set_nodelay(true).unwrap();
    for step in script {
        match step {
            Step::Request => {
                let Some(head) = read_head(&mut stream).await else {
                    return;
                };
                let _ = requests.send(head).await;
            }
            Step::Send(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
            Step::Drip(bytes) => drip(&mut stream, &bytes).await,
            Step::Wait => signals.acquire().await.unwrap().forget(),
            Step::Reset => {
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                return;
            }
        }
    }
}

/// Writes byte by byte. The runtime looks for input at least each 61 polls, so the client has seen
/// each byte before the next one goes out.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        let _ = stream.write_all(std::slice::from_ref(byte)).await;
        for _ in 0..128 {
            tokio::task::yield_now().await;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A port that refuses connections: bound, so that nobody else gets it, but not listening.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&anywhere.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Asks and waits for the head.
pub(crate) async fn open(
    dialer: &Dialer,
    upstream: &Upstream,
    request: &UpstreamRequest,
) -> Result<Opened, OpenError> {
    dialer
        .ask(upstream, request, PATIENCE)
        .await?
        .answer()
        .await
}
