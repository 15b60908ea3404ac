//! The budget of all rings together, kept over many channels.

use crate::rig::{
    app::{App, chunk},
    many::{self, STREAMS, Stream, number},
    outside::{self, Outside},
    reader::{H2, get},
    soon,
};

/// What each ring is given at first: some 10 KB.
const EVENTS: usize = 40;
const EVENT_BYTES: usize = 120;
/// What the ring of a live channel keeps whatever happens.
const FLOOR_EVENTS: usize = 16;
/// 64 MiB for 10,000 channels.
const BUDGET_PER_CHANNEL: f64 = (64 << 20) as f64 / 10_000.0;

/// What `/channels` says of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    events: usize,
    bytes: usize,
}

struct World {
    side: Outside,
    budget: usize,
    /// By their number.
    streams: Vec<Stream>,
    connections: Vec<H2>,
    _app: App,
}

impl World {
    /// So many channels with a client each.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a size in bytes"
    )]
    async fn new(channels: usize) -> Self {
        outside::need_open_files(channels);
        let budget = (BUDGET_PER_CHANNEL * channels as f64) as usize;
        let app = App::start().await;
        let side = Outside::start(&format!(
            "upstreams: {{ app: {{ address: 'http://127.0.0.1:{}', \
                connections_max: {room}, attempts_max: 100, connect_timeout: 60s }} }}\n\
             routes: [{{ name: feed, path: '/feed/{{n}}', action: fanout, linger: 10m, \
                open_wait: 60s, head_wait: 60s, heartbeat: 5m, \
                ring: {{ events_max: 10000, bytes_max: 1MiB, age_max: 1h }} }}]\n\
             limits: {{ channels_max: {room}, subscribers_max: {room}, connections_max: 2000, \
                ring_bytes_max: {budget} }}\n",
            app.port(),
            room = channels + 10,
        ))
        .await;
        let (streams, connections) = many::open(&side, &app, channels).await;
        Self {
            side,
            budget,
            streams,
            connections,
            _app: app,
        }
    }

    /// Publishes on the first so many channels, and reads it there: never more at once than a ring keeps
    /// whatever happens, so that who is behind for a moment is not too slow for it.
    async fn publish(&mut self, channels: usize, events: usize, bytes: usize) {
        let pad = "x".repeat(bytes);
        let numbers: Vec<usize> = (0..events).collect();
        for numbers in numbers.chunks(FLOOR_EVENTS) {
            let body: String = numbers
                .iter()
                .map(|n| format!("data: {n} {pad}\n\n"))
                .collect();
            let body = chunk(&body);
            for part in self.streams[..channels].chunks_mut(STREAMS) {
                for stream in &mut *part {
                    stream.exchange.send(&body).await;
                }
                for stream in part {
                    let seen = stream.reader().data(numbers.len()).await;
                    for (n, data) in numbers.iter().zip(seen) {
                        assert_eq!(data.split(' ').next(), Some(n.to_string().as_str()));
                    }
                }
            }
        }
    }

    /// The clients of all channels but the first so many leave.
    async fn leave(&mut self, staying: usize) {
        for stream in &mut self.streams[staying..] {
            stream.reader = None;
        }
        let subscribers = "subscribers{route=\"feed\",protocol=\"h2\"}";
        self.side
            .until_metric(subscribers, |count| count == staying)
            .await;
    }

    /// The rings, once they are within the budget.
    async fn kept(&self) -> Vec<Size> {
        let budget = self.budget;
        self.side
            .until_metric("ring_bytes", |bytes| bytes <= budget)
            .await;
        let sizes = self.sizes().await;
        assert!(sizes.iter().map(|size| size.bytes).sum::<usize>() <= budget);
        sizes
    }

    async fn sizes(&self) -> Vec<Size> {
        let count = self.streams.len();
        let mut sizes = vec![None; count];
        for row in self.side.channels(count).await {
            let field = |name: &str| usize::try_from(row[name].as_u64().unwrap()).unwrap();
            sizes[number(row["target"].as_str().unwrap())] = Some(Size {
                events: field("ring_events"),
                bytes: field("ring_bytes"),
            });
        }
        sizes.into_iter().map(Option::unwrap).collect()
    }
}

/// Nobody has given much more than it takes for all to fit into `budget`: entries go as a whole, and
/// what came since the last tick has the room that this left.
#[track_caller]
fn are_fair(sizes: &[Size], budget: usize) {
    let share = budget / sizes.len();
    let least = sizes.iter().map(|size| size.bytes).min().unwrap();
    assert!(least * 10 >= share * 9, "{least} of {share} bytes");
    let fewest = sizes.iter().map(|size| size.events).min().unwrap();
    assert!(fewest >= FLOOR_EVENTS, "{fewest} events");
}

/// Rings without clients go first, then the largest, and live channels keep sixteen events.
async fn is_kept(channels: usize) {
    let (live, large, huge) = (channels / 2, channels / 50, channels * 3 / 100);
    let mut world = World::new(channels).await;
    world.publish(channels, EVENTS, EVENT_BYTES).await;
    let all = world.kept().await;
    are_fair(&all, world.budget);

    world.leave(live).await;
    world.publish(large, 4 * EVENTS, EVENT_BYTES).await;
    let sizes = world.kept().await;
    for n in 0..large {
        assert_eq!(
            sizes[n].events,
            all[n].events + 4 * EVENTS,
            "{n} lost nothing"
        );
    }
    assert_eq!(
        sizes[large..live],
        all[large..live],
        "those with clients are spared"
    );
    let emptied = sizes[live..].iter().filter(|size| size.events == 0).count();
    assert!(
        (1..channels - live).contains(&emptied),
        "as many as it takes, not {emptied}"
    );

    // Little by little: what shards have not taken yet would be spared, at the cost of others.
    for _ in 0..25 {
        world.publish(large, EVENTS, EVENT_BYTES).await;
    }
    let sizes = world.kept().await;
    assert!(
        sizes[live..].iter().all(|size| size.events == 0),
        "these first"
    );
    assert_eq!(sizes[large..live], all[large..live], "then the largest");
    let spared: usize = all[large..live].iter().map(|size| size.bytes).sum();
    are_fair(&sizes[..large], world.budget - spared);

    let refused = "refused_total{reason=\"ring_bytes_max\"}";
    assert_eq!(world.side.metric(refused).await, 0);
    // One by one: who is behind when rings are at their least is too slow for them.
    for _ in 0..FLOOR_EVENTS + 4 {
        world.publish(huge, 1, 20_000).await;
    }
    let least = live * FLOOR_EVENTS;
    let held = async {
        while world
            .sizes()
            .await
            .iter()
            .map(|size| size.events)
            .sum::<usize>()
            > least
        {}
    };
    soon("every ring is at its least", held).await;
    let sizes = world.sizes().await;
    assert!(sizes[..live].iter().all(|size| size.events == FLOOR_EVENTS));
    let newcomer = world.connections[0].ask(&get("/feed/new")).await;
    assert_eq!(newcomer.status, 503);
    assert_eq!(world.side.metric(refused).await, 1);
}

#[tokio::test]
async fn the_budget_is_kept_over_a_thousand_channels() {
    is_kept(1_000).await;
}

#[tokio::test]
#[ignore = "takes 11,000 descriptors; `make bars` runs it"]
async fn the_budget_is_kept_over_ten_thousand_channels() {
    is_kept(10_000).await;
}
