//! What must run for as long as the process does: a panic is contained, counted, and it is started
//! anew; while it is down, `/livez` says so.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::task::spawn_local;

use crate::{
    lifecycle::Lifecycle,
    metrics::{Metrics, labels::PanicPlace},
};

/// Pause before a new start. What panics at once, over and over, is down for nearly all the time, so
/// that a liveness probe ends the process.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs `work` as a task of its own; a panic ends only it, and is counted.
pub fn contained(
    metrics: &Arc<Metrics>,
    place: PanicPlace,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let noted = PanicNote {
        metrics: metrics.clone(),
        place,
    };
    tokio::spawn(async move {
        work.await;
        drop(noted);
    });
}

/// Counts when it is dropped by a panic.
struct PanicNote {
    metrics: Arc<Metrics>,
    place: PanicPlace,
}

impl Drop for PanicNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.metrics.panics.inc(self.place);
        }
    }
}

/// Keeps things running.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// Where it says what is down.
    pub lifecycle: Arc<Lifecycle>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

impl Supervisor {
    /// Runs what `make` makes until it ends by itself, anew after each panic. Within a `LocalSet`.
    pub async fn keep<F: Future<Output = ()> + 'static>(
        self,
        name: String,
        place: PanicPlace,
        mut make: impl FnMut() -> F,
    ) {
        loop {
            let duty = self.lifecycle.duty(&name);
            match spawn_local(make()).await {
                Ok(()) => return duty.fulfil(),
                Err(failure) if failure.is_panic() => {
                    drop(duty);
                    self.metrics.panics.inc(place);
                    tracing::error!(name, "panicked and is started anew; please report it");
                }
                // The thread ends.
                Err(_) => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;
    use crate::clock::Millis;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_counted_and_told_until_the_new_start() {
        let supervisor = Supervisor {
            lifecycle: Arc::default(),
            metrics: Arc::new(Metrics::new()),
        };
        let Supervisor { lifecycle, metrics } = supervisor.clone();
        let starts = Rc::new(Cell::new(0));
        let counted = starts.clone();
        let make = move || {
            counted.set(counted.get() + 1);
            let start = counted.get();
            async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert!(start > 2, "on purpose");
            }
        };
        let local = LocalSet::new();
        let kept = local.spawn_local(supervisor.keep("x".to_owned(), PanicPlace::Control, make));
        let look = async {
            for (panics, ailments) in [(0, 0), (1, 1), (1, 0), (2, 1), (2, 0)] {
                let wanted = || {
                    let seen = lifecycle.ailments(Millis(0));
                    assert!(seen.iter().all(|text| text == "x is down"), "{seen:?}");
                    (metrics.panics.get(PanicPlace::Control), seen.len()) == (panics, ailments)
                };
                while !wanted() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            kept.await.unwrap();
        };
        local.run_until(look).await;
        assert_eq!(starts.get(), 3);
        assert_eq!(
            lifecycle.ailments(Millis(0)),
            [] as [String; 0],
            "it ended by itself"
        );
    }
}
