//! A scripted app on a raw socket: each test says byte for byte what it answers.

use std::{
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the app has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

/// The app; it ends with the test.
pub(crate) struct App {
    /// As in a configuration.
    pub(crate) address: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection to the app.
pub(crate) struct Conn {
    /// Which one it is, from 0.
    pub(crate) index: usize,
    io: Box<dyn Duplex>,
    rest: Vec<u8>,
    seen: Arc<Seen>,
}

type Script = Pin<Box<dyn Future<Output = ()> + Send>>;

impl App {
    /// Plays `script` on each connection.
    pub(crate) async fn start<F, S>(script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (for_task, script) = (seen.clone(), boxed(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                play(Box::new(stream), &for_task, &script);
            }
        });
        let address = format!("http://{address}");
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
        let seen = Arc::new(Seen::default());
        let (for_task, script) = (seen.clone(), boxed(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                play(Box::new(stream), &for_task, &script);
            }
        });
        let address = format!("unix:{}", path.display());
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

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().clone()
    }
}

fn boxed<F, S>(script: F) -> impl Fn(Conn) -> Script + Send + Sync + 'static
where
    F: Fn(Conn) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    move |conn| Box::pin(script(conn))
}

fn play(io: Box<dyn Duplex>, seen: &Arc<Seen>, script: &impl Fn(Conn) -> Script) {
    let index = seen.connections.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(script(Conn {
        index,
        io,
        rest: Vec::new(),
        seen: seen.clone(),
    }));
}

impl Conn {
    /// The next request head, its empty line included; `None` at the end.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..at + 4).collect();
                let head = String::from_utf8(head).unwrap();
                self.seen.heads.lock().push(head.clone());
                return Some(head);
            }
            if self.more().await == 0 {
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
        let lower = head.to_ascii_lowercase();
        if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
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
        let length = lower
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
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
        let head = format!(
            "HTTP/1.1 {status} Status\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Waits until the front has closed.
    pub(crate) async fn closed(&mut self) {
        while self.more().await > 0 {}
    }
}
