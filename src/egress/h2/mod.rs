//! HTTP/2 below the protocol: the shard writes the DATA frames of its streams itself, and the h2 crate
//! speaks the rest.
//!
//! ```text
//!            h2 crate (one task per connection)          shard
//!   reads ▲          │ writes                              │ DATA of its streams
//!         │          ▼                                     ▼
//!   ┌─ Inbound ──┬─ Outbound ─────────────── Ledger ───────────────┐
//!   │            │                                             out │  Wire
//!   └────────────┴─────────────────────────────────────────────────┘
//!                            socket
//! ```
//!
//! Both sides write whole frames, one after the other, into one buffer. What a client grants by
//! WINDOW_UPDATE is the wire's to deal out: the crate knows nothing of what a shard sends.
pub mod budget;
mod connection;
mod frame;
mod held;
mod inbound;
mod io;
mod ledger;
#[cfg(test)]
mod simulation;
mod wire;

pub use self::{connection::Connection, io::H2Io, ledger::Key};

/// What a client may upload on one connection before it is granted more.
pub const RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
