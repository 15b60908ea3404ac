use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    channel::state::Phase,
    config::{
        model::{RingLimits, Share, Upstream, UpstreamAddress},
        testing,
    },
    decide::testing::fan_out,
    route::key::testing::key,
};

mod signs;
mod simulation;

/// Instead of readers and provers: keeps the channels that want one, and those that want the other.
#[derive(Default)]
struct Wanted(Mutex<Vec<Arc<Channel>>>, Mutex<Vec<Arc<Channel>>>);

impl Opener for Wanted {
    fn open(&self, channel: Arc<Channel>) {
        self.0.lock().push(channel);
    }

    fn prove(&self, channel: Arc<Channel>) {
        self.1.lock().push(channel);
    }
}

/// A registry and the configuration that it goes by.
struct Rig {
    registry: Registry,
    config: Arc<ArcSwap<Config>>,
    wanted: Arc<Wanted>,
    metrics: Arc<Metrics>,
}

impl Rig {
    fn new(route: Arc<Route>) -> Self {
        let config = Arc::new(ArcSwap::from_pointee(testing::config(vec![route])));
        let (wanted, metrics) = (Arc::new(Wanted::default()), Arc::new(Metrics::new()));
        let registry = Registry::new(wanted.clone(), metrics.clone(), config.clone(), usize::MAX);
        Self {
            registry,
            config,
            wanted,
            metrics,
        }
    }

    /// The configuration changes, but the registry was not told yet.
    fn store(&self, routes: Vec<Arc<Route>>) {
        self.config.store(Arc::new(testing::config(routes)));
    }

    fn reload(&self) {
        self.registry.reload(usize::MAX, clock::now());
    }

    fn join(&self, request: &FanOut) -> Result<Membership, RefuseReason> {
        self.registry.join(request, clock::now())
    }
}

fn route(change: impl FnOnce(&mut crate::config::model::Fanout)) -> Arc<Route> {
    let mut settings = testing::fanout();
    change(&mut settings);
    testing::route("feed", "/feed", Action::Fanout(Arc::new(settings)))
}

fn behind(route: &Route, change: impl FnOnce(&mut Upstream)) -> Arc<Route> {
    let mut upstream = (*route.upstream).clone();
    change(&mut upstream);
    Arc::new(Route {
        upstream: Arc::new(upstream),
        ..route.clone()
    })
}

/// A request that was decided by `route`.
fn request(route: &Arc<Route>, target: &str) -> FanOut {
    let key = ChannelKey {
        route: route.name.clone(),
        headers: vec![(http::header::AUTHORIZATION, Bytes::from_static(b"me"))],
        ..key(target)
    };
    fan_out(route, key)
}

fn roomy(settings: &mut crate::config::model::Fanout) {
    settings.ring = RingLimits {
        events_max: 7,
        ..settings.ring
    };
}

