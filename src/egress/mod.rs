//! The only writers of events: shards, and what they write to.

pub mod batch;
pub mod opening;
pub mod shard;
pub mod sink;
mod wheel;
