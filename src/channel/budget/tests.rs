use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::{
    channel::{
        registry::{Membership, Opener, Registry},
        state::Outcome,
    },
    clock::Millis,
    config::{
        model::{Action, Fanout, Ids, KeyBy, SlowPolicy},
        testing::{config, fanout, route},
    },
    decide::{FanOut, testing::fan_out},
    error::RefuseReason,
    route::key::testing::key,
    sse::event::Event,
};

const CHANNELS: usize = 1_000;
const EVENTS: usize = 20;

/// The app: it answers whenever it is asked.
struct App;

impl Opener for App {
    fn open(&self, channel: Arc<Channel>) {
        assert!(channel.opened(&HeaderMap::new(), Millis(0)));
    }

    fn prove(&self, channel: Arc<Channel>) {
        channel.proved(Millis(0));
    }
}

struct World {
    registry: Registry,
    budget: Budget,
    metrics: Arc<Metrics>,
    members: Vec<Membership>,
}

fn settings() -> Arc<Fanout> {
    Arc::new(Fanout {
        // Ours grow with their numbers; here all events are to cost the same.
        ids: Ids::Unique,
        ..fanout()
    })
}

fn registry(metrics: Arc<Metrics>, ring_bytes_max: usize) -> Registry {
    let routes = vec![route("r", "/", Action::Fanout(settings()))];
    let config = Arc::new(ArcSwap::from_pointee(config(routes)));
    Registry::new(Arc::new(App), metrics, config, ring_bytes_max)
}

fn request(number: usize) -> FanOut {
    let route = route("r", "/", Action::Fanout(settings()));
    fan_out(&route, key(&format!("/{number}")))
}

fn publish(channel: &Channel, count: usize) {
    let data = Bytes::from(vec![b'x'; 400]);
    let event = Event {
        data,
        ..Event::default()
    };
    channel.publish(&vec![event; count], Millis(0));
}

impl World {
    /// 1,000 channels of 20 events, about 10 KB each.
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let registry = registry(metrics.clone(), usize::MAX);
        let join = |number| registry.join(&request(number), Millis(0)).unwrap();
        let members: Vec<_> = (0..CHANNELS).map(join).collect();
        for member in &members {
            publish(member.channel(), EVENTS);
        }
        Self {
            registry,
            budget: Budget::new(metrics.clone(), usize::MAX),
            metrics,
            members,
        }
    }

    fn held(&self) -> usize {
        usize::try_from(self.metrics.ring_bytes.get()).unwrap()
    }

    /// Keeps the budget at `bytes_max`.
    fn keep(&self, bytes_max: usize) {
        self.budget.set_max(bytes_max);
        self.budget.keep(|| self.registry.all());
    }

    /// How many channels hold how many events.
    fn sizes(&self) -> Vec<(usize, usize)> {
        let mut sizes = std::collections::BTreeMap::new();
        for channel in self.registry.list(usize::MAX) {
            *sizes.entry(channel.row().ring_events).or_insert(0) += 1;
        }
        sizes.into_iter().collect()
    }
}

#[test]
fn rings_without_subscribers_go_first_then_the_largest_and_the_live_keep_sixteen() {
    let mut world = World::new();
    let each = world.held() / CHANNELS / EVENTS;
    publish(world.members[0].channel(), 180);
    world.members.truncate(900);
    let all = world.held();
    assert_eq!(world.sizes(), [(20, 999), (200, 1)]);

    world.keep(all);
    assert_eq!(world.sizes(), [(20, 999), (200, 1)], "it fits");

    world.keep(all - 50 * EVENTS * each);
    assert_eq!(
        world.sizes(),
        [(0, 50), (20, 949), (200, 1)],
        "as many of the unused as it takes"
    );

    world.keep(all - (100 * EVENTS + 100) * each);
    assert_eq!(
        world.sizes(),
        [(0, 100), (20, 899), (100, 1)],
        "then the largest"
    );

    world.keep(900 * 18 * each);
    assert_eq!(world.sizes(), [(0, 100), (18, 900)], "then all alike");
    assert!(!world.budget.is_exhausted());

    world.keep(900 * 16 * each);
    assert_eq!(world.sizes(), [(0, 100), (16, 900)]);
    assert!(!world.budget.is_exhausted());

    world.keep(1);
    assert_eq!(world.sizes(), [(0, 100), (16, 900)], "no less for the live");
    assert!(world.budget.is_exhausted());

    world.members.truncate(10);
    world.keep(900 * 16 * each / 2);
    assert_eq!(world.held(), 450 * 16 * each);
    assert!(!world.budget.is_exhausted());
}

