//! The only writers of events.

pub mod shard;
