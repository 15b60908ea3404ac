//! A scripted app on a raw socket: each test says byte for byte what it answers, and when.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use super::soon;

/// The head of an event stream, chunked.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An app. It ends with the test.
pub(crate) struct App {
    address: SocketAddr,
    asked: Mutex<mpsc::Receiver<Exchange>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A request that the app has got, and what it says to it.
pub(crate) struct Exchange {
    /// The request head, its empty line included.
    pub(crate) head: String,
    stream: TcpStream,
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
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel(1024);
        let requests = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, requests.clone(), sender));
        Self {
            address,
            asked: Mutex::new(asked),
            requests,
            task,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
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

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Stops listening; exchanges live on until they are dropped.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        self.task.abort();
        let _aborted = (&mut self.task).await;
        self.address
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, requests: Arc<AtomicUsize>, asked: mpsc::Sender<Exchange>) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (requests, asked) = (requests.clone(), asked.clone());
        tasks.spawn(async move {
            if let Some(head) = read_head(&mut stream).await {
                requests.fetch_add(1, Ordering::SeqCst);
                let _gone = asked.send(Exchange { head, stream }).await;
            }
        });
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

impl Exchange {
    /// Raw bytes. What becomes of them shows at the clients.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("the app writes", self.stream.write_all(bytes.as_ref())).await;
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

    /// As [`Exchange::answer`], on a connection that stays open.
    pub(crate) async fn send_answer(&mut self, status: &str, fields: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n");
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Opens a stream that stays open, and silent, for as long as the test runs.
    pub(crate) async fn stay_open(mut self) {
        self.send(STREAM).await;
        tokio::spawn(async move { self.wait_closed().await });
    }

    async fn wait_closed(&mut self) {
        let mut space = [0; 1024];
        while self.stream.read(&mut space).await.is_ok_and(|n| n > 0) {}
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Waits until Sidestream has closed.
    pub(crate) async fn closed(&mut self) {
        soon("the app's connection closes", self.wait_closed()).await;
    }

    /// A field of the request.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
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
