//! One thread of a fleet: it dials its share, reads all its connections, and closes its books.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, watch},
    task::LocalSet,
};

use crate::{
    clock,
    dial::Dialler,
    failure::{Doing, Result},
    fleet::Progress,
    h1, h2,
    plan::{Dial, Plan},
    roster::Roster,
    tally::{Protocol, Tally},
};

/// How often a lane looks at its orders and shows its progress.
const TICK: Duration = Duration::from_millis(50);
/// One read takes at most this much; shared by all connections of the lane.
const READ_BYTES: usize = 256 * 1024;

/// What a fleet is told; each order follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Connect everybody.
    Connect,
    /// All are connected: measure from now on.
    Measure {
        /// Sequence that the publisher had reached when all were connected.
        mark: Option<u64>,
    },
    /// Wait until all have reached the target, then close.
    Finish {
        /// Sequence that every subscriber must reach.
        target: Option<u64>,
        /// How long to wait for it.
        grace: Duration,
    },
}

/// What the connections of a lane share.
pub struct Lane {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Subscribers and counts.
    pub roster: RefCell<Roster>,
    /// The one read buffer.
    pub scratch: RefCell<Vec<u8>>,
    /// Makes connections.
    pub dialler: Dialler,
    /// The test is about to end: nobody leaves any more.
    pub finishing: Cell<bool>,
}

/// Runs lane number `number` to the end of its orders.
///
/// # Errors
/// When the runtime or the TLS client cannot be set up.
pub fn run(
    plan: Arc<Plan>,
    number: u32,
    orders: watch::Receiver<Order>,
    progress: &Progress,
) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing("start a client thread")?;
    let lane = Rc::new(Lane {
        roster: RefCell::new(Roster::of(&plan)),
        scratch: RefCell::new(vec![0; READ_BYTES]),
        dialler: Dialler::new(&plan)?,
        finishing: Cell::new(false),
        plan,
    });
    let tasks = LocalSet::new();
    let target = tasks.block_on(&runtime, async {
        tokio::task::spawn_local(launch(Rc::clone(&lane), number));
        follow(&lane, orders, progress).await
    });
    // Dropping the tasks closes their sockets and their handles on the lane.
    drop(tasks);
    drop(runtime);
    let empty = Roster::new(lane.plan.expect);
    Ok(lane.roster.replace(empty).close(target))
}

/// Dials at the planned times, with a bound on connects under way.
async fn launch(lane: Rc<Lane>, number: u32) {
    let start = clock::now_ns();
    let dials: Vec<Dial> = lane.plan.dials(number).collect();
    let places: Vec<usize> = {
        let mut roster = lane.roster.borrow_mut();
        dials
            .iter()
            .map(|dial| roster.enter(&lane.plan, dial))
            .collect()
    };
    let in_flight_max = lane.plan.connects_in_flight_max / lane.plan.lanes();
    let permits = Arc::new(Semaphore::new(in_flight_max.max(1) as usize));
    for (dial, place) in dials.into_iter().zip(places) {
        let wait = clock::until(start + clock::nanos(dial.after));
        if wait > Duration::from_millis(1) {
            tokio::time::sleep(wait).await;
        }
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let lane = Rc::clone(&lane);
        match dial.protocol {
            Protocol::H1 => tokio::task::spawn_local(h1::client::run(lane, dial, place, permit)),
            Protocol::H2 => tokio::task::spawn_local(h2::client::run(lane, dial, place, permit)),
        };
    }
}

/// Follows the orders until the last one is done; returns the target that was to be reached.
async fn follow(
    lane: &Lane,
    mut orders: watch::Receiver<Order>,
    progress: &Progress,
) -> Option<u64> {
    let mut shown = Shown::default();
    let mut deadline = None;
    loop {
        let order = *orders.borrow_and_update();
        shown.show(&lane.roster.borrow(), progress);
        match order {
            Order::Connect => {}
            Order::Measure { mark } => lane.roster.borrow_mut().measure(mark),
            Order::Finish { target, grace } => {
                lane.finishing.set(true);
                let deadline = *deadline.get_or_insert(clock::now_ns() + clock::nanos(grace));
                let reached = target.is_none_or(|target| lane.roster.borrow().has_reached(target));
                if reached || clock::now_ns() >= deadline {
                    return target;
                }
            }
        }
        // An order that comes is followed at once; without a sender nobody wants the result.
        if let Ok(Err(_)) = tokio::time::timeout(TICK, orders.changed()).await {
            return None;
        }
    }
}

/// What a lane has added to the shared progress so far.
#[derive(Default)]
struct Shown {
    connected: u64,
    failed: u64,
    ended: u64,
    delivered: u64,
}

impl Shown {
    /// Adds what is new; the hot path never touches shared cache lines.
    fn show(&mut self, roster: &Roster, progress: &Progress) {
        let (h1, h2) = (&roster.tally().h1, &roster.tally().h2);
        let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
        let cells = [
            (
                &mut self.connected,
                &progress.connected,
                h1.connected + h2.connected,
            ),
            (
                &mut self.failed,
                &progress.failed,
                sum(&h1.failures) + sum(&h2.failures),
            ),
            (
                &mut self.ended,
                &progress.ended,
                sum(&h1.ends) + sum(&h2.ends),
            ),
            (
                &mut self.delivered,
                &progress.delivered,
                h1.delivered + h2.delivered,
            ),
        ];
        for (shown, cell, now) in cells {
            cell.fetch_add(now - std::mem::replace(shown, now), Ordering::Relaxed);
        }
        progress
            .highest
            .fetch_max(roster.highest(), Ordering::Relaxed);
    }
}
