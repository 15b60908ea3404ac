//! The demo's app: an ordinary SSE backend that knows nothing of Sidestream.
//!
//! It behaves like NestJS with `@Sse`: `id:` counts from 1 on every connection, `Last-Event-ID` is
//! ignored, and the response says `Cache-Control: private`. It can be killed and started again
//! under its clients; killed means that listener and connections are gone at once, in mid-stream.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use pingora::{http::ResponseHeader, protocols::http::ServerSession};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Mutex,
    task::JoinSet,
};

use super::{
    http::{self, Handler},
    script::{Kind, Script, Step},
};
use crate::clock;

/// Accept queue: a restart is met by every reconnect at once.
const BACKLOG: u32 = 1_024;
/// What NestJS sends with every `@Sse` stream.
const CACHE_CONTROL: &str = "private, no-cache, no-store, must-revalidate, max-age=0, no-transform";

/// The app, running or down, always on the same address.
pub struct App {
    service: Arc<Service>,
    address: SocketAddr,
    slot: Mutex<Slot>,
}

/// Who holds the port.
enum Slot {
    /// Serving, in a set of one task: it ends with the set, and everything it holds is closed.
    Up(JoinSet<()>),
    /// Bound but not listening: connects are refused, and nobody else takes the port.
    Down(TcpSocket),
    /// Between the two, or lost: binding failed.
    Gone,
}

/// How one stream of the app is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamUse {
    /// The stream.
    pub kind: Kind,
    /// Connections open now.
    pub open: usize,
    /// Connections ever opened.
    pub opened: u64,
}

impl App {
    /// Starts the app on `address` (port 0: any). `seed` drives prices and log lines.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(address: SocketAddr, seed: u64) -> io::Result<Self> {
        let socket = bind(address)?;
        let address = socket.local_addr()?;
        let app = Self {
            service: Arc::new(Service::new(seed)),
            address,
            slot: Mutex::new(Slot::Down(socket)),
        };
        app.restart().await?;
        Ok(app)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does it serve right now?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.service.up.load(Ordering::Relaxed)
    }

    /// Starts of the app so far.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.service.starts.load(Ordering::Relaxed)
    }

    /// Events written so far, over all connections.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.service.events.load(Ordering::Relaxed)
    }

    /// The connections that stream events, by stream.
    #[must_use]
    pub fn streams(&self) -> [StreamUse; Kind::ALL.len()] {
        Kind::ALL.map(|kind| {
            let counter = self.service.counter(kind);
            StreamUse {
                kind,
                open: counter.open.load(Ordering::Relaxed),
                opened: counter.opened.load(Ordering::Relaxed),
            }
        })
    }

    /// Drops the listener and all connections in mid-stream. Does nothing when it is down.
    ///
    /// # Errors
    /// The port cannot be kept.
    pub async fn kill(&self) -> io::Result<()> {
        let mut slot = self.slot.lock().await;
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Up(mut task) => {
                self.service.up.store(false, Ordering::Relaxed);
                task.shutdown().await;
                *slot = Slot::Down(bind(self.address)?);
            }
            Slot::Down(socket) => *slot = Slot::Down(socket),
            Slot::Gone => *slot = Slot::Down(bind(self.address)?),
        }
        Ok(())
    }

    /// Starts it again on the same port. Does nothing when it is up.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn restart(&self) -> io::Result<()> {
        let mut slot = self.slot.lock().await;
        let socket = match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Up(task) => {
                *slot = Slot::Up(task);
                return Ok(());
            }
            Slot::Down(socket) => socket,
            Slot::Gone => bind(self.address)?,
        };
        let listener: TcpListener = socket.listen(BACKLOG)?;
        self.service.starts.fetch_add(1, Ordering::Relaxed);
        self.service.up.store(true, Ordering::Relaxed);
        let mut task = JoinSet::new();
        task.spawn(http::serve(listener, Arc::clone(&self.service)));
        *slot = Slot::Up(task);
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections that we closed ourselves linger in TIME_WAIT on this port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What the connections share; it survives restarts, as counters do.
struct Service {
    seed: u64,
    up: AtomicBool,
    starts: AtomicU64,
    events: AtomicU64,
    tutorial: Counter,
    ticker: Counter,
    log: Counter,
    chat: Counter,
}

#[derive(Default)]
struct Counter {
    open: AtomicUsize,
    opened: AtomicU64,
}

impl Service {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            up: AtomicBool::new(false),
            starts: AtomicU64::new(0),
            events: AtomicU64::new(0),
            tutorial: Counter::default(),
            ticker: Counter::default(),
            log: Counter::default(),
            chat: Counter::default(),
        }
    }

    fn counter(&self, kind: Kind) -> &Counter {
        match kind {
            Kind::Tutorial => &self.tutorial,
            Kind::Ticker => &self.ticker,
            Kind::Log => &self.log,
            Kind::Chat => &self.chat,
        }
    }

    async fn stream(
        &self,
        session: &mut ServerSession,
        kind: Kind,
        query: &str,
    ) -> pingora::Result<()> {
        let _open = OpenStream::count(self.counter(kind));
        let mut head = ResponseHeader::build(200, Some(6))?;
        head.insert_header("content-type", "text/event-stream")?;
        head.insert_header("cache-control", CACHE_CONTROL)?;
        head.insert_header("x-accel-buffering", "no")?;
        head.insert_header("transfer-encoding", "chunked")?;
        session.write_response_header(Box::new(head)).await?;
        // NestJS opens with an empty line, so that the head leaves at once.
        session
            .write_response_body(Bytes::from_static(b"\n"), false)
            .await?;

        let prompt = http::query_value(query, "prompt").unwrap_or_default();
        let started = clock::now();
        for (id, step) in (1_u64..).zip(Script::new(kind, self.seed, &prompt)) {
            let wait = started.after(step.at).since(clock::now());
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // Resolves only when the client left or misbehaves.
                    gone = session.read_body_or_idle(true) => return gone.map(drop),
                }
            }
            session
                .write_response_body(encode(id, &step), false)
                .await?;
            self.events.fetch_add(1, Ordering::Relaxed);
        }
        session.write_response_body(Bytes::new(), true).await
    }
}

impl Handler for Service {
    async fn handle(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let (path, query) = http::target(session);
        match (Kind::of_path(&path), session.req_header().method.as_str()) {
            (Some(kind), "GET") => Box::pin(self.stream(session, kind, &query)).await,
            (Some(_), _) => {
                let allow = [("allow", "GET"), ("content-type", "text/plain")];
                http::respond(session, 405, &allow, "GET streams events here\n".into()).await
            }
            (None, _) => {
                let text = "the demo app: /{name}/stream, /demo/ticker, /demo/log, /demo/chat\n";
                let status = if path == "/" { 200 } else { 404 };
                http::respond(
                    session,
                    status,
                    &[("content-type", "text/plain")],
                    text.into(),
                )
                .await
            }
        }
    }
}

/// One event in the order of fields that NestJS writes.
fn encode(id: u64, step: &Step) -> Bytes {
    let name = step
        .name
        .map(|name| format!("event: {name}\n"))
        .unwrap_or_default();
    Bytes::from(format!("{name}id: {id}\ndata: {}\n\n", step.data))
}

/// Counts a stream for as long as it lives, however it ends.
struct OpenStream<'a>(&'a Counter);

impl<'a> OpenStream<'a> {
    fn count(counter: &'a Counter) -> Self {
        counter.open.fetch_add(1, Ordering::Relaxed);
        counter.opened.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
