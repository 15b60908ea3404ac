//! An HTTP/2 connection, as the shard sees it that writes to its streams.

use tokio::sync::Notify;

/// What the streams of a connection share with the task that drives it. As long as a stream of a shard
/// lives, the connection is the shard's to send away.
#[derive(Debug, Default)]
pub struct Connection {
    leave: Notify,
}

impl Connection {
    /// Has it say GOAWAY: its client asks elsewhere from then on. The streams that exist go on.
    pub fn leave(&self) {
        self.leave.notify_one();
    }

    /// Waits for that.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}
