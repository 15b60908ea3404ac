//! Joins, leaves, lingers, reloads, refusals, cuts and ends in any order, simulated by seeds.
//! Whatever happens: a channel that needs a reader has exactly one, an app has one connection for a
//! key, no channel goes by an old configuration, and nothing is left over.
//!
//! A failure prints its seed; `SIDESTREAM_SEED=<seed>` plays it again.

use futures_util::FutureExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::OwnedMutexGuard;

use super::*;
use crate::{
    answer::Answer, channel::state::Next, channel::view::Refusal, config::model::OnEnd,
    sse::event::Event,
};

const RUNS: u64 = 200;
const STEPS: usize = 400;
const TARGETS: [&str; 3] = ["/a", "/b", "/c"];

/// What a reader has come to.
enum Reader {
    /// It waits until it may connect.
    Waiting,
    /// It may connect, and tries to.
    Trying(OwnedMutexGuard<()>),
    /// Its stream is open.
    Live(OwnedMutexGuard<()>),
}

struct World {
    random: StdRng,
    rig: Rig,
    /// The routes to choose from; the last configuration may have any of them, or none.
    routes: Vec<Arc<Route>>,
    readers: Vec<(Arc<Channel>, Reader)>,
    members: Vec<Membership>,
    /// The registry was told of the configuration.
    told: bool,
    tally: Tally,
}