#[test]
fn no_channel_is_made_while_the_budget_is_exhausted() {
    let metrics = Arc::new(Metrics::new());
    let registry = registry(metrics, 4_000);
    let member = registry.join(&request(0), Millis(0)).unwrap();
    publish(member.channel(), 16);
    registry.tick(Millis(1));
    let refused = registry.join(&request(1), Millis(2)).err();
    assert_eq!(refused, Some(RefuseReason::RingBytesMax));
    assert!(registry.join(&request(0), Millis(2)).is_ok(), "it is there");
    // It is over, and this member still reads it.
    member.channel().finish(Outcome::Retired);
    registry.tick(Millis(3));
    assert!(registry.join(&request(1), Millis(4)).is_ok());
}

#[test]
fn rings_of_channels_that_are_over_go_before_all_others() {
    let mut world = World::new();
    let each = world.held() / CHANNELS / EVENTS;
    for member in &world.members[..100] {
        member.channel().finish(Outcome::Retired);
    }
    world.registry.tick(Millis(1));
    // Nobody reads the last hundred, but somebody may come back to them.
    world.members.truncate(900);
    assert_eq!(world.registry.len(), 900);
    assert_eq!(
        world.held(),
        CHANNELS * EVENTS * each,
        "they are still read"
    );

    world.keep(900 * EVENTS * each);
    assert_eq!(world.sizes(), [(20, 900)], "none of those that live");
    assert_eq!(world.held(), 900 * EVENTS * each);
    assert!(!world.budget.is_exhausted());

    world.keep(800 * EVENTS * each);
    assert_eq!(world.sizes(), [(0, 100), (20, 800)], "then the unused");
}

#[test]
fn what_is_kept_beside_a_ring_at_its_least_can_go() {
    let mut world = World::new();
    world.members.truncate(1);
    let channel = world.members[0].channel();
    let (route, mut settings) = (channel.route(), (*channel.settings()).clone());
    settings.slow.policy = SlowPolicy::Conflate(Arc::new(KeyBy::Event));
    settings.ring.events_max = FLOOR_EVENTS;
    channel.reconfigure(route, Arc::new(settings), Millis(0));
    for n in 0..2 * FLOOR_EVENTS {
        let event = Event {
            name: Bytes::from(n.to_string()),
            ..Event::default()
        };
        channel.publish(&[event], Millis(0));
    }
    let before = channel.row();
    world.keep(1);
    let after = channel.row();
    assert_eq!(
        (before.ring_events, after.ring_events),
        (FLOOR_EVENTS, FLOOR_EVENTS)
    );
    assert!(
        after.ring_bytes < before.ring_bytes * 3 / 4,
        "{before:?} {after:?}"
    );
}

#[test]
fn what_shards_have_not_taken_is_spared() {
    struct Behind;
    impl crate::channel::shared::ShardWake for Behind {
        fn channel_changed(&self) {}
        fn swept(&self) -> u64 {
            5
        }
    }
    let mut world = World::new();
    world.members.truncate(1);
    let channel = world.members[0].channel();
    channel.attach(0, Arc::new(Behind));
    publish(channel, 80);
    world.keep(1);
    assert_eq!(channel.row().ring_events, 95, "the first five are swept");
}

#[test]
fn the_largest_shrink_to_one_size() {
    let check = |sizes: &[usize], excess, expected| {
        assert_eq!(level(sizes.iter().copied(), excess), expected, "{sizes:?}");
    };
    check(&[100, 50, 10], 50, 50);
    check(&[100, 50, 10], 70, 40);
    check(&[100, 100, 100], 30, 90);
    check(&[100, 50, 10], 160, 0);
    check(&[100, 50, 10], 1_000, 0);
    check(&[], 1, 0);
}
