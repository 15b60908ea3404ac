//! Routes with `action: stream`, from raw clients through the front to a scripted app.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

mod answers;
mod apps_http2;
mod bodies;
mod ends;
mod leaving;
mod paced;
mod queue;
mod reader;
#[path = "../rig/mod.rs"]
mod rig;
mod silence;
