//! A scripted app on a raw socket: each test says byte for byte what it answers.

use std::{
    net::SocketAddr,
    os::fd::AsFd,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, UnixListener},
    task::{JoinHandle, JoinSet},
};

use super::head;

/// The head of an event stream, chunked.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                                 Transfer-Encoding: chunked\r\n\r\n";

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

trait Socket: AsyncRead + AsyncWrite + AsFd + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + AsFd + Send + Unpin> Socket for T {}

/// What the app has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
    panics: AtomicUsize,
}

impl Seen {
    fn note(&self, head: &[u8]) -> String {
        let head = String::from_utf8_lossy(head).into_owned();
        self.heads.lock().push(head.clone());
        head
    }
}

/// Counts the script that holds it, if that panics: to the front it is but an app that went away.
struct Alarm(Arc<Seen>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The app. It ends with the test, and its scripts with it; the test fails if one of them panicked.
pub(crate) struct App {
    /// As in a configuration.
    pub(crate) address: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
        let panics = self.seen.panics.load(Ordering::SeqCst);
        assert!(
            panics == 0 || std::thread::panicking(),
            "{panics} scripts panicked"
        );
    }
}

/// One connection to the app.
pub(crate) struct Conn {
    /// Which one it is, from 0.
    pub(crate) index: usize,
    io: Box<dyn Socket>,
    rest: Vec<u8>,
    seen: Arc<Seen>,
}

type Script = Pin<Box<dyn Future<Output = ()> + Send>>;

impl App {
    /// Plays `script` on each connection to a port of the kernel's choice.
    pub(crate) async fn start<F, S>(script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::listen("127.0.0.1:0".parse().unwrap(), script)
    }

    /// As [`App::start`], with a clone of `shared` for each connection's script.
    pub(crate) async fn sharing<T, F, S>(shared: &T, script: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(Conn, T) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let shared = shared.clone();
        Self::start(move |conn| script(conn, shared.clone())).await
    }

    /// As [`App::start`], on `address`, also right after another app was there.
    pub(crate) fn listen<F, S>(address: SocketAddr, script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut stage = Stage::new(script);
        let seen = stage.seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                stage.play(Box::new(stream));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// As [`App::start`], on a unix socket.
    pub(crate) async fn start_unix<F, S>(path: &Path, script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::bind(path).unwrap();
        let address = format!("unix:{}", path.display());
        let mut stage = Stage::new(script);
        let seen = stage.seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stage.play(Box::new(stream));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// Answers every request with 200 and a description of it: first the request head, then an
    /// empty line, then its body.
    pub(crate) async fn echo() -> Self {
        Self::start(|mut conn| async move {
            while let Some(head) = conn.head().await {
                let body = conn.body_of(&head).await;
                let mut text = head.into_bytes();
                text.extend_from_slice(&body);
                conn.answer(200, "", &text).await;
            }
        })
        .await
    }

    /// Answers every request with 200 and its own body.
    pub(crate) async fn mirror() -> Self {
        Self::start(|mut conn| async move {
            while let Some(head) = conn.head().await {
                let body = conn.body_of(&head).await;
                conn.answer(200, "", &body).await;
            }
        })
        .await
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().clone()
    }

    /// Stops listening, and ends all scripts. What they handed on lives until it is dropped.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}

/// Where scripts are played.
struct Stage {
    script: Box<dyn Fn(Conn) -> Script + Send + Sync>,
    seen: Arc<Seen>,
    playing: JoinSet<()>,
}

impl Stage {
    fn new<F, S>(script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self {
            script: Box::new(move |conn| Box::pin(script(conn))),
            seen: Arc::default(),
            playing: JoinSet::new(),
        }
    }

    fn play(&mut self, io: Box<dyn Socket>) {
        let index = self.seen.connections.fetch_add(1, Ordering::SeqCst);
        let alarm = Alarm(self.seen.clone());
        let script = (self.script)(Conn {
            index,
            io,
            rest: Vec::new(),
            seen: self.seen.clone(),
        });
        self.playing.spawn(async move {
            let _alarm = alarm;
            script.await;
        });
    }
}

impl Conn {
    /// The next request head, its empty line included; `None` at the end. Whatever comes is seen,
    /// also when it is no text, or never ends.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = head::end(&self.rest) {
                let head: Vec<u8> = self.rest.drain(..end).collect();
                return Some(self.seen.note(&head));
            }
            if self.more().await == 0 {
                if !self.rest.is_empty() {
                    self.seen.note(&self.rest);
                }
                return None;
            }
        }
    }

    async fn more(&mut self) -> usize {
        let mut chunk = vec![0; 64 << 10];
        let n = self.io.read(&mut chunk).await.unwrap_or(0);
        self.rest.extend_from_slice(&chunk[..n]);
        n
    }

    /// Reads `n` body bytes.
    pub(crate) async fn take(&mut self, n: usize) -> Vec<u8> {
        while self.rest.len() < n {
            assert_ne!(self.more().await, 0, "the request ended early");
        }
        self.rest.drain(..n).collect()
    }

    /// What has arrived and was not taken, waiting for something if there is nothing.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        if self.rest.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.rest)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..at + 2).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert_ne!(self.more().await, 0, "the request ended early");
        }
    }

    /// The body that `head` announces, decoded.
    pub(crate) async fn body_of(&mut self, head: &str) -> Vec<u8> {
        if head::field(head, "transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).unwrap();
                body.extend(self.take(size).await);
                assert_eq!(self.line().await, "");
                if size == 0 {
                    return body;
                }
            }
        }
        let length = head::field(head, "content-length");
        let length = length.map_or(0, |length| length.parse().unwrap());
        self.take(length).await
    }

    /// Sends raw bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The front may have closed by then; what the client saw is what tests look at.
        let _ = self.io.write_all(bytes.as_ref()).await;
        let _ = self.io.flush().await;
    }

    /// As `send`; says whether all of it was taken.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok()
    }

    /// Sends a whole answer with its length; `fields` are lines with their line ends.
    pub(crate) async fn answer(&mut self, status: u16, fields: &str, body: &[u8]) {
        self.answer_as(&format!("{status} Status"), fields, body)
            .await;
    }

    /// As [`Conn::answer`], with a reason phrase.
    pub(crate) async fn answer_as(&mut self, status: &str, fields: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n");
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Waits until the front has closed.
    pub(crate) async fn closed(&mut self) {
        while self.more().await > 0 {}
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.io.as_fd())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}
