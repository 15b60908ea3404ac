//! Panics end what they happened in and nothing else, and are counted.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::sleep;

use crate::metrics::{Metrics, labels::PanicPlace};

/// Before what panicked is begun again: a panic that comes each time must not take the core.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `work` as a task of its own on this thread's runtime.
pub(super) fn spawn(metrics: Arc<Metrics>, work: impl Future<Output = ()> + Send + 'static) {
    let noted = Note(metrics, PanicPlace::Connection);
    tokio::spawn(async move {
        work.await;
        drop(noted);
    });
}

/// Runs what `begin` makes until it ends by itself; after a panic it is made anew.
pub(super) async fn persist<W: Future<Output = ()>>(
    metrics: &Arc<Metrics>,
    mut begin: impl FnMut() -> W,
) {
    loop {
        let mut work = pin!(begin());
        let outcome = poll_fn(|cx| {
            // What it shares with others are counters and the kernel's sockets.
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
            polled.map_or_else(|_| Poll::Ready(Err(())), |polled| polled.map(Ok))
        });
        if outcome.await.is_ok() {
            return;
        }
        metrics.panics.inc(PanicPlace::Other);
        sleep(PAUSE).await;
    }
}

/// Counts when it is dropped by a panic.
struct Note(Arc<Metrics>, PanicPlace);

impl Drop for Note {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.inc(self.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_counted_and_the_next_one_runs() {
        let metrics = Arc::new(Metrics::new());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(metrics.clone(), async { panic!("as planned") });
        spawn(metrics.clone(), async {
            sender.send(()).unwrap();
        });
        receiver.await.unwrap();
        assert_eq!(metrics.panics.get(PanicPlace::Connection), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_persists_is_begun_again_until_it_ends_by_itself() {
        let metrics = Arc::new(Metrics::new());
        let begun = Cell::new(0);
        persist(&metrics, || {
            begun.set(begun.get() + 1);
            let turn = begun.get();
            async move {
                tokio::task::yield_now().await;
                assert!(turn == 3, "as planned");
            }
        })
        .await;
        assert_eq!(begun.get(), 3);
        assert_eq!(metrics.panics.get(PanicPlace::Other), 2);
    }
}
