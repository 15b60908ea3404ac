use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::*;
use crate::{
    channel::{
        id::Epoch,
        registry::{Membership, Registry},
        ring::EntryKind,
        shared::ShardWake,
        state::Phase,
        view::Refusal,
    },
    config::{
        model::{
            Action, Backoff, Config, Fanout, OnEnd, Route, UpstreamAddress, UpstreamTls, Watchdog,
        },
        testing,
    },
    decide::{FanOut, testing::fan_out},
    route::key::{Scheme, testing::key},
    upstream::{
        peer::Peers,
        testing::{App, PATIENCE, Step},
    },
};

mod bounds;
mod ends;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
}

/// The app takes a request, begins an event stream with `said`, and goes on with `then`.
fn stream(said: &str, then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let begin = [Step::Request, send(HEAD), send(chunk(said))];
    begin.into_iter().chain(then).collect()
}

/// A registry with readers, and a request for one channel of an app.
struct Rig {
    registry: Registry,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    request: FanOut,
}

impl Rig {
    fn new(port: u16, change: impl FnOnce(&mut Fanout)) -> Self {
        let mut settings = testing::fanout();
        settings.backoff = Backoff {
            min: Duration::ZERO,
            max: Duration::ZERO,
        };
        change(&mut settings);
        let route = testing::route("feed", "/feed", Action::Fanout(Arc::new(settings)));
        let route = Arc::new(Route {
            upstream: testing::upstream(port),
            ..(*route).clone()
        });
        let metrics = Arc::new(Metrics::new());
        let dialer = Arc::new(Dialer::new(Arc::new(Peers::new(metrics.clone()))));
        let readers = Arc::new(Readers::new(dialer, metrics.clone()));
        let config = Arc::new(ArcSwap::from_pointee(testing::config(vec![route.clone()])));
        let registry = Registry::new(readers, metrics.clone(), config.clone(), usize::MAX);
        let key = ChannelKey {
            route: "feed".to_owned(),
            scheme: Scheme::Https,
            host: "shop.example".to_owned(),
            target: "/feed?a=b".to_owned(),
            headers: vec![(http::header::AUTHORIZATION, Bytes::from_static(b"me"))],
        };
        Self {
            registry,
            config,
            metrics,
            request: fan_out(&route, key),
        }
    }

    /// The route gets other settings and, behind the same address, another upstream.
    fn reload_with(&self, upstream: Upstream, change: impl FnOnce(&mut Fanout)) {
        let mut settings = (*self.request.settings).clone();
        change(&mut settings);
        let route = Route {
            upstream: Arc::new(upstream),
            action: Action::Fanout(Arc::new(settings)),
            ..(*self.request.route).clone()
        };
        let config = testing::config(vec![Arc::new(route)]);
        self.config.store(Arc::new(config));
        self.registry.reload(usize::MAX, clock::now());
    }

    fn reload(&self, change: impl FnOnce(&mut Fanout)) {
        self.reload_with((*self.request.route.upstream).clone(), change);
    }

    /// A channel with a member, and a reader of it that is the test's own.
    fn by_hand(&self) -> (Reader, Arc<Peers>) {
        let channel = Arc::new(Channel::new(
            self.request.key.clone(),
            Epoch::new(1),
            self.request.route.clone(),
            self.request.settings.clone(),
            self.metrics.clone(),
            clock::now(),
        ));
        channel.join(None, clock::now()).unwrap();
        let peers = Arc::new(Peers::new(self.metrics.clone()));
        let reader = Reader {
            dialer: Arc::new(Dialer::new(peers.clone())),
            retry: Retry::new(channel.settings().backoff),
            turn_at: None,
            reading: false,
            channel,
        };
        (reader, peers)
    }

    fn join(&self) -> Membership {
        self.registry.join(&self.request, clock::now()).unwrap()
    }

    fn cuts(&self, reason: CutReason) -> u64 {
        self.metrics.route("feed").upstream_cuts.get(reason)
    }

    fn connects(&self, outcome: ConnectOutcome) -> u64 {
        self.metrics.route("feed").upstream_connects.get(outcome)
    }

    fn connections(&self) -> i64 {
        self.metrics.route("feed").upstream_connections.get()
    }
}