/// What it is, the routes after it, and how channels end.
type Change = (&'static str, Vec<Arc<Route>>, Option<Outcome>);

/// Changes of a route, and how its channels end; `None`: they live on.
fn changes() -> Vec<Change> {
    let old = route(|_| {});
    let moved = |upstream: &mut Upstream| {
        upstream.address = UpstreamAddress::Unix("/run/app.sock".into());
    };
    let patient = |upstream: &mut Upstream| {
        upstream.read_timeout = Duration::from_secs(1);
        upstream.name = "renamed".to_owned();
    };
    let proxy = testing::route("feed", "/feed", Action::Proxy);
    vec![
        ("nothing", vec![route(|_| {})], None),
        ("limits", vec![route(roomy)], None),
        ("time limits", vec![behind(&old, patient)], None),
        (
            "another app",
            vec![behind(&old, moved)],
            Some(Outcome::Retired),
        ),
        (
            "sharing",
            vec![route(|s| s.share = Share::Public)],
            Some(Outcome::Revoked),
        ),
        (
            "identity",
            vec![route(|s| s.identity.headers.clear())],
            Some(Outcome::Revoked),
        ),
        ("no fan-out", vec![proxy], Some(Outcome::Retired)),
        ("removed", Vec::new(), Some(Outcome::Retired)),
    ]
}

/// A request that was decided before a reload gets what it would have got, had it joined before:
/// never a channel of its own by the old configuration.
#[test]
fn a_join_that_comes_after_the_reload_of_its_route_makes_no_channel_by_the_old_one() {
    for (name, routes, ends) in changes() {
        for told in [false, true] {
            let old = route(|_| {});
            let rig = Rig::new(old.clone());
            let late = request(&old, "/late");
            rig.store(routes.clone());
            if told {
                rig.reload();
            }
            let joined = rig.join(&late);
            if !told {
                rig.reload();
            }
            match joined {
                Ok(member) if ends.is_none() => {
                    assert_eq!(*member.channel().route(), *routes[0], "{name}");
                    assert!(!member.channel().is_over(), "{name}");
                }
                Err(RefuseReason::Reloaded) if ends.is_some() => {
                    assert!(rig.registry.is_empty(), "{name}");
                    assert!(rig.wanted.0.lock().is_empty(), "{name}");
                }
                other => panic!("{name}: {:?}", other.map(|_| ())),
            }
        }
    }
}

#[test]
fn channels_live_on_by_their_new_route_or_end() {
    for (name, routes, ends) in changes() {
        let old = route(|_| {});
        let rig = Rig::new(old.clone());
        let member = rig.join(&request(&old, "/early")).unwrap();
        rig.store(routes.clone());
        rig.reload();
        let channel = member.channel();
        let Some(outcome) = ends else {
            assert!(!channel.is_over(), "{name}");
            assert_eq!(*channel.route(), *routes[0], "{name}");
            assert_eq!(rig.registry.list(9).len(), 1, "{name}");
            continue;
        };
        assert_eq!(channel.view().phase, Phase::Over(outcome), "{name}");
        rig.registry.tick(clock::now());
        assert!(rig.registry.is_empty(), "{name}");
    }
}

/// One that is made by the new configuration before the registry was told of it stays.
#[test]
fn a_join_that_comes_before_the_reload_is_not_touched_by_it() {
    let rig = Rig::new(route(|_| {}));
    let new = route(roomy);
    rig.store(vec![new.clone()]);
    let member = rig.join(&request(&new, "/a")).unwrap();
    rig.reload();
    assert!(!member.channel().is_over());
    assert_eq!(member.channel().settings().ring.events_max, 7);
}

#[test]
fn response_headers_of_a_reload_hold_for_the_head_that_is_there() {
    let old = route(|_| {});
    let rig = Rig::new(old.clone());
    let member = rig.join(&request(&old, "/a")).unwrap();
    let mut app = http::HeaderMap::new();
    app.insert("x-feed", http::HeaderValue::from_static("7"));
    assert!(member.channel().opened(&app, clock::now()));
    let has = || {
        let head = member.channel().view().joiners_head.unwrap();
        head.headers.iter().any(|(name, _)| name == "x-feed")
    };
    assert!(!has());
    rig.store(vec![route(|settings| {
        settings.response_headers = vec![http::HeaderName::from_static("x-feed")];
    })]);
    rig.reload();
    assert!(has());
}

/// The app never has two connections for one key, not even for the time that a reader takes to let
/// go.
#[tokio::test]
async fn a_channel_in_the_place_of_another_waits_for_its_reader() {
    let old = route(|_| {});
    let rig = Rig::new(old.clone());
    let first = rig.join(&request(&old, "/a")).unwrap();
    let held = first.channel().turn().await;
    let moved = behind(&old, |upstream| upstream.host = fixed());
    rig.store(vec![moved.clone()]);
    rig.reload();
    rig.registry.tick(clock::now());
    assert_eq!(rig.registry.len(), 1, "kept for as long as it is read");
    let second = rig.join(&request(&moved, "/a")).unwrap();
    assert!(second.opener);
    let (other, waiting) = (rig.join(&request(&moved, "/b")).unwrap(), second.channel());
    let _at_once = other.channel().turn().await;
    tokio::select! {
        biased;
        _ = waiting.turn() => panic!("the first still holds its connection"),
        () = std::future::ready(()) => {}
    }
    drop(held);
    let _now = waiting.turn().await;
}

fn fixed() -> crate::config::model::UpstreamHost {
    crate::config::model::UpstreamHost::Fixed("other".to_owned())
}
