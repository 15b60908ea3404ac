//! Requests that are not fan-out, from raw clients through the front to a scripted app.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

mod apps_http2;
mod bodies;
mod direct;
mod failures;
mod floods;
mod handover;
mod http2;
mod lifecycle;
mod messages;
mod paths;
mod proxies;
#[path = "../rig/mod.rs"]
mod rig;
mod slow;
mod streaming;
