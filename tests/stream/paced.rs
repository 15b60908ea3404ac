//! An app that goes on when the test says so.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::rig::{
    app::{App, Conn},
    soon,
};

/// The head of an event stream, chunked.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                                 Transfer-Encoding: chunked\r\n\r\n";

/// What the test lets apps do, each once.
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

    /// Waits for one.
    pub(crate) async fn take(&self) {
        soon("a permit", self.0.acquire()).await.unwrap().forget();
    }
}

/// Plays `script` on each connection, with its first request's head, once that request was read.
pub(crate) async fn paced<F, S>(permits: &Permits, script: F) -> App
where
    F: Fn(String, Conn, Permits) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let (permits, script) = (permits.clone(), Arc::new(script));
    App::start(move |mut conn| {
        let (permits, script) = (permits.clone(), script.clone());
        async move {
            let head = conn.head().await.unwrap();
            conn.body_of(&head).await;
            script(head, conn, permits).await;
        }
    })
    .await
}
