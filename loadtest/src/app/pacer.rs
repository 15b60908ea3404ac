//! The publisher's metronome: a thread of its own, because a runtime's timer ticks in milliseconds.
//!
//! Every event carries the time at which it was meant to be sent. If this thread is late, the
//! events are late too, and say so: nothing is skipped and no delay is hidden.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use super::feed::Feeds;
use crate::{
    clock,
    failure::{Doing, Result},
};

/// Events of a burst that go out in one go; then readers get time to take them.
const BURST_SLICE: u64 = 1_024;
/// The pause between two slices.
const BURST_PAUSE: Duration = Duration::from_micros(500);
/// The longest sleep when nothing is paced.
const IDLE: Duration = Duration::from_secs(1);

/// The running thread; dropping it stops it.
pub struct Pacer {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Orders {
    stop: AtomicBool,
    burst: AtomicU64,
}

/// Asks the pacer for bursts.
#[derive(Clone)]
pub struct Waker {
    orders: Arc<Orders>,
    thread: Option<Thread>,
}

impl Pacer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(feeds: Arc<Feeds>, events_per_second: f64) -> Result<Self> {
        let orders = Arc::new(Orders::default());
        let interval = (events_per_second > 0.0)
            .then(|| clock::nanos(Duration::from_secs_f64(1.0 / events_per_second)).max(1));
        let follow = Arc::clone(&orders);
        let thread = std::thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || run(&feeds, &follow, interval))
            .doing("start the pacing thread")?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// A handle for bursts.
    #[must_use]
    pub fn waker(&self) -> Waker {
        let thread = self.thread.as_ref().map(|thread| thread.thread().clone());
        Waker {
            orders: Arc::clone(&self.orders),
            thread,
        }
    }
}

impl Waker {
    /// Publishes `count` further events as fast as readers can take them.
    pub fn burst(&self, count: u64) {
        self.orders.burst.fetch_add(count, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It holds no lock and ends within a slice.
            let _ = thread.join();
        }
    }
}

fn run(feeds: &Feeds, orders: &Orders, interval_ns: Option<u64>) {
    let start_ns = clock::now_ns();
    let mut ticks = 0;
    while !orders.stop.load(Ordering::Relaxed) {
        let mut pause = IDLE;
        if let Some(interval_ns) = interval_ns {
            let due_ns = |ticks: u64| start_ns + (ticks + 1) * interval_ns;
            while due_ns(ticks) <= clock::now_ns() && !orders.stop.load(Ordering::Relaxed) {
                feeds.publish(due_ns(ticks));
                ticks += 1;
            }
            pause = clock::until(due_ns(ticks));
        }
        let wanted = orders.burst.load(Ordering::Relaxed);
        let slice = wanted.min(BURST_SLICE);
        for _ in 0..slice {
            feeds.publish(clock::now_ns());
        }
        orders.burst.fetch_sub(slice, Ordering::Relaxed);
        if wanted > slice {
            pause = pause.min(BURST_PAUSE);
        }
        std::thread::park_timeout(pause);
    }
}
