//! HTTP/2 below the protocol: the shard writes the DATA frames of its streams itself, and their ends;
//! the h2 crate speaks the rest.
//!
//! ```text
//!            h2 crate (one task per connection)          shard
//!   reads ▲          │ writes                              │ DATA and ends of its streams
//!         │          ▼                                     ▼
//!   ┌─ Inbound ──┬─ Outbound ── Held ─────── Ledger ───────────────┐
//!   │            │                                             out │  Wire
//!   └────────────┴─────────────────────────────────────────────────┘
//!                            socket
//! ```
//!
//! Both sides write whole frames, one after the other, into one buffer. What a client grants by
//! WINDOW_UPDATE is the wire's to deal out: the crate knows nothing of what a shard sends. Nor does it
//! know of the streams themselves: to the crate, the response head of a stream that a shard takes over is
//! all of it, and it forgets the stream.
pub mod budget;
mod connection;
mod early;
mod frame;
mod held;
mod inbound;
mod inbox;
mod io;
mod ledger;
mod out;
mod outbound;
#[cfg(test)]
mod simulation;
mod socket;
mod streams;
mod wire;

pub use self::{
    connection::{Connection, Underway},
    io::H2Io,
    streams::Key,
};

/// What a client may upload on one connection before it is granted more.
pub const RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