/// What is in the ring, one word an entry: the data of an event, `<gap>`, `<end>`.
fn ring(channel: &Channel) -> String {
    let mut words = Vec::new();
    channel.visit_after(0, |entry| {
        words.push(match &entry.kind {
            EntryKind::Event { frame, .. } => {
                let payload = String::from_utf8(frame.payload().to_vec()).unwrap();
                let data = payload
                    .lines()
                    .filter_map(|line| line.strip_prefix("data: "));
                data.collect::<Vec<_>>().join("|")
            }
            EntryKind::Gap { .. } => "<gap>".to_owned(),
            EntryKind::End => "<end>".to_owned(),
        });
        true
    });
    words.join(" ")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never came: {what}"
    );
}

async fn until_ring(channel: &Channel, expected: &str) {
    let waiting = async {
        while ring(channel) != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
    assert!(came, "wanted {expected}, got {}", ring(channel));
}

async fn until_over(channel: &Channel, outcome: Outcome) {
    until("the channel's end", || {
        channel.view().phase == Phase::Over(outcome)
    })
    .await;
}

#[tokio::test]
async fn many_joiners_share_one_connection() {
    let mut app = App::start(vec![stream(
        "id: 1\ndata: a\n\nda",
        [
            Step::Drip(chunk("ta: b\n\n:x\ndata: c\r\n\r").into_bytes()),
            Step::Wait,
        ],
    )])
    .await;
    let rig = Rig::new(app.address.port(), |_| {});
    let members: Vec<Membership> = (0..100).map(|_| rig.join()).collect();
    assert_eq!(members.iter().filter(|member| member.opener).count(), 1);
    until_ring(members[0].channel(), "a b c").await;
    assert_eq!(
        (rig.connections(), rig.connects(ConnectOutcome::Opened)),
        (1, 1)
    );
    let request = app.request().await;
    assert!(
        request.starts_with("GET /feed?a=b HTTP/1.1\r\nHost: shop.example\r\n"),
        "{request}"
    );
    let own = "authorization: me\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example\r\n";
    assert!(request.ends_with(&format!("{own}\r\n")), "{request}");
}

#[tokio::test]
async fn a_refusal_goes_to_those_who_wait() {
    for (answer, status) in [
        (
            "HTTP/1.1 401 No\r\nSet-Cookie: s=1\r\nWWW-Authenticate: x\r\nContent-Length: 4\r\n\r\nbody",
            401,
        ),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbody",
            503,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nbody",
            200,
        ),
    ] {
        let app = App::answering(answer.as_bytes()).await;
        let rig = Rig::new(app.address.port(), |_| {});
        let member = rig.join();
        until_over(member.channel(), Outcome::Refused).await;
        let Some(Refusal::Whole(refusal)) = member.channel().view().refusal else {
            panic!("kept for all who wait");
        };
        assert_eq!(
            (refusal.status.as_u16(), &refusal.body[..]),
            (status, &b"body"[..])
        );
        assert!(
            refusal
                .headers
                .iter()
                .all(|(name, _)| name != http::header::SET_COOKIE)
        );
    }
}

#[tokio::test]
async fn the_apps_reconnect_time_is_kept_for_the_clients() {
    let body = "retry: 100\nretry: 7000\ndata: a\n\n";
    let app = App::start(vec![stream(body, [Step::Wait])]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a").await;
    let placement = member.channel().place(None, 0, clock::now());
    assert_eq!(placement.app_retry, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_burst_is_read_in_order() {
    let events: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let body: String = events
        .iter()
        .map(|number| chunk(&format!("data: {number}\n\n")))
        .collect();
    let app = App::start(vec![vec![
        Step::Request,
        send(HEAD),
        send(body),
        Step::Wait,
    ]])
    .await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.ring.events_max = 10_000
    });
    let member = rig.join();
    until_ring(member.channel(), &events.join(" ")).await;
}

#[test]
fn the_host_is_the_clients_or_the_configured_one_and_never_missing() {
    let upstream = testing::upstream(3005);
    let rig_key = |host: &str| ChannelKey {
        host: host.to_owned(),
        ..key("/")
    };
    assert_eq!(
        request(&rig_key("a.example:81"), None, &upstream).host,
        "a.example:81"
    );
    let nameless = request(&rig_key(""), None, &upstream);
    assert_eq!(nameless.host, "127.0.0.1:3005");
    let names: Vec<&str> = nameless
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["x-forwarded-proto"]);
    let v6 = Upstream {
        address: UpstreamAddress::Tcp {
            host: "::1".to_owned(),
            port: 80,
        },
        ..(*upstream).clone()
    };
    assert_eq!(request(&rig_key(""), None, &v6).host, "[::1]:80");
    let fixed = Upstream {
        host: UpstreamHost::Fixed("app".to_owned()),
        ..(*upstream).clone()
    };
    assert_eq!(request(&rig_key("a.example"), None, &fixed).host, "app");
}
