//! The only writers of events: shards, and what they write to.

pub mod batch;
pub mod h2;
pub mod handle;
pub mod opening;
pub mod shard;
pub mod sink;
mod subscriber;
#[cfg(test)]
mod testing;
mod wheel;
