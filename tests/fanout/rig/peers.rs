//! Clients that keep books of their HTTP/2 frames, and one beside them with room for everything: what
//! the others get is measured by it.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    Side,
    app::{App, Exchange},
    wire::{Decoder, Item},
};
use crate::base::{
    client::tcp,
    h2peer::{INITIAL_WINDOW_SIZE, Peer},
};

/// Bounds that nobody reaches, and no heartbeat in between.
pub(crate) const ROOMY: &str = "heartbeat: 60s\n\
                                ring: { events_max: 8192, bytes_max: 16MiB }\n\
                                slow: { stall_max: 60s }";

/// So large that nothing waits for it.
pub(crate) const PLENTY: u32 = 1 << 30;

/// A reader of `/feed/a` with all the room there is, and what the app sent.
pub(crate) struct Yardstick<S = TcpStream> {
    peer: Peer<S>,
    id: u32,
    exchange: Exchange,
    sent: Vec<String>,
}

impl Yardstick {
    /// Opens the channel.
    pub(crate) async fn open(side: &Side, app: &App) -> Self {
        Self::over(tcp(side.plain()).await, side, app).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Yardstick<S> {
    /// As [`Yardstick::open`], over a connection that is there.
    pub(crate) async fn over(io: S, side: &Side, app: &App) -> Self {
        let mut peer = roomy(io).await;
        let id = peer.get("/feed/a").await;
        let exchange = app.opens().await;
        side.until_members(1).await;
        Self {
            peer,
            id,
            exchange,
            sent: Vec::new(),
        }
    }

    /// The app sends an event of about `len` bytes; this reader gets it.
    pub(crate) async fn event(&mut self, len: usize) {
        let data = format!("{} {}", self.sent.len(), "x".repeat(len));
        self.exchange.event(&data).await;
        let line = format!("data: {data}\n");
        self.sent.push(data);
        let (id, from) = (self.id, self.peer.body(self.id).len());
        self.peer
            .until("the event", |peer| {
                let new = &peer.body(id)[from..];
                new.ends_with(b"\n\n") && holds(new, line.as_bytes())
            })
            .await;
    }

    /// All that it got from the first event on: what others who came before that are to get, byte for
    /// byte.
    pub(crate) fn body(&self) -> &[u8] {
        let body = feed(&self.peer, self.id);
        assert_eq!(events(body), self.sent);
        body
    }

    /// Waits until these streams of `peer` have all of it, and compares them.
    pub(crate) async fn until_had_by<T>(&self, peer: &mut Peer<T>, ids: &[u32])
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let body = self.body();
        peer.until("all have all of it", |peer| {
            ids.iter().all(|id| feed(peer, *id).len() >= body.len())
        })
        .await;
        for id in ids {
            assert!(feed(peer, *id) == body, "stream {id}");
        }
    }

    /// The app ends its stream.
    pub(crate) async fn finish(self) {
        self.exchange.finish().await;
    }
}

/// What a stream brought from its first event on.
pub(crate) fn feed<S>(peer: &Peer<S>, id: u32) -> &[u8]
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let body = peer.body(id);
    let first = body.windows(8).position(|window| window == b"data: 0 ");
    first.map_or(&[], |at| &body[at..])
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The data of the events in a stream.
fn events(body: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    Decoder::default().feed(body, &mut |item| {
        if let Item::Event(event) = item {
            events.push(event.data);
        }
    });
    events
}

/// A client with windows for everything.
pub(crate) async fn roomy<S>(io: S) -> Peer<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut peer = Peer::over(io, &[(INITIAL_WINDOW_SIZE, PLENTY)]).await;
    peer.grant(0, PLENTY).await;
    peer
}