/// What was simulated: without much of each, nothing is shown.
#[derive(Debug, Default)]
struct Tally {
    opened: usize,
    replaced: usize,
    stale: usize,
    lingered: usize,
    refused: usize,
    completed: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let plain = route(|settings| settings.linger = Duration::from_secs(5));
        let moved = behind(&plain, |upstream| upstream.host = fixed());
        let limits = route(|settings| {
            settings.linger = Duration::from_secs(1);
            settings.ring.events_max = 3;
        });
        let answer = route(|settings| settings.on_end = OnEnd::Final);
        Self {
            random: StdRng::seed_from_u64(seed),
            rig: Rig::new(plain.clone()),
            routes: vec![plain, limits, moved, answer],
            readers: Vec::new(),
            members: Vec::new(),
            told: true,
            tally: Tally::default(),
        }
    }

    fn any_route(&mut self) -> Arc<Route> {
        let at = self.random.random_range(0..self.routes.len());
        self.routes[at].clone()
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.join(),
            30..50 => self.leave(),
            50..80 => self.read(),
            80..90 => {
                let passed = Duration::from_millis(self.random.random_range(1..3_000));
                tokio::time::advance(passed).await;
                self.rig.registry.tick(clock::now());
            }
            90..94 => self.store(),
            _ => {
                self.rig.reload();
                self.told = true;
            }
        }
    }

    /// By the route in force, or by one that was.
    fn join(&mut self) {
        let in_force = self.rig.config.load().routes.first().cloned();
        let route = match in_force {
            Some(route) if self.random.random_ratio(3, 4) => route,
            _ => self.any_route(),
        };
        let target = TARGETS[self.random.random_range(0..TARGETS.len())];
        let request = request(&route, target);
        match self.rig.join(&request) {
            Ok(member) => self.members.push(member),
            Err(reason) => {
                assert_eq!(reason, RefuseReason::Reloaded);
                self.tally.stale += 1;
            }
        }
        for channel in self.rig.wanted.0.lock().drain(..) {
            let before = |(other, _): &&(Arc<Channel>, Reader)| other.key == channel.key;
            self.tally.replaced += self.readers.iter().filter(before).count();
            self.readers.push((channel, Reader::Waiting));
        }
    }

    fn leave(&mut self) {
        if !self.members.is_empty() {
            let at = self.random.random_range(0..self.members.len());
            drop(self.members.swap_remove(at));
        }
    }

    fn store(&mut self) {
        let routes = match self.random.random_range(0..5) {
            0 => Vec::new(),
            _ => vec![self.any_route()],
        };
        self.rig.store(routes);
        self.told = false;
    }

    /// One reader gets on with its work.
    fn read(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.readers.len());
        let (channel, reader) = self.readers.swap_remove(at);
        if channel.is_over() {
            // It lets go of its connection: now, and not when the channel was over.
            let lingered = channel.view().phase == Phase::Over(Outcome::Lingered);
            self.tally.lingered += usize::from(lingered);
            return;
        }
        let now = clock::now();
        let next = match reader {
            Reader::Waiting => Some(match channel.turn().now_or_never() {
                Some(turn) => Reader::Trying(turn),
                None => Reader::Waiting,
            }),
            Reader::Trying(turn) => match self.random.random_range(0..6) {
                0 => {
                    drop(turn);
                    let answer = Answer::text(http::StatusCode::FORBIDDEN, "no");
                    channel.refused(Refusal::Whole(Arc::new(answer)));
                    self.tally.refused += 1;
                    None
                }
                1 => (channel.failed(Outcome::Unreachable, now) == Next::Retry)
                    .then_some(Reader::Trying(turn)),
                _ => {
                    self.tally.opened += 1;
                    let wanted = channel.opened(&http::HeaderMap::new(), now);
                    wanted.then_some(Reader::Live(turn))
                }
            },
            Reader::Live(turn) => match self.random.random_range(0..6) {
                0 => (channel.cut(now) == Next::Retry).then_some(Reader::Trying(turn)),
                1 => {
                    assert_eq!(channel.ended(now), Next::Stop);
                    let is_whole = channel.view().phase == Phase::Complete;
                    self.tally.completed += usize::from(is_whole);
                    None
                }
                _ => {
                    channel.publish(&[Event::default()], now);
                    Some(Reader::Live(turn))
                }
            },
        };
        self.readers.extend(next.map(|reader| (channel, reader)));
    }

    fn check(&self) {
        let channels = self.rig.registry.list(usize::MAX);
        for channel in &channels {
            let readers = self
                .readers
                .iter()
                .filter(|(of, _)| Arc::ptr_eq(of, channel));
            match (channel.view().phase, readers.count()) {
                (Phase::Opening | Phase::Live, 1)
                | (Phase::Idle | Phase::Complete, 0)
                | (Phase::Over(_), 0 | 1) => {}
                (phase, readers) => panic!("{readers} readers while {phase:?}"),
            }
            if self.told && !channel.is_over() {
                let config = self.rig.config.load();
                assert_eq!(config.routes.first(), Some(&channel.route()), "in force");
            }
        }
        for target in TARGETS {
            let connected = |(channel, reader): &&(Arc<Channel>, Reader)| {
                channel.key.target == target && !matches!(reader, Reader::Waiting)
            };
            assert!(
                self.readers.iter().filter(connected).count() <= 1,
                "{target}"
            );
        }
        for member in &self.members {
            let channel = member.channel();
            assert!(
                channel.is_over() || channels.iter().any(|known| Arc::ptr_eq(known, channel)),
                "a member's channel is known"
            );
        }
    }

    /// Everybody leaves, and time passes.
    async fn finish(&mut self) {
        self.members.clear();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(6)).await;
            self.rig.registry.tick(clock::now());
            while self.readers.iter().any(|(channel, _)| channel.is_over()) {
                self.read();
            }
        }
        assert!(self.rig.registry.is_empty(), "all channels are forgotten");
        assert!(self.readers.is_empty(), "all readers have ended");
        assert_eq!(self.rig.metrics.ring_bytes.get(), 0);
        assert_eq!(self.rig.metrics.route("feed").channels.get(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn no_channel_is_left_without_its_reader_and_no_key_has_two_connections() {
    let only = std::env::var("SIDESTREAM_SEED").ok();
    let seeds: Vec<u64> = match &only {
        Some(seed) => vec![seed.parse().unwrap()],
        None => (0..RUNS).collect(),
    };
    let mut total = Tally::default();
    for seed in seeds {
        println!("SIDESTREAM_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
            world.check();
        }
        world.finish().await;
        let Tally {
            opened,
            replaced,
            stale,
            lingered,
            refused,
            completed,
        } = world.tally;
        total.opened += opened;
        total.replaced += replaced;
        total.stale += stale;
        total.lingered += lingered;
        total.refused += refused;
        total.completed += completed;
    }
    if only.is_none() {
        let Tally {
            opened,
            replaced,
            stale,
            lingered,
            refused,
            completed,
        } = total;
        let least = [opened, replaced, stale, lingered, refused, completed]
            .into_iter()
            .min();
        assert!(least > Some(100), "{total:?}");
    }
}
