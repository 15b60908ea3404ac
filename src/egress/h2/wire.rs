//! The socket of an HTTP/2 connection, and what stands between it and the two that write to it.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::Reason;
use pingora::protocols::{Stream, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    RECEIVE_WINDOW_BYTES,
    budget::Budget,
    frame::{self, Head, Piece, Walker, kind},
    held::Held,
    inbound::Inbound,
    ledger::{Key, Ledger, State},
    out::Out,
};
use crate::clock;

/// What is held of the crate's for the client's window, from which on it may write no more. A client that
/// grants no more than the standard's window is never behind by more than that: 65,535.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a stream that may wait for its response head, which the crate writes in its own time.
const EARLY_BYTES_MAX: usize = 4 * 1024;

/// Read from the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// What is read and not yet the crate's, while it waits to write: all that a client may upload, for what
/// the crate waits for may come behind it.
const RECEIVED_BYTES_MAX: usize = RECEIVE_WINDOW_BYTES as usize + READ_BYTES;

/// Requests that the crate gets in one turn of the connection's task. Its tables of frames under way
/// grow with those that it has at once, and never shrink: with all streams of a client at once, they
/// are a third of what a stream costs.
const REQUESTS_IN_TURN: usize = 16;

/// The socket and its books. Behind a lock, which the connection's task and the shard take in turn:
/// they are on one thread.
pub(super) struct Wire {
    /// `None`: the crate is done with the connection.
    stream: Option<Stream>,
    inbound: Inbound,
    /// Requests that may still begin in this turn.
    turn: usize,
    /// Requests of this turn that the shard has not seen yet: the next one does not begin before.
    underway: usize,
    /// Read, and to be looked at in the next one.
    unseen: BytesMut,
    /// Looked at, and not yet the crate's.
    received: BytesMut,
    budget: Budget,
    /// The budget is spent. The crate gets nothing more to read.
    flooded: bool,
    /// Follows what the crate writes.
    outbound: Walker,
    /// A field block of the crate's goes on in its next frame.
    continues: bool,
    ledger: Ledger,
    /// Whole frames, but for one that the crate is about to end.
    out: Out,
    /// The socket takes no more for now, and will wake the connection's task.
    blocked: bool,
    /// Who is told when it does.
    room: Vec<Waker>,
    /// What the crate wrote and the client has no room for, and what must not overtake it.
    held: Held,
    /// The frame that the crate is writing goes there.
    holds: bool,
    /// First bytes of streams whose response heads have not passed.
    early: Vec<(Key, Bytes)>,
    /// Writing failed. The crate may not write again for long, so its next read tells it.
    broken: bool,
    /// The connection's task, and whether it was asked to write.
    task: Option<Waker>,
    asked: bool,
}

impl Wire {
    /// A connection of which `received` was read already.
    pub(super) fn new(stream: Stream, received: &[u8], budget: Budget) -> Self {
        let mut wire = Self {
            stream: Some(stream),
            inbound: Inbound::default(),
            turn: REQUESTS_IN_TURN,
            underway: 0,
            unseen: BytesMut::new(),
            received: BytesMut::new(),
            budget,
            flooded: false,
            outbound: Walker::default(),
            continues: false,
            ledger: Ledger::default(),
            out: Out::default(),
            blocked: false,
            room: Vec::new(),
            held: Held::default(),
            holds: false,
            early: Vec::new(),
            broken: false,
            task: None,
            asked: false,
        };
        wire.take_in(received, None);
        wire
    }

    /// Whether the client sent too many frames that ask for nothing.
    pub(super) const fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// Of the socket.
    pub(super) fn id(&self) -> UniqueIDType {
        self.stream.as_ref().map_or(-1, |stream| stream.id())
    }

    /// The crate is done: the socket is closed.
    pub(super) fn close(&mut self) {
        self.stream = None;
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
        self.ledger.wake_all();
        self.room.drain(..).for_each(Waker::wake);
    }

