//! Where an app and its test wait for each other.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::soon;

/// Of which one side gives and the other takes, each once.
#[derive(Debug, Clone)]
pub(crate) struct Permits(Arc<Semaphore>);

impl Permits {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// So many more may go on.
    pub(crate) fn give(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Given, and not taken so far.
    pub(crate) fn left(&self) -> usize {
        self.0.available_permits()
    }

    /// An app waits for one, for as long as its test goes on.
    pub(crate) async fn take(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    /// A test waits for one, and fails when that takes too long.
    pub(crate) async fn expect(&self, what: &str) {
        soon(what, self.take()).await;
    }
}
