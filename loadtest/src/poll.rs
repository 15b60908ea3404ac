//! Readiness of many sockets on one thread, without a runtime: what `bench` and `floor` stand on,
//! because there a task and a waker for each connection would show in the result.
//!
//! Every socket is registered once, edge-triggered, for reading and writing: who is told that one is
//! readable reads until a read comes back short.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use crate::failure::{Doing, Result};

/// Sockets reported by one call at most.
const READY_MAX: usize = 1_024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// A set of sockets.
pub struct Poll(OwnedFd);

/// The sockets that one call reported; used again for the next.
pub struct Ready(Vec<Event>);

impl Default for Ready {
    fn default() -> Self {
        Self(Vec::with_capacity(READY_MAX))
    }
}

impl Ready {
    /// The tokens; true when the other side has closed and all must be read now.
    pub fn iter(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let closed = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        self.0.iter().map(move |event| {
            let (flags, data) = (event.flags, event.data);
            (data.u64(), flags.intersects(closed))
        })
    }

    /// True when nothing was ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> Result<Self> {
        epoll::create(CreateFlags::CLOEXEC)
            .map(Self)
            .doing("create an epoll instance")
    }

    /// Adds a non-blocking socket; closing it takes it out again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add(&self, socket: impl AsFd, token: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.0, socket, EventData::new_u64(token), flags).doing("watch a socket")
    }

    /// Waits for at most `limit`; zero only looks.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn wait(&self, ready: &mut Ready, limit: Duration) -> Result<()> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        ready.0.clear();
        match epoll::wait(
            &self.0,
            rustix::buffer::spare_capacity(&mut ready.0),
            Some(&limit),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).doing("wait for sockets"),
        }
    }
}

/// A listening socket for a [`Poll`], with room for a crowd that connects at once; the standard
/// library asks for 128 places, and who finds none comes again a second later.
///
/// # Errors
/// When the address is taken.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let what = format!("listen on {address}");
    let listener = TcpListener::bind(address).doing(&what)?;
    rustix::net::listen(&listener, BACKLOG).doing(&what)?;
    listener.set_nonblocking(true).doing(&what)?;
    Ok(listener)
}

/// What one attempt to move bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// Not now.
    Nothing,
    /// The other side has closed in order.
    Closed,
    /// The connection is broken.
    Broken(Errno),
}

/// Reads once; a read that is shorter than `buf` has emptied the socket.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> Moved {
    loop {
        match rustix::net::recv(&socket, &mut *buf, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Moved::Closed,
            Ok((_, count)) => return Moved::Bytes(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Moved::Nothing,
            Err(error) => return Moved::Broken(error),
        }
    }
}

/// Writes once.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> Moved {
    loop {
        match rustix::net::send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => return Moved::Bytes(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Moved::Nothing,
            Err(error) => return Moved::Broken(error),
        }
    }
}

/// Bytes that a socket did not take at once. Empty nearly always, and then without memory.
#[derive(Debug, Default)]
pub struct Backlog(Vec<u8>);

impl Backlog {
    /// Writes `bytes` behind what is waiting, as far as the socket takes them.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn send(&mut self, socket: impl AsFd, bytes: &[u8]) -> std::result::Result<(), Errno> {
        if !self.0.is_empty() {
            self.0.extend_from_slice(bytes);
            return self.flush(socket);
        }
        let sent = push(socket, bytes)?;
        self.0
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Writes what is waiting.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn flush(&mut self, socket: impl AsFd) -> std::result::Result<(), Errno> {
        if self.0.is_empty() {
            return Ok(());
        }
        let sent = push(socket, &self.0)?;
        self.0.drain(..sent);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Ok(())
    }

    /// Bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes until the socket takes no more; says how much it took.
fn push(socket: impl AsFd, bytes: &[u8]) -> std::result::Result<usize, Errno> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match send(&socket, rest) {
            Moved::Bytes(count) => sent += count,
            Moved::Nothing => break,
            Moved::Closed => return Err(Errno::PIPE),
            Moved::Broken(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_socket_is_reported_when_bytes_come_and_when_it_closes() {
        let (near, mut far) = pair();
        let (poll, mut ready) = (Poll::new().unwrap(), Ready::default());
        poll.add(&near, 7).unwrap();
        let mut buf = [0; 16];
        assert_eq!(receive(&near, &mut buf), Moved::Nothing);
        far.write_all(b"abc").unwrap();
        poll.wait(&mut ready, Duration::from_secs(10)).unwrap();
        assert_eq!(ready.iter().collect::<Vec<_>>(), [(7, false)]);
        assert_eq!(receive(&near, &mut buf), Moved::Bytes(3));
        drop(far);
        poll.wait(&mut ready, Duration::from_secs(10)).unwrap();
        assert_eq!(ready.iter().collect::<Vec<_>>(), [(7, true)]);
        assert_eq!(receive(&near, &mut buf), Moved::Closed);
    }

    #[test]
    fn what_a_socket_does_not_take_waits_in_order() {
        let (near, mut far) = pair();
        let mut backlog = Backlog::default();
        let sent: Vec<u8> = (0..16 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        for part in sent.chunks(1 << 20) {
            backlog.send(&near, part).unwrap();
        }
        assert!(!backlog.is_empty());
        let mut got = Vec::new();
        let mut buf = vec![0; 1 << 20];
        while got.len() < sent.len() {
            let count = far.read(&mut buf).unwrap();
            got.extend_from_slice(&buf[..count]);
            backlog.flush(&near).unwrap();
        }
        assert!(got == sent && backlog.is_empty());
    }
}