    fn fail(&mut self) {
        self.broken = true;
        self.out.clear();
        self.wake_all();
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// Reading.
impl Wire {
    /// For the crate.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        loop {
            if !self.received.is_empty() {
                let n = buf.remaining().min(self.received.len());
                buf.put_slice(self.received.get(..n).unwrap_or_default());
                self.received.advance(n);
                if self.received.is_empty() {
                    self.received = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if self.flooded {
                // The connection's task looks after each poll, so nobody needs to be woken.
                return Poll::Pending;
            }
            let before = buf.filled().len();
            let read = ready!(self.poll_fill(cx, Some(&mut *buf)))?;
            if read == 0 || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads once from the socket, or what was left of that; how much. What of it is the crate's goes
    /// to `buf`, or waits.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        if self.turn == 0 {
            // The flush begins another one, and wakes the task.
            return Poll::Pending;
        }
        if !self.unseen.is_empty() {
            let unseen = std::mem::take(&mut self.unseen);
            self.take_in(&unseen, buf);
            return Poll::Ready(Ok(unseen.len() - self.unseen.len()));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(0));
        };
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        self.take_in(read.filled(), buf);
        Poll::Ready(Ok(read.filled().len()))
    }

    fn take_in(&mut self, mut bytes: &[u8], mut buf: Option<&mut ReadBuf<'_>>) {
        let received = &mut self.received;
        let emit = |part: &[u8]| match &mut buf {
            Some(buf) if received.is_empty() && buf.remaining() >= part.len() => {
                buf.put_slice(part);
            }
            _ => received.extend_from_slice(part),
        };
        let (turn, ledger) = (&mut self.turn, &mut self.ledger);
        let counted = self.inbound.pass(&mut bytes, turn, ledger, emit);
        if !bytes.is_empty() {
            self.unseen = BytesMut::from(bytes);
        }
        self.flooded |= !self.budget.spend(counted, clock::now);
        self.move_waiting();
    }
}

/// Writing, by the crate.
impl Wire {
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        self.move_waiting();
        let between = self.outbound.is_between_frames() && !self.continues;
        if self.held.bytes() >= HELD_BYTES_MAX && between {
            // The task is woken by what the client grants: that is read, whatever the crate does.
            return Poll::Pending;
        }
        if self.out.is_full() && self.is_between_frames() {
            ready!(self.poll_out(cx))?;
        }
        self.absorb(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// A flush only promises: the task writes when it has polled the crate.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_full() {
            self.poll_out(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.move_waiting();
        ready!(self.poll_out(cx))?;
        if !self.held.is_empty() && !self.broken {
            // The crate knows nothing of it. See `flush`.
            return Poll::Pending;
        }
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes what the crate writes. DATA for which there is no room is held, and no other frame waits
    /// for it that need not: neither an answer to PING nor what a client may upload (section 5.2.2).
    fn absorb(&mut self, mut bytes: &[u8]) {
        while let Some(piece) = self.outbound.next(&mut bytes) {
            match piece {
                Piece::Head(mut head) => {
                    if head.ends_stream() && self.ledger.is_taken_over(head.stream()) {
                        head = head.without_end();
                    }
                    let waits = self.held.is_before(head)
                        || head.kind() == kind::DATA && !self.ledger.admits(head.len());
                    if waits {
                        self.held.begin(head);
                    } else {
                        self.out.push(&head.0);
                        self.note(head);
                    }
                    self.holds = waits;
                }
                Piece::Payload(part) if self.holds => self.held.extend(part),
                Piece::Payload(part) => self.out.push(part),
            }
            self.move_shards();
        }
    }

    fn note(&mut self, head: Head) {
        let stream = head.stream();
        self.continues = head.continues();
        match head.kind() {
            kind::DATA => self.ledger.spent(stream, head.len()),
            kind::HEADERS => self.ledger.headed(stream),
            kind::RST_STREAM => self.ledger.closed(stream),
            kind::SETTINGS if head.is_ack() => self.ledger.acknowledged(),
            _ => {}
        }
        if head.ends_stream() {
            self.ledger.closed(stream);
        }
    }

    /// Nothing that must stay together is torn by a frame that comes here.
    const fn is_between_frames(&self) -> bool {
        (self.holds || self.outbound.is_between_frames()) && !self.continues
    }

    /// What waits for the client's windows goes out as far as they reach.
    fn move_waiting(&mut self) {
        self.move_held();
        self.move_shards();
    }

    /// What the shard has for streams whose response heads have passed by now.
    fn move_shards(&mut self) {
        if (self.early.is_empty() && !self.ledger.has_resets()) || !self.is_between_frames() {
            return;
        }
        self.move_early();
        let out = &mut self.out;
        self.ledger
            .reset_due(|stream, reason| out.push(&frame::reset(stream, reason)));
    }
}

/// What the crate has no room for.
impl Wire {
    /// Moves what there is room for. A client may grant more only when all of its window is used up, so
    /// a frame that does not fit goes out as far as it does.
    fn move_held(&mut self) {
        while let Some(head) = self.held.first()
            && (self.is_between_frames() || head.kind() == kind::CONTINUATION)
        {
            let fits = head.kind() != kind::DATA || self.ledger.admits(head.len());
            let (head, payload) = if fits && let Some(payload) = self.held.take() {
                // The crate may not have written all of it.
                self.holds &= !self.held.is_empty();
                (head, payload)
            } else if let Some(part) = self.held.split(self.ledger.room()) {
                part
            } else {
                return;
            };
            self.out.push(&head.0);
            self.out.push(&payload);
            self.note(head);
        }
    }
}

/// Writing, by the shard.
impl Wire {
    /// A request is on its way to the shard.
    pub(super) const fn sent_on(&mut self) {
        self.underway += 1;
    }

    /// A request has come to the shard, or to nothing.
    pub(super) fn arrived(&mut self) {
        self.underway -= 1;
        if self.underway == 0
            && self.turn == 0
            && let Some(task) = &self.task
        {
            // Its flush begins the next turn.
            task.wake_by_ref();
        }
    }

    /// See [`Connection::adopt`](super::Connection::adopt).
    pub(super) fn adopt(&mut self, stream: u32) -> Option<Key> {
        self.ledger.adopt(stream)
    }

    /// See [`Connection::release`](super::Connection::release).
    pub(super) fn release(&mut self, key: Key) {
        self.early.retain(|(early, _)| *early != key);
        self.ledger.release(key);
        self.move_shards();
        self.ask();
        if !self.ledger.is_shared()
            && let Some(task) = &self.task
        {
            // The connection may have waited for that to leave.
            task.wake_by_ref();
        }
    }

    /// Whether the client has more than `max` streams open.
    pub(super) const fn is_above(&self, max: usize) -> bool {
        self.ledger.is_above(max)
    }

    /// Whether the client has said that it leaves.
    pub(super) const fn is_left(&self) -> bool {
        self.inbound.is_left()
    }

    /// See [`Connection::say_go_away`](super::Connection::say_go_away).
    pub(super) fn say_go_away(&mut self) {
        debug_assert!(self.is_between_frames(), "the crate ends what it begins");
        self.out.push(&frame::go_away());
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
        self.ledger.wait_for_end(key, waker);
        match self.ledger.state(key) {
            State::Closed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            State::Headless if bytes.len() <= EARLY_BYTES_MAX && !self.is_early(key) => {
                // A copy: it must not keep the batch that it is a part of.
                let early = Bytes::copy_from_slice(bytes);
                bytes.clear();
                if !early.is_empty() {
                    self.early.push((key, early));
                }
                return Poll::Ready(Ok(()));
            }
            State::Open if !self.is_early(key) => self.put(key, bytes),
            State::Headless | State::Open => {}
        }
        self.ask();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.ledger.wait_for_room(key, waker);
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
            if self.out.is_full() {
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
        if self.broken || (!self.early.is_empty() && self.is_early(key)) {
            return false;
        }
        let Some((stream, frame_bytes_max)) = self.ledger.take_whole(key, bytes.len()) else {
            return false;
        };
        for part in bytes.chunks(frame_bytes_max) {
            self.out.push(&Head::data(length(part), stream).0);
            self.out.push(part);
        }
        true
    }

    /// Writes in the name of the connection's task: it is the one that the socket wakes.
    fn write(&mut self) {
        if self.blocked || self.out.is_empty() {
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
        if let Some(stream) = self.ledger.end(key) {
            self.out.push(&Head::end(stream).0);
            self.ask();
        }
        Poll::Ready(())
    }

    /// See [`Connection::poll_cut`](super::Connection::poll_cut).
    pub(super) fn poll_cut(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        ready!(self.poll_ordered(key, waker));
        if let Some(stream) = self.ledger.end(key) {
            let frame = frame::reset(stream, Reason::CANCEL);
            self.out.push(&frame);
            self.ask();
        }
        Poll::Ready(())
    }

    /// Ready when a stream has been given its head and all else, and a frame can go behind that; or
    /// when it is closed.
    fn poll_ordered(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        let waits = match self.ledger.state(key) {
            State::Headless => true,
            State::Open => self.is_early(key) || !self.is_between_frames(),
            State::Closed => false,
        };
        if waits && !self.broken {
            self.ledger.wait_for_room(key, waker);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// See [`Connection::poll_closed`](super::Connection::poll_closed).
    pub(super) fn poll_closed(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        if self.broken || self.ledger.state(key) == State::Closed {
            return Poll::Ready(());
        }
        self.ledger.wait_for_end(key, waker);
        Poll::Pending
    }

    /// Frames `bytes` as far as there is room.
    fn put(&mut self, key: Key, bytes: &mut Bytes) {
        while !bytes.is_empty() && self.has_room() {
            let len = self.ledger.take(key, bytes.len());
            if len == 0 {
                return;
            }
            let part = bytes.split_to(len as usize);
            self.out.push(&Head::data(len, self.ledger.id(key)).0);
            self.out.push(&part);
        }
    }

    fn has_room(&self) -> bool {
        !self.blocked && !self.out.is_full() && self.is_between_frames()
    }

    fn is_early(&self, key: Key) -> bool {
        self.early.iter().any(|(early, _)| *early == key)
    }

    /// The first bytes of streams whose heads have passed. In front of what the crate writes next, which
    /// may be their end: so there is always room.
    fn move_early(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        early.retain_mut(|(key, bytes)| {
            if self.ledger.state(*key) != State::Open {
                return self.ledger.state(*key) == State::Headless;
            }
            while !bytes.is_empty() {
                let len = self.ledger.take(*key, bytes.len());
                if len == 0 {
                    return true;
                }
                let part = bytes.split_to(len as usize);
                self.out.push(&Head::data(len, self.ledger.id(*key)).0);
                self.out.push(&part);
            }
            self.ledger.wake(*key);
            false
        });
        self.early.append(&mut early);
    }

    /// Has the connection's task write, once.
    fn ask(&mut self) {
        if self.out.is_empty() || self.blocked || self.asked {
            return;
        }
        self.asked = true;
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// To the socket.
impl Wire {
    /// By the connection's task, when its turn ends: writes for all, now or when the socket wakes the
    /// task again, and wakes it at once if requests may be left for another turn. After a failure the
    /// task is woken once more, so that the crate learns of it by its next read.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !self
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            self.task = Some(cx.waker().clone());
        }
        self.move_waiting();
        self.asked = false;
        if self.underway == 0 && std::mem::replace(&mut self.turn, REQUESTS_IN_TURN) == 0 {
            cx.waker().wake_by_ref();
        }
        // A failure is noted.
        let _ = self.poll_out(cx);
        // The crate may not read while it waits to write, and what it waits for is to be read.
        while !self.held.is_empty() && self.received.len() < RECEIVED_BYTES_MAX && !self.flooded {
            match self.poll_fill(cx, None) {
                Poll::Ready(Ok(0) | Err(_)) => return self.fail(),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return,
            }
            // The crate can read it, and go on.
            cx.waker().wake_by_ref();
        }
    }

    /// Writes all of `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_write_all(cx) {
            Poll::Ready(Ok(())) => {
                self.blocked = false;
                self.ledger.wake_ready();
                self.room.drain(..).for_each(Waker::wake);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                if !self.broken {
                    self.fail();
                }
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                self.out.settle();
                self.blocked = true;
                Poll::Pending
            }
        }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(self.check());
        };
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, self.out.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        Pin::new(stream).poll_flush(cx)
    }
}

/// Frames are shorter than 2^24 bytes.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(0)
}
