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
    decide::{self, FanOut},
    route::key::{Scheme, testing::key},
    upstream::{
        peer::Peers,
        testing::{App, PATIENCE, Step},
    },
};

mod bounds;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
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
        let settings = Arc::new(settings);
        let route = testing::route("feed", "/feed", Action::Fanout(settings.clone()));
        let route = Route {
            upstream: testing::upstream(port),
            ..(*route).clone()
        };
        let metrics = Arc::new(Metrics::new());
        let dialer = Arc::new(Dialer::new(Arc::new(Peers::new(metrics.clone()))));
        let readers = Arc::new(Readers::new(dialer, metrics.clone()));
        let route = Arc::new(route);
        let config = Arc::new(ArcSwap::from_pointee(testing::config(vec![route.clone()])));
        let registry = Registry::new(readers, metrics.clone(), config.clone(), usize::MAX);
        let key = ChannelKey {
            route: "feed".to_owned(),
            scheme: Scheme::Https,
            host: "shop.example".to_owned(),
            target: "/feed?a=b".to_owned(),
            headers: vec![(http::header::AUTHORIZATION, Bytes::from_static(b"me"))],
        };
        let request = FanOut {
            route,
            settings,
            key,
            last_event_id: None,
            reader: decide::Reader::Other,
            origin: None,
            client: None,
        };
        Self {
            registry,
            config,
            metrics,
            request,
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
    let mut app = App::start(vec![vec![
        Step::Request,
        send(HEAD),
        send(chunk("id: 1\ndata: a\n\nda")),
        Step::Drip(chunk("ta: b\n\n:x\ndata: c\r\n\r").into_bytes()),
        Step::Wait,
    ]])
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
async fn a_cut_is_a_gap_and_the_stream_goes_on() {
    let truncated = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: a\n\ndata: torn\n")),
    ];
    let reset = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: b\n\n")),
        Step::Wait,
        Step::Reset,
    ];
    let live = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: c\n\n")),
        Step::Wait,
    ];
    let mut app = App::start(vec![truncated, reset, live]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b").await;
    app.go_on();
    until_ring(member.channel(), "a <gap> b <gap> c").await;
    assert_eq!(
        (rig.cuts(CutReason::Truncated), rig.cuts(CutReason::Reset)),
        (1, 1)
    );
    assert_eq!(rig.connections(), 1);
    let first = app.request().await;
    assert_eq!(app.request().await, first);
}

#[tokio::test]
async fn the_apps_end_ends_the_stream_and_the_next_joiner_opens_anew() {
    let ended = |data: &str| {
        vec![
            Step::Request,
            send(HEAD),
            send(chunk(data)),
            send(LAST_CHUNK),
        ]
    };
    let app = App::start(vec![ended("data: a\n\n"), ended("data: b\n\n")]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let first = rig.join();
    until_ring(first.channel(), "a <end>").await;
    assert_eq!(first.channel().view().phase, Phase::Idle);
    assert_eq!(rig.connections(), 0);
    drop(first);
    let second = rig.join();
    assert!(second.opener);
    until_ring(second.channel(), "a <end> <gap> b <end>").await;
}

#[tokio::test]
async fn an_endless_feed_is_opened_again_after_its_end() {
    let ended = |data: &str| {
        vec![
            Step::Request,
            send(HEAD),
            send(chunk(data)),
            send(LAST_CHUNK),
        ]
    };
    let live = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![ended("data: a\n\n"), ended("data: b\n\n"), live]).await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.on_end = OnEnd::Reconnect
    });
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b <gap>").await;
    assert_eq!(member.channel().view().phase, Phase::Live);
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
async fn an_app_that_is_busy_on_reconnect_is_asked_again() {
    let cut = vec![Step::Request, send(HEAD), send(chunk("data: a\n\n"))];
    let busy = |status: &str| vec![Step::Request, send(format!("HTTP/1.1 {status}\r\n\r\n"))];
    let live = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: b\n\n")),
        Step::Wait,
    ];
    let answers = [
        "503 Busy",
        "429 Slow down",
        "408 Timeout",
        "425 Early",
        "500 Oh",
    ];
    let mut scripts = vec![cut];
    scripts.extend(answers.map(busy));
    scripts.extend([Vec::new(), live]);
    let app = App::start(scripts).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b").await;
    assert_eq!(rig.connects(ConnectOutcome::Retryable), 5);
    assert_eq!(rig.connects(ConnectOutcome::NoHead), 1);
}

