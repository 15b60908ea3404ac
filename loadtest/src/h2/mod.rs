//! HTTP/2 subscribers: frames by hand, many streams a connection.

pub mod client;
pub mod frame;
pub mod hpack;
pub mod streams;
