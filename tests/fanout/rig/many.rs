//! Channels by the thousand, each with a client, for which one process has the descriptors.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::{
    app::{App, Exchange},
    outside::Outside,
    reader::{H2, Reader, get},
};

/// Streams on each of the clients' connections, which stand for descriptors.
pub(crate) const STREAMS: usize = 100;
/// Room on a connection for what all its streams are sent before the first of them is read: no client
/// here is ever behind.
const WINDOW: u32 = 128 << 20;

/// A channel, and both of its ends.
pub(crate) struct Stream {
    pub(crate) exchange: Exchange,
    /// `None`: its client has left, and it lingers.
    pub(crate) reader: Option<Reader>,
}

impl Stream {
    /// Its client, which is there.
    pub(crate) fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().unwrap()
    }
}

/// Opens `/feed/0` and so on: so many channels with a client each, by their number, and the clients'
/// connections.
pub(crate) async fn open(side: &Outside, app: &App, count: usize) -> (Vec<Stream>, Vec<H2>) {
    let mut asking = JoinSet::new();
    let mut connections = Vec::new();
    for first in (0..count).step_by(STREAMS) {
        let h2 = side.h2(WINDOW).await;
        connections.push(h2.clone());
        asking.spawn(async move {
            let mut readers = Vec::new();
            for n in first..count.min(first + STREAMS) {
                readers.push((n, h2.ask(&get(&format!("/feed/{n}"))).await));
            }
            readers
        });
    }
    let mut exchanges = HashMap::new();
    while exchanges.len() < count {
        let exchange = app.opens().await;
        exchanges.insert(number(exchange.line()), exchange);
    }
    let mut readers: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    readers.sort_unstable_by_key(|(n, _)| *n);
    let streams = readers.into_iter().map(|(n, reader)| Stream {
        exchange: exchanges.remove(&n).unwrap(),
        reader: Some(reader),
    });
    (streams.collect(), connections)
}

/// The number in a target or a request line.
pub(crate) fn number(line: &str) -> usize {
    let rest = line.split("/feed/").nth(1).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}