#[tokio::test]
async fn an_app_that_is_busy_on_reconnect_says_when_to_ask_again() {
    let answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n";
    let app = App::answering(answer).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let (mut reader, _) = rig.by_hand();
    let channel = reader.channel.clone();
    assert!(channel.opened(&http::HeaderMap::new(), clock::now()));
    assert_eq!(channel.cut(clock::now()), Next::Retry);
    assert_eq!(reader.attempt().await.err(), Some(Next::Retry));
    assert_eq!(reader.retry.next_delay(0), Duration::from_secs(7));
}

#[tokio::test]
async fn an_app_that_refuses_on_reconnect_ends_the_channel() {
    for answer in [
        "204 No Content",
        "302 Found\r\nLocation: /login",
        "404 Not Found",
        "401 Unauthorized",
        "200 OK\r\nContent-Type: text/html",
        "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip",
    ] {
        let cut = vec![Step::Request, send(HEAD), send(chunk("data: a\n\n"))];
        let refusing = vec![Step::Request, send(format!("HTTP/1.1 {answer}\r\n\r\n"))];
        let app = App::start(vec![cut, refusing]).await;
        let rig = Rig::new(app.address.port(), |_| {});
        let member = rig.join();
        until_over(member.channel(), Outcome::Refused).await;
        assert_eq!(
            ring(member.channel()),
            "",
            "dropped with the channel: {answer}"
        );
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_stream_that_nobody_wants() {
    let cut = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: a\n\n")),
        Step::Wait,
    ];
    let never = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![cut, never]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    let channel = member.channel().clone();
    until_ring(&channel, "a").await;
    drop(member);
    app.go_on();
    until("the end of the reader", || {
        channel.view().phase == Phase::Idle
    })
    .await;
    assert_eq!(rig.connects(ConnectOutcome::Opened), 1);
}

#[tokio::test]
async fn a_channel_that_is_over_lets_go_of_its_connection() {
    let script = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: a\n\n")),
        Step::Request,
    ];
    let next = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![script, next]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a").await;
    member.channel().finish(Outcome::Retired);
    until("the connection's end", || rig.connections() == 0).await;
    assert_eq!(rig.cuts(CutReason::Closed), 1);
    // The app serves one after the other: the next is served, so the first was closed.
    let next = rig.join();
    assert!(next.opener);
    until("the next stream", || {
        next.channel().view().phase == Phase::Live
    })
    .await;
}

#[tokio::test]
async fn the_apps_reconnect_time_is_kept_for_the_clients() {
    let body = chunk("retry: 100\nretry: 7000\ndata: a\n\n");
    let app = App::start(vec![vec![
        Step::Request,
        send(HEAD),
        send(body),
        Step::Wait,
    ]])
    .await;
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

/// A shard that panics once.
struct Panicking(AtomicBool);

impl ShardWake for Panicking {
    fn channel_changed(&self) {
        assert!(
            self.0.swap(true, Ordering::Relaxed),
            "a panic of this test's own"
        );
    }

    fn swept(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_panic_ends_the_channel_and_nothing_else() {
    let first = vec![
        Step::Request,
        send(HEAD),
        Step::Wait,
        send(chunk("data: a\n\n")),
    ];
    let second = vec![
        Step::Request,
        send(HEAD),
        send(chunk("data: b\n\n")),
        Step::Wait,
    ];
    let app = App::start(vec![first, second]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until("the stream", || {
        member.channel().view().phase == Phase::Live
    })
    .await;
    member
        .channel()
        .attach(0, Arc::new(Panicking(AtomicBool::new(false))));
    app.go_on();
    until_over(member.channel(), Outcome::Broken).await;
    assert_eq!(rig.metrics.panics.get(PanicPlace::Upstream), 1);
    assert_eq!(rig.cuts(CutReason::Internal), 1);
    let next = rig.join();
    until_ring(next.channel(), "b").await;
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
