//! `loadtest floor`: the least that a server can do to fan out, to hold real ones against.
//!
//! One thread reads one upstream and writes with `send(2)` to every connection in turn: on HTTP/1.1 one
//! call for each subscriber, on HTTP/2 one for each connection, with the DATA frames of all its
//! streams. It knows no routes, replay, heartbeats, limits or flow control; it trusts the large windows
//! of this program's own clients.

pub mod client;
pub mod upstream;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use self::{
    client::{Batch, Client},
    upstream::{Chunks, Upstream},
};
use crate::{
    failure::{Doing, Result},
    poll::{self, Poll, Ready},
    target::Target,
};

/// One read takes at most this much.
const READ_BYTES: usize = 64 * 1024;
/// Tokens below that of the first client.
const LISTENER: u64 = 0;
const UPSTREAM: u64 = 1;
const CLIENTS: u64 = 2;
/// Nothing happens by time; this only bounds a sleep.
const IDLE: Duration = Duration::from_secs(60);

/// What goes out in one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Per {
    /// One event, whatever else is there.
    Event,
    /// All events that one read from the upstream brought.
    Read,
}

/// `floor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to listen; HTTP/1.1, and HTTP/2 for clients that begin with its preface.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The event stream to fan out, asked for when the first client comes.
    #[arg(long, default_value = "http://127.0.0.1:3005/events")]
    pub upstream: Target,
    /// What goes out in one write.
    #[arg(long, value_enum, default_value_t = Per::Event)]
    pub per: Per,
}

/// A floor that listens.
pub struct Floor {
    options: Options,
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    poll: Poll,
    upstream: Option<Upstream>,
    /// By token; a place that is free is used again.
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    scratch: Vec<u8>,
}

impl Floor {
    /// Listens.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn new(options: Options) -> Result<Self> {
        let listener = poll::listen(options.listen)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        // The limit on descriptors is raised on the way.
        let _ = crate::proc::connections_max();
        Ok(Self {
            address: listener.local_addr().doing("listen")?,
            options,
            listener,
            poll,
            upstream: None,
            clients: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// When the system refuses what a server needs.
    pub fn serve(mut self) -> Result<()> {
        let mut ready = Ready::default();
        loop {
            self.poll.wait(&mut ready, IDLE)?;
            for (token, closed) in ready.iter() {
                match token {
                    LISTENER => self.accept()?,
                    UPSTREAM => self.fan_out(),
                    _ => self.advance(usize::try_from(token - CLIENTS).unwrap_or(0), closed)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing("accept a client"),
            };
            socket.set_nonblocking(true).doing("set up a socket")?;
            socket.set_nodelay(true).doing("set up a socket")?;
            let place = self.free.pop().unwrap_or(self.clients.len());
            self.poll.add(&socket, CLIENTS + place as u64)?;
            let client = Some(Client::new(socket));
            match self.clients.get_mut(place) {
                Some(free) => *free = client,
                None => self.clients.push(client),
            }
        }
    }

    /// A client's socket is ready.
    fn advance(&mut self, place: usize, closed: bool) -> Result<()> {
        let Some(slot) = self.clients.get_mut(place) else {
            return Ok(());
        };
        let Some(client) = slot else { return Ok(()) };
        if client.advance(&mut self.scratch).is_none() || closed {
            *slot = None;
            self.free.push(place);
        } else if self.upstream.is_none() && client.is_subscribed() {
            let upstream = Upstream::connect(&self.options.upstream)?;
            self.poll.add(upstream.socket(), UPSTREAM)?;
            self.upstream = Some(upstream);
        }
        Ok(())
    }

    /// The upstream's socket is ready: everything that it brings goes to everybody.
    fn fan_out(&mut self) {
        let Some(upstream) = &mut self.upstream else {
            return;
        };
        let per = self.options.per;
        let clients = &mut self.clients;
        let free = &mut self.free;
        let read = upstream.read(&mut self.scratch, |events| {
            let chunks = match per {
                Per::Event => Chunks::one_by_one(events),
                Per::Read => Chunks::whole(events),
            };
            for events in chunks {
                let mut batch = Batch::new(events);
                for (place, slot) in clients.iter_mut().enumerate() {
                    if let Some(client) = slot
                        && client.send(&mut batch).is_none()
                    {
                        *slot = None;
                        free.push(place);
                    }
                }
            }
        });
        if read.is_none() {
            // The stream is over, and with it those that were made of it.
            self.upstream = None;
            self.clients.clear();
            self.free.clear();
        }
    }
}
