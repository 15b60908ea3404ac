//! `loadtest`: a lean SSE load client that checks correctness first and measures latency second.
//!
//! ```text
//! crew ─► fleet (a process) ─► lane (a thread) ─► h1::client / h2::client ─► roster ─► tally
//!                                                 bytes                     scanner, sequence
//! bench: publisher and subscribers in one thread ─► outcome; floor: the least a server can be
//! ratios: the results of many benches as one table
//! app: the publisher, a small SSE upstream whose events say when they were meant to be sent
//! ```
//! Connections know bytes and framing; the roster alone judges; tallies merge upwards and end in a
//! report.

pub mod app;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod conduct;
pub mod crew;
pub mod dial;
pub mod diary;
pub mod failure;
pub mod fanout;
pub mod fleet;
pub mod floor;
pub mod h1;
pub mod h2;
pub mod html;
pub mod lane;
pub mod memory;
pub mod payload;
pub mod plan;
pub mod poll;
pub mod proc;
pub mod ratios;
pub mod report;
pub mod roster;
pub mod rounds;
pub mod samples;
pub mod scenario;
pub mod stats;
pub mod tally;
pub mod target;
pub mod timeline;
pub mod tls;
pub mod tune;
pub mod wire;
