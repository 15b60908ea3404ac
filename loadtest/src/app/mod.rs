//! The publisher: a small SSE app of our own that can stand behind any fan-out, and knows exactly
//! what it sent. `GET` of any path streams that path's events; see [`connection`] for the controls.

pub mod connection;
pub mod feed;
pub mod pacer;

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::failure::{Doing, Result};
use feed::Feeds;
use pacer::Pacer;

/// Whose numbers stand in `id:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum IdStyle {
    /// From 1 on each connection, as NestJS does.
    PerConnection,
    /// The sequence number: unique and growing.
    Unique,
    /// No ids.
    None,
}

/// How the publisher behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where it listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Events per second and path; 0 publishes only on `POST /burst`.
    pub events_per_second: f64,
    /// Bytes of an event's data.
    pub size: usize,
    /// Ids.
    pub ids: IdStyle,
}

/// A running publisher; dropping it closes everything.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    feeds: Arc<Feeds>,
    _pacer: Pacer,
}

impl App {
    /// Starts on the current runtime.
    ///
    /// # Errors
    /// When the address is taken or the pacing thread cannot start.
    pub async fn start(options: Options) -> Result<Self> {
        let what = format!("listen on {}", options.listen);
        let listener = TcpListener::bind(options.listen).await.doing(&what)?;
        let address = listener.local_addr().doing(&what)?;
        let feeds = Arc::new(Feeds::default());
        let pacer = Pacer::start(Arc::clone(&feeds), options.events_per_second)?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&feeds), options, pacer.waker()));
        Ok(Self {
            address,
            accepting,
            feeds,
            _pacer: pacer,
        })
    }

    /// Goes on behind event number `seq`, in the place of a publisher that is gone.
    pub fn go_on(&self, seq: u64) {
        self.feeds.go_on(seq);
    }

    /// Serves until the process is told to stop.
    ///
    /// # Errors
    /// When the accept loop ends, which it does not by itself.
    pub async fn serve(mut self) -> Result<()> {
        (&mut self.accepting).await.doing("accept connections")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
        self.feeds.kill();
    }
}

async fn accept(listener: TcpListener, feeds: Arc<Feeds>, options: Options, pacer: pacer::Waker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (feeds, pacer) = (Arc::clone(&feeds), pacer.clone());
                tokio::spawn(connection::serve(stream, feeds, options, pacer));
            }
            // Out of descriptors, most likely: others end meanwhile.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}
