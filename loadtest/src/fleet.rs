//! All subscribers of one process: its lanes, their orders and their progress.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock,
    failure::{Doing, Failure, Result},
    lane::{self, Order},
    plan::Plan,
    proc,
    tally::Tally,
};

/// Counters that lanes bring up to date as they go.
#[derive(Debug, Default)]
pub struct Progress {
    /// Subscribers with a 200.
    pub connected: AtomicU64,
    /// Connects that failed.
    pub failed: AtomicU64,
    /// Streams that ended early.
    pub ended: AtomicU64,
    /// Events delivered.
    pub delivered: AtomicU64,
    /// The highest sequence anybody got.
    pub highest: AtomicU64,
}

/// Progress at one moment; those of several processes add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Subscribers with a 200.
    pub connected: u64,
    /// Connects that failed.
    pub failed: u64,
    /// Streams that ended early.
    pub ended: u64,
    /// Events delivered.
    pub delivered: u64,
    /// The highest sequence anybody got.
    pub highest: u64,
}

impl Snapshot {
    /// Two processes together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            connected: self.connected + other.connected,
            failed: self.failed + other.failed,
            ended: self.ended + other.ended,
            delivered: self.delivered + other.delivered,
            highest: self.highest.max(other.highest),
        }
    }
}

/// What a fleet brings home.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Counts.
    pub tally: Tally,
    /// CPU seconds of the client processes while measuring.
    pub cpu_seconds: f64,
    /// Seconds from the order to measure to the end.
    pub measured_seconds: f64,
}

impl Outcome {
    /// Adds another process's.
    pub fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.cpu_seconds += other.cpu_seconds;
        self.measured_seconds = self.measured_seconds.max(other.measured_seconds);
    }
}

/// A running fleet of this process.
pub struct Fleet {
    orders: watch::Sender<Order>,
    progress: Arc<Progress>,
    lanes: Vec<JoinHandle<Result<Tally>>>,
    /// Clock and own CPU when measuring began.
    began: Option<(u64, f64)>,
}

impl Fleet {
    /// Starts process number `process` of the plan; it begins to connect at once.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(plan: &Arc<Plan>, process: u32) -> Result<Self> {
        let (orders, follow) = watch::channel(Order::Connect);
        let progress = Arc::new(Progress::default());
        let threads = plan.threads.max(1);
        let lane = |thread: u32| {
            let (plan, follow, progress) =
                (Arc::clone(plan), follow.clone(), Arc::clone(&progress));
            std::thread::Builder::new()
                .name(format!("lane-{thread}"))
                .spawn(move || lane::run(plan, process * threads + thread, follow, &progress))
                .doing("start a client thread")
        };
        let lanes = (0..threads).map(lane).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            orders,
            progress,
            lanes,
            began: None,
        })
    }

    /// Gives an order.
    pub fn order(&mut self, order: Order) {
        if matches!(order, Order::Measure { .. }) {
            self.began = Some((clock::now_ns(), proc::own_cpu_seconds()));
        }
        self.orders.send_replace(order);
    }

    /// Where it is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Snapshot {
            connected: read(&self.progress.connected),
            failed: read(&self.progress.failed),
            ended: read(&self.progress.ended),
            delivered: read(&self.progress.delivered),
            highest: read(&self.progress.highest),
        }
    }

    /// True once every lane has closed its books.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.lanes.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the lanes, which end after [`Order::Finish`], and adds up.
    ///
    /// # Errors
    /// What stopped a lane.
    pub fn join(self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for lane in self.lanes {
            let tally = lane
                .join()
                .map_err(|_| Failure::new("a client thread panicked"))??;
            outcome.tally.merge(&tally);
        }
        if let Some((began_ns, cpu_seconds)) = self.began {
            let elapsed = clock::now_ns().saturating_sub(began_ns);
            outcome.measured_seconds = std::time::Duration::from_nanos(elapsed).as_secs_f64();
            outcome.cpu_seconds = proc::own_cpu_seconds() - cpu_seconds;
        }
        Ok(outcome)
    }
}
