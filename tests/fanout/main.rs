//! The fan-out core end to end: a scripted app, the whole of Sidestream, raw clients.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod answers;
mod apps_http2;
mod apps_ids;
#[path = "../rig/mod.rs"]
mod base;
mod budget;
mod certificates;
mod clients;
mod credentials;
mod crowd;
mod ends;
mod finishing;
mod hints;
mod leaving;
mod load;
mod neighbours;
mod opening;
mod origins;
mod pace;
mod private;
mod refusals;
mod reloads;
mod replays;
mod resuming;
mod rig;
mod scraping;
mod seam;
mod shared_connections;
mod sharing;
mod silence;
mod stalls;
mod tls_stalls;
mod windows;
