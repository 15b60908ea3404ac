//! Channels: bounded replay, the life of one upstream stream, and who shares it.

pub mod id;
pub mod ring;
