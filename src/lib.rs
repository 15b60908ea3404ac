//! Sidestream: an SSE fan-out sidecar.
//!
//! One upstream Server-Sent-Events connection per channel, multiplexed to as many clients as the
//! pod can carry. `ARCHITECTURE.md` says how the modules below fit together.

pub mod clock;
pub mod config;
pub mod decide;
pub mod demo;
pub mod egress;
pub mod error;
pub mod route;
pub mod sse;
pub mod subscribe;
