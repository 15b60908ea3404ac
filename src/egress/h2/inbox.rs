//! What was read from a client, until it is the crate's.

use std::{
    io,
    mem::MaybeUninit,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::{
    RECEIVE_WINDOW_BYTES, budget::Budget, inbound::Inbound, ledger::Ledger, socket::Socket,
};
use crate::clock;

/// Read from the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// What is read and not yet the crate's, while it waits to write: all that a client may upload, for what
/// the crate waits for may come behind it.
const RECEIVED_BYTES_MAX: usize = RECEIVE_WINDOW_BYTES as usize + READ_BYTES;

/// Requests that the crate gets in one turn of the connection's task. Its tables of frames under way
/// grow with those that it has at once, and never shrink: with all streams of a client at once, they
/// are a third of what a stream costs.
const REQUESTS_IN_TURN: usize = 16;

/// In the order in which it came.
pub(super) struct Inbox {
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
}

impl Inbox {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            inbound: Inbound::default(),
            turn: REQUESTS_IN_TURN,
            underway: 0,
            unseen: BytesMut::new(),
            received: BytesMut::new(),
            budget,
            flooded: false,
        }
    }

    /// Whether the client sent too many frames that ask for nothing.
    pub(super) const fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// Whether the client has said that it leaves.
    pub(super) const fn is_left(&self) -> bool {
        self.inbound.is_left()
    }

    /// Whether more may be read although the crate takes nothing.
    pub(super) fn has_room(&self) -> bool {
        self.received.len() < RECEIVED_BYTES_MAX && !self.flooded
    }

    /// Gives the crate what is there of its own. `false`: nothing.
    pub(super) fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.received.is_empty() {
            return false;
        }
        let n = buf.remaining().min(self.received.len());
        buf.put_slice(self.received.get(..n).unwrap_or_default());
        self.received.advance(n);
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        true
    }

    /// Reads once from the socket, or what was left of that; how much. What of it is the crate's goes
    /// to `buf`, or waits.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        ledger: &mut Ledger,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        if self.turn == 0 {
            // The flush begins another one, and wakes the task.
            return Poll::Pending;
        }
        if !self.unseen.is_empty() {
            let unseen = std::mem::take(&mut self.unseen);
            self.take_in(&unseen, ledger, buf);
            return Poll::Ready(Ok(unseen.len() - self.unseen.len()));
        }
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(socket.poll_read(cx, &mut read))?;
        self.take_in(read.filled(), ledger, buf);
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Looks at `bytes` as far as the turn reaches.
    pub(super) fn take_in(
        &mut self,
        mut bytes: &[u8],
        ledger: &mut Ledger,
        mut buf: Option<&mut ReadBuf<'_>>,
    ) {
        let received = &mut self.received;
        let emit = |part: &[u8]| match &mut buf {
            Some(buf) if received.is_empty() && buf.remaining() >= part.len() => {
                buf.put_slice(part);
            }
            _ => received.extend_from_slice(part),
        };
        let counted = self.inbound.pass(&mut bytes, &mut self.turn, ledger, emit);
        if !bytes.is_empty() {
            self.unseen = BytesMut::from(bytes);
        }
        self.flooded |= !self.budget.spend(counted, clock::now);
    }

    /// Lets the crate send more on the connection, as if the client did.
    pub(super) fn grant(&mut self, by: u32, ledger: &mut Ledger) {
        self.inbound.grant(by);
        // Now, unless a frame of the client's is about to end.
        self.take_in(&[], ledger, None);
    }
}

/// Turns.
impl Inbox {
    /// A request is on its way to the shard.
    pub(super) const fn sent_on(&mut self) {
        self.underway += 1;
    }

    /// A request has come to the shard, or to nothing. `true`: the next turn waits for nothing else.
    pub(super) const fn arrived(&mut self) -> bool {
        self.underway -= 1;
        self.underway == 0 && self.turn == 0
    }

    /// Begins another turn, unless requests of this one are on their way. `true`: some may have been left
    /// for it.
    pub(super) const fn next_turn(&mut self) -> bool {
        self.underway == 0 && std::mem::replace(&mut self.turn, REQUESTS_IN_TURN) == 0
    }
}
