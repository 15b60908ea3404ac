//! One HTTP/2 connection between its socket and the two that write to it.

use std::{
    io,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::Reason;
use pingora::protocols::{Stream, UniqueIDType};
use tokio::io::ReadBuf;

use super::{
    budget::Budget,
    early::Early,
    frame::{self, Head},
    inbox::Inbox,
    ledger::Ledger,
    outbound::Outbound,
    socket::Socket,
    streams::{Key, State},
};

/// The socket and its books. Behind a lock, which the connection's task and the shard take in turn:
/// they are on one thread.
pub(super) struct Wire {
    socket: Socket,
    inbox: Inbox,
    ledger: Ledger,
    outbound: Outbound,
    early: Early,
    /// Who is told when the socket takes more.
    room: Vec<Waker>,
    /// Reading or writing failed, or the crate is done. The crate may not write again for long, so its
    /// next read tells it.
    broken: bool,
    /// The connection's task, and whether it was asked to write.
    task: Option<Waker>,
    asked: bool,
}

impl Wire {
    /// A connection of which `received` was read already.
    pub(super) fn new(stream: Stream, received: &[u8], budget: Budget) -> Self {
        let mut wire = Self {
            socket: Socket::new(stream),
            inbox: Inbox::new(budget),
            ledger: Ledger::default(),
            outbound: Outbound::default(),
            early: Early::default(),
            room: Vec::new(),
            broken: false,
            task: None,
            asked: false,
        };
        wire.inbox.take_in(received, &mut wire.ledger, None);
        wire
    }

    /// Whether the client sent too many frames that ask for nothing.
    pub(super) const fn is_flooded(&self) -> bool {
        self.inbox.is_flooded()
    }

    /// Whether the client has more than `max` streams open.
    pub(super) const fn is_above(&self, max: usize) -> bool {
        self.ledger.streams.is_above(max)
    }

    /// Whether the client has said that it leaves.
    pub(super) const fn is_left(&self) -> bool {
        self.inbox.is_left()
    }

    /// What waits for the client's window, or for the socket.
    pub(super) const fn unsent_bytes(&self) -> usize {
        self.outbound.held_bytes() + self.socket.out.len()
    }

    /// Of the socket.
    pub(super) fn id(&self) -> UniqueIDType {
        self.socket.id()
    }

    /// The crate is done: the socket is closed.
    pub(super) fn close(&mut self) {
        self.socket.close();
        self.broken = true;
        self.wake_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.broken {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }

    fn wake_all(&mut self) {
        self.ledger.streams.wake_all();
        self.room.drain(..).for_each(Waker::wake);
    }

    fn wake_task(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    fn fail(&mut self) {
        self.broken = true;
        self.socket.out.clear();
        self.wake_all();
        self.wake_task();
    }
}

/// The crate.
impl Wire {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        while !self.inbox.hand_out(buf) {
            if self.inbox.is_flooded() {
                // The connection's task looks after each poll, so nobody needs to be woken.
                return Poll::Pending;
            }
            let before = buf.filled().len();
            let read = ready!(self.poll_fill(cx, Some(&mut *buf)))?;
            if read == 0 || buf.filled().len() > before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        let (socket, ledger) = (&mut self.socket, &mut self.ledger);
        let read = ready!(self.inbox.poll_fill(cx, socket, ledger, buf))?;
        self.move_waiting();
        Poll::Ready(Ok(read))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        self.move_waiting();
        if self.outbound.is_full() {
            // The task is woken by what the client grants: that is read, whatever the crate does.
            return Poll::Pending;
        }
        if self.socket.out.is_full() && self.outbound.is_between_frames() {
            ready!(self.poll_out(cx))?;
        }
        let written = bytes.len();
        while self
            .outbound
            .pass(&mut bytes, &mut self.ledger, &mut self.socket.out)
        {
            self.move_shards();
        }
        Poll::Ready(Ok(written))
    }

    /// A flush only promises: the task writes when it has polled the crate.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.out.is_full() {
            self.poll_out(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.move_waiting();
        ready!(self.poll_out(cx))?;
        if self.outbound.held_bytes() > 0 && !self.broken {
            // The crate knows nothing of it. See `flush`.
            return Poll::Pending;
        }
        self.socket.poll_shutdown(cx)
    }

    /// What waits for the client's windows goes out as far as they reach.
    fn move_waiting(&mut self) {
        let (ledger, out) = (&mut self.ledger, &mut self.socket.out);
        let instead = self.outbound.move_held(ledger, out);
        if instead > 0 {
            self.inbox.grant(instead, ledger);
            self.wake_task();
        }
        self.move_shards();
    }

    /// What the shard has for streams whose response heads have passed by now.
    fn move_shards(&mut self) {
        let has_some = !self.early.is_empty() || self.ledger.streams.has_resets();
        if !has_some || !self.outbound.is_between_frames() {
            return;
        }
        let out = &mut self.socket.out;
        self.early.move_out(&mut self.ledger, out);
        self.ledger
            .streams
            .reset_due(|stream, reason| out.push(&frame::reset(stream, reason)));
    }
}

/// The shard.
impl Wire {
    /// A request is on its way to the shard.
    pub(super) const fn sent_on(&mut self) {
        self.inbox.sent_on();
    }

    /// A request has come to the shard, or to nothing.
    pub(super) fn arrived(&mut self) {
        if self.inbox.arrived() {
            // Its flush begins the next turn.
            self.wake_task();
        }
    }

    /// See [`Connection::adopt`](super::Connection::adopt).
    pub(super) fn adopt(&mut self, stream: u32) -> Option<Key> {
        self.ledger.streams.adopt(stream)
    }

    /// See [`Connection::release`](super::Connection::release).
    pub(super) fn release(&mut self, key: Key) {
        self.early.forget(key);
        self.ledger.streams.release(key);
        self.move_shards();
        self.ask();
        if !self.ledger.streams.is_shared() {
            // The connection may have waited for that to leave.
            self.wake_task();
        }
    }

    /// See [`Connection::say_go_away`](super::Connection::say_go_away).
    pub(super) fn say_go_away(&mut self) {
        debug_assert!(
            self.outbound.is_between_frames(),
            "the crate ends what it begins"
        );
        self.socket.out.push(&frame::go_away());
        self.ask();
    }

    /// See [`Connection::poll_push`](super::Connection::poll_push).
    pub(super) fn poll_push(
        &mut self,
        key: Key,
        bytes: &mut Bytes,
        waker: &Waker,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        self.ledger.streams.wait_for_end(key, waker);
        match self.ledger.streams.state(key) {
            State::Closed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            State::Headless if self.early.keep(key, bytes) => return Poll::Ready(Ok(())),
            State::Open if !self.early.has(key) => self.put(key, bytes),
            State::Headless | State::Open => {}
        }
        self.ask();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.ledger.streams.wait_for_room(key, waker);
        Poll::Pending
    }

    /// See [`Connection::sweep`](super::Connection::sweep).
    pub(super) fn sweep(
        &mut self,
        keys: &[Key],
        next: usize,
        bytes: &[u8],
        mut lags: impl FnMut(usize),
    ) -> usize {
        for (place, key) in keys.iter().enumerate().skip(next) {
            if self.socket.out.is_full() {
                self.write();
            }
            if !self.has_room() && !self.broken {
                return place;
            }
            if !self.put_whole(*key, bytes) {
                lags(place);
            }
        }
        self.write();
        keys.len()
    }

    /// Wakes `waiter` when a sweep may go on.
    pub(super) fn when_there_is_room(&mut self, waiter: Waker) {
        self.room.push(waiter);
    }

    fn put_whole(&mut self, key: Key, bytes: &[u8]) -> bool {
        if self.broken || self.early.has(key) {
            return false;
        }
        let Some((stream, frame_bytes_max)) = self.ledger.take_whole(key, bytes.len()) else {
            return false;
        };
        for part in bytes.chunks(frame_bytes_max) {
            self.socket.out.push_data(stream, part);
        }
        true
    }

    /// Writes in the name of the connection's task: it is the one that the socket wakes.
    fn write(&mut self) {
        if self.socket.is_blocked() || self.socket.out.is_empty() {
            return;
        }
        let Some(task) = self.task.clone() else {
            return;
        };
        // A failure is noted, and the crate told.
        let _ = self.poll_out(&mut Context::from_waker(&task));
    }

    /// See [`Connection::poll_complete`](super::Connection::poll_complete).
    pub(super) fn poll_complete(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        ready!(self.poll_ordered(key, waker));
        if let Some(stream) = self.ledger.streams.end(key) {
            self.socket.out.push(&Head::end(stream).0);
            self.ask();
        }
        Poll::Ready(())
    }

    /// See [`Connection::poll_cut`](super::Connection::poll_cut).
    pub(super) fn poll_cut(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        ready!(self.poll_ordered(key, waker));
        if let Some(stream) = self.ledger.streams.end(key) {
            let frame = frame::reset(stream, Reason::CANCEL);
            self.socket.out.push(&frame);
            self.ask();
        }
        Poll::Ready(())
    }

    /// Ready when a stream has been given its head and all else, and a frame can go behind that; or
    /// when it is closed.
    fn poll_ordered(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        let waits = match self.ledger.streams.state(key) {
            State::Headless => true,
            State::Open => self.early.has(key) || !self.outbound.is_between_frames(),
            State::Closed => false,
        };
        if waits && !self.broken {
            self.ledger.streams.wait_for_room(key, waker);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// See [`Connection::poll_closed`](super::Connection::poll_closed).
    pub(super) fn poll_closed(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        if self.broken || self.ledger.streams.state(key) == State::Closed {
            return Poll::Ready(());
        }
        self.ledger.streams.wait_for_end(key, waker);
        Poll::Pending
    }

    /// Frames `bytes` as far as there is room.
    fn put(&mut self, key: Key, bytes: &mut Bytes) {
        while self.has_room()
            && let Some((stream, part)) = self.ledger.split(key, bytes)
        {
            self.socket.out.push_data(stream, &part);
        }
    }

    fn has_room(&self) -> bool {
        !self.socket.is_blocked() && !self.socket.out.is_full() && self.outbound.is_between_frames()
    }

    /// Has the connection's task write, once.
    fn ask(&mut self) {
        if self.socket.out.is_empty() || self.socket.is_blocked() || self.asked {
            return;
        }
        self.asked = true;
        self.wake_task();
    }
}

/// The connection's task.
impl Wire {
    /// By the connection's task, when its turn ends: writes for all, now or when the socket wakes the
    /// task again, and wakes it at once if requests may be left for another turn. After a failure the
    /// task is woken once more, so that the crate learns of it by its next read.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        match &mut self.task {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.move_waiting();
        self.asked = false;
        if self.inbox.next_turn() {
            cx.waker().wake_by_ref();
        }
        // A failure is noted.
        if self.poll_out(cx).is_ready() {
            self.lend();
        }
        // The crate may not read while it waits to write, and what it waits for is to be read.
        while self.outbound.held_bytes() > 0 && self.inbox.has_room() {
            match self.poll_fill(cx, None) {
                Poll::Ready(Ok(0) | Err(_)) => return self.fail(),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return,
            }
            // The crate can read it, and go on.
            cx.waker().wake_by_ref();
        }
    }

    /// See [`Ledger::lend`]. The shard, which has been woken, is asked first.
    fn lend(&mut self) {
        let lent = self.ledger.lend();
        if lent > 0 {
            self.inbox.grant(lent, &mut self.ledger);
            self.wake_task();
        }
    }

    /// Writes all of `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = ready!(self.socket.poll_write(cx));
        if written.is_ok() {
            if self.ledger.wake_ready(self.socket.out.room()) {
                self.wake_task();
            }
            self.room.drain(..).for_each(Waker::wake);
        } else if !self.broken {
            self.fail();
        }
        Poll::Ready(written)
    }
}
