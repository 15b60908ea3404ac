//! One loop per worker thread; it alone writes to the subscribers it owns.

/// Handle to a shard; cheap to clone.
#[derive(Clone)]
pub struct ShardHandle {}
