//! How the rest of the process talks to a shard: an inbox behind a short lock, and one wake-up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Wake,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::sink::Downstream;
use crate::{
    admission::Seat,
    answer::Answer,
    channel::{registry::Membership, shared::ShardWake},
    clock::{self, Millis},
    decide::FanOut,
};

/// Handle to a shard; cheap to clone.
#[derive(Clone)]
pub struct ShardHandle(pub(super) Arc<Shared>);

/// What both sides of a handle share.
pub(super) struct Shared {
    /// Number of the shard in this process.
    pub(super) id: u32,
    inbox: Mutex<Inbox>,
    notify: Notify,
    /// Subscribers and waiting joiners now.
    pub(super) load: AtomicUsize,
}

/// What has come in since the shard last looked.
#[derive(Default)]
pub(super) struct Inbox {
    /// The last order. It stands: a shard that starts anew after a panic finds it here.
    pub(super) order: Option<Order>,
    /// Clients handed over.
    pub(super) arrivals: Vec<Arrival>,
    /// Slots of channels that changed.
    pub(super) changed: Vec<u32>,
    /// Slots of channels with events that may wait until then.
    pub(super) due: Vec<(Millis, u32)>,
    /// Subscribers whose socket or stream moved.
    pub(super) woken: Vec<Token>,
    /// Groups of subscribers whose socket takes more.
    pub(super) groups: Vec<GroupToken>,
}

/// A subscriber's place in a shard; a later user of the same index has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A group of readers in a slot; a later user of the same place has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupToken {
    pub(super) slot: u32,
    pub(super) group: u32,
    pub(super) generation: u32,
}

/// A client handed over.
pub(super) enum Arrival {
    /// It joins a channel.
    Join(Box<Joiner>),
    /// It is answered and done with, within this time.
    Answer(Downstream, Arc<Answer>, Duration),
}

/// A client that is to join, as long as it has not been answered.
pub struct Joiner {
    /// What it asked.
    pub request: Box<FanOut>,
    /// Where it asked.
    pub downstream: Downstream,
    /// Its place in the channel.
    pub membership: Membership,
    /// Its places under the caps.
    pub seat: Seat,
    /// When.
    pub asked: Millis,
}

/// Gives a client an exchange of its own with the app, on the current runtime.
pub trait Relay: Send + Sync {
    /// Takes the client over for good.
    fn relay(&self, joiner: Box<Joiner>);
}

/// What a shard is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Close everybody, evenly until then.
    Drain(Millis),
    /// The drain deadline: cut what is left.
    Cut,
}

impl ShardHandle {
    /// A handle without its shard yet.
    pub(super) fn new(id: u32) -> Self {
        Self(Arc::new(Shared {
            id,
            inbox: Mutex::default(),
            notify: Notify::new(),
            load: AtomicUsize::new(0),
        }))
    }

    /// Hands over a client that joins a channel.
    pub fn join(&self, joiner: Box<Joiner>) {
        self.0
            .put(|inbox| inbox.arrivals.push(Arrival::Join(joiner)));
    }

    /// Hands over a client that is answered and done with. It may take `patience` to take it.
    pub fn answer(&self, downstream: Downstream, answer: Arc<Answer>, patience: Duration) {
        let arrival = Arrival::Answer(downstream, answer, patience);
        self.0.put(|inbox| inbox.arrivals.push(arrival));
    }

    /// Closes every subscriber, evenly over `window`.
    pub fn drain(&self, window: Duration) {
        let end = clock::now().after(window);
        self.0.put(|inbox| inbox.order = Some(Order::Drain(end)));
    }

    /// Cuts what is left.
    pub fn cut(&self) {
        self.0.put(|inbox| inbox.order = Some(Order::Cut));
    }

    /// Subscribers, waiting joiners and answers under way.
    #[must_use]
    pub fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock());
        self.notify.notify_one();
    }

    /// Everything that came in.
    pub(super) fn take(&self) -> Inbox {
        let mut inbox = self.inbox.lock();
        let order = inbox.order;
        let fresh = Inbox {
            order,
            ..Inbox::default()
        };
        std::mem::replace(&mut *inbox, fresh)
    }

    /// Resolves when something came in since the last call.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }
}

/// Wakes the shard for one channel, once until the shard has looked.
pub(super) struct SlotWake {
    shared: Arc<Shared>,
    slot: u32,
    changed: AtomicBool,
    /// There are events that may wait; the shard knows until when.
    due: AtomicBool,
    swept: AtomicU64,
}

impl SlotWake {
    pub(super) const fn new(shared: Arc<Shared>, slot: u32, swept: u64) -> Self {
        Self {
            shared,
            slot,
            changed: AtomicBool::new(false),
            due: AtomicBool::new(false),
            swept: AtomicU64::new(swept),
        }
    }

    /// Everything up to `sequence` is taken.
    pub(super) fn set_swept(&self, sequence: u64) {
        self.swept.store(sequence, Ordering::Release);
    }

    /// The shard looks: what changes from here on wakes it again.
    pub(super) fn seen(&self) {
        self.changed.store(false, Ordering::Release);
        self.due.store(false, Ordering::Release);
    }
}

impl ShardWake for SlotWake {
    fn channel_changed(&self) {
        if !self.changed.swap(true, Ordering::AcqRel) {
            self.shared.put(|inbox| inbox.changed.push(self.slot));
        }
    }

    fn events_due(&self, due: Millis) {
        if !self.due.swap(true, Ordering::AcqRel) {
            self.shared.put(|inbox| inbox.due.push((due, self.slot)));
        }
    }

    fn swept(&self) -> u64 {
        self.swept.load(Ordering::Acquire)
    }
}

/// Wakes the shard for one subscriber, once until the shard has looked.
pub(super) struct SubscriberWake {
    shared: Arc<Shared>,
    token: Token,
    woken: AtomicBool,
}

impl SubscriberWake {
    pub(super) const fn new(shared: Arc<Shared>, token: Token) -> Self {
        Self {
            shared,
            token,
            woken: AtomicBool::new(false),
        }
    }

    /// The shard looks: what moves from here on wakes it again.
    pub(super) fn seen(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

impl Wake for SubscriberWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.shared.put(|inbox| inbox.woken.push(self.token));
        }
    }
}

/// Wakes the shard for one group of subscribers, once until the shard has looked.
pub(super) struct GroupWake {
    shared: Arc<Shared>,
    token: GroupToken,
    woken: AtomicBool,
}

impl GroupWake {
    pub(super) const fn new(shared: Arc<Shared>, token: GroupToken) -> Self {
        Self {
            shared,
            token,
            woken: AtomicBool::new(false),
        }
    }

    pub(super) fn is_of(&self, token: GroupToken) -> bool {
        self.token == token
    }

    /// The shard looks: what moves from here on wakes it again.
    pub(super) fn seen(&self) {
        self.woken.store(false, Ordering::Release);
    }

    /// Has the shard look.
    pub(super) fn call(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.shared.put(|inbox| inbox.groups.push(self.token));
        }
    }
}

impl Wake for GroupWake {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}
