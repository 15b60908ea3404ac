//! Requests that are not fan-out, from raw clients through the front to a scripted app.

mod bodies;
mod failures;
mod handover;
mod http2;
mod lifecycle;
mod messages;
#[path = "../rig/mod.rs"]
mod rig;
mod streaming;
