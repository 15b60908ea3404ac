//! Sidestream: an SSE fan-out sidecar.
//!
//! One upstream Server-Sent-Events connection per channel, multiplexed to as many clients as the
//! pod can carry. `ARCHITECTURE.md` says how the modules below fit together.

pub mod admin;
pub mod admission;
pub mod answer;
pub mod app;
mod bare;
pub mod channel;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod cors;
pub mod decide;
pub mod demo;
pub mod drain;
pub mod egress;
pub mod error;
pub mod front;
pub mod hints;
pub mod lifecycle;
pub mod logging;
pub mod metrics;
pub mod passthrough;
pub mod relay;
pub mod route;
pub mod socket;
pub mod sse;
pub mod stream;
pub mod subscribe;
pub mod supervise;
pub mod upstream;
pub mod worker;
