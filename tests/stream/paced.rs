//! An app that goes on when the test says so.

use std::sync::Arc;

use crate::rig::{
    app::{App, Conn},
    permits::Permits,
};

/// Plays `script` on each connection, with its first request's head, once that request was read.
pub(crate) async fn paced<F, S>(permits: &Permits, script: F) -> App
where
    F: Fn(String, Conn, Permits) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let shared = (permits.clone(), Arc::new(script));
    App::sharing(&shared, |mut conn, (permits, script)| async move {
        let head = conn.head().await.unwrap();
        conn.body_of(&head).await;
        script(head, conn, permits).await;
    })
    .await
}
