//! Signs that a setting does not fit what clients or an app send, told to the operator: as a line of
//! the log, as a metric, and beside the channels of the admin service.
//!
//! A hint stands for a while after its sign was last seen. It holds names and numbers, never values.

mod difference;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use self::difference::Difference;
pub use self::difference::split;
use crate::{
    clock::Millis,
    config::model::Route,
    metrics::{
        Metrics,
        labels::{Hint, Label},
    },
    route::key::ChannelKey,
};

/// For how long a hint stands after its sign was last seen. About one that goes on standing a line is
/// written as often.
const STANDS: Duration = Duration::from_secs(3_600);

/// Clients that must bring an id of another channel: one who logs in as another is no sign.
const STRAYS_MIN: u64 = 10;

/// Names that are counted for the clients that bring ids of other channels.
const STRAY_NAMES_MAX: usize = 32;

/// The hints that stand.
#[derive(Debug)]
pub struct Hints {
    inner: Mutex<Inner>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Inner {
    standing: HashMap<(String, Hint), Standing>,
    strays: HashMap<String, Strays>,
}

#[derive(Debug)]
struct Standing {
    /// As it was configured then: a hint about another route of that name is none.
    route: Arc<Route>,
    detail: String,
    since: Millis,
    seen: Millis,
    told: Millis,
}

/// Clients of one route that brought the id of another channel, in the time in which they count.
#[derive(Debug)]
struct Strays {
    /// As it was configured then.
    route: Arc<Route>,
    since: Millis,
    clients: u64,
    /// In how many of them this was another.
    names: BTreeMap<String, usize>,
}

/// A hint that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the route.
    pub route: String,
    /// What kind of sign.
    pub hint: Hint,
    /// What was seen: names and numbers.
    pub detail: String,
    /// Since when.
    pub since: Millis,
    /// When last.
    pub seen: Millis,
}

/// What to do about a hint.
#[must_use]
pub const fn advice(hint: Hint) -> &'static str {
    match hint {
        Hint::IdentitySplit => {
            "say in `identity` which headers and cookies tell clients apart; `cors` lets pages of \
             all origins share, `share: public` everybody"
        }
        Hint::StrayIds => {
            "these clients were on another channel before, and lost their place: leave what changes \
             out of `identity` or `query`; `cors` takes `Origin` out"
        }
        Hint::UnprovenIds => {
            "the app was not asked to go on where these clients were, so they were told of a gap: \
             give all pods the same `ids_key`"
        }
        Hint::MarkedPrivate => {
            "if the stream is not the same for everybody, `share: credentials`; if it is, the app \
             should not mark it; `strict: true` shares what is marked with nobody who comes later"
        }
    }
}

impl Hints {
    /// None stands.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Mutex::default(),
            metrics,
        }
    }

    /// A sign was seen.
    pub fn raise(&self, route: &Arc<Route>, hint: Hint, detail: String, now: Millis) {
        self.inner.lock().raise(route, hint, detail, now);
        self.metrics
            .route(&route.name)
            .sharing
            .hints
            .level(hint)
            .set(1);
    }

    /// A client that joins the channel of `key` brings an id of the channel of `given`.
    pub fn stray(&self, route: &Arc<Route>, key: &ChannelKey, given: &ChannelKey, now: Millis) {
        let difference = Difference::of([key, given]);
        if difference.has("path") {
            // It went to another stream, and took its last id with it.
            return;
        }
        let detail = {
            let mut inner = self.inner.lock();
            let strays = inner.strays.entry(route.name.clone());
            let strays = strays.or_insert_with(|| Strays::new(route.clone(), now));
            strays.clients += 1;
            for (name, _) in difference.0 {
                if strays.names.len() < STRAY_NAMES_MAX || strays.names.contains_key(&name) {
                    *strays.names.entry(name).or_default() += 1;
                }
            }
            if strays.clients < STRAYS_MIN {
                return;
            }
            let names = Difference(strays.names.clone().into_iter().collect());
            let clients = strays.clients;
            format!("{clients} clients brought an id of another channel; what had changed: {names}")
        };
        self.raise(route, Hint::StrayIds, detail, now);
    }

    /// Time passes: hints whose sign was not seen for long stand no more, and what was counted so long
    /// ago is no sign.
    pub fn tick(&self, now: Millis) {
        self.retain(
            |standing| now.since(standing.seen) < STANDS,
            |strays| now.since(strays.since) < STANDS,
        );
    }

    /// Only hints about these routes stand, as they are configured now.
    pub fn reload(&self, routes: &[Arc<Route>]) {
        self.retain(
            |standing| routes.contains(&standing.route),
            |strays| routes.contains(&strays.route),
        );
    }

    fn retain(&self, stands: impl Fn(&Standing) -> bool, counts: impl Fn(&Strays) -> bool) {
        let mut inner = self.inner.lock();
        let Inner { standing, strays } = &mut *inner;
        standing.retain(|(route, hint), standing| {
            let stands = stands(standing);
            if !stands {
                self.metrics.route(route).sharing.hints.level(*hint).set(0);
            }
            stands
        });
        strays.retain(|_, strays| counts(strays));
    }

    /// All that stand, by route.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let inner = self.inner.lock();
        let row = |((route, hint), standing): (&(String, Hint), &Standing)| Row {
            route: route.clone(),
            hint: *hint,
            detail: standing.detail.clone(),
            since: standing.since,
            seen: standing.seen,
        };
        let mut rows: Vec<Row> = inner.standing.iter().map(row).collect();
        rows.sort_by(|a, b| (&a.route, a.hint.as_label()).cmp(&(&b.route, b.hint.as_label())));
        rows
    }
}

impl Strays {
    fn new(route: Arc<Route>, since: Millis) -> Self {
        Self {
            route,
            since,
            clients: 0,
            names: BTreeMap::new(),
        }
    }
}

impl Inner {
    fn raise(&mut self, route: &Arc<Route>, hint: Hint, detail: String, now: Millis) {
        let key = (route.name.clone(), hint);
        let before = self.standing.remove(&key);
        let since = before.as_ref().map_or(now, |before| before.since);
        let told = before
            .map(|before| before.told)
            .filter(|told| now.since(*told) < STANDS);
        if told.is_none() {
            let (route, hint_name, advice) = (&route.name, hint.as_label(), advice(hint));
            tracing::warn!(route, hint = hint_name, detail, "{advice}");
        }
        let standing = Standing {
            route: route.clone(),
            detail,
            since,
            seen: now,
            told: told.unwrap_or(now),
        };
        self.standing.insert(key, standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{model::Action, testing};

    fn hints() -> (Hints, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Hints::new(metrics.clone()), metrics)
    }

    fn route(path: &str) -> Arc<Route> {
        testing::route("feed", path, Action::Fanout(Arc::new(testing::fanout())))
    }

    fn hour(n: u64) -> Millis {
        Millis(n * 3_600_000)
    }

    #[test]
    fn a_hint_stands_for_as_long_as_its_sign_is_seen_now_and_then() {
        let (hints, metrics) = hints();
        let route = route("/a");
        let level = || metrics.route("feed").sharing.hints.get(Hint::MarkedPrivate);
        for n in 1..4 {
            hints.raise(&route, Hint::MarkedPrivate, format!("seen {n}"), hour(n));
            hints.tick(Millis(hour(n + 1).0 - 1));
            let rows = hints.rows();
            assert_eq!(rows.len(), 1);
            assert_eq!((rows[0].since, rows[0].seen), (hour(1), hour(n)));
            assert_eq!(rows[0].detail, format!("seen {n}"));
            assert_eq!(level(), 1);
        }
        hints.tick(hour(5));
        assert_eq!((hints.rows(), level()), (vec![], 0));
    }

    #[test]
    fn a_hint_about_a_route_that_has_changed_stands_no_more() {
        let (hints, _) = hints();
        let (old, same) = (route("/a"), route("/a"));
        hints.raise(&old, Hint::IdentitySplit, String::new(), hour(1));
        hints.reload(&[same]);
        assert_eq!(hints.rows().len(), 1);
        hints.reload(&[route("/b")]);
        assert!(hints.rows().is_empty());
    }

    #[test]
    fn ids_of_other_channels_are_a_hint_when_many_clients_bring_them() {
        let (hints, _) = hints();
        let route = route("/a");
        let of = |target: &str, cookie: &str| difference::testing::key(target, cookie);
        for n in 0..STRAYS_MIN {
            assert!(hints.rows().is_empty(), "{n} are too few");
            let now = of("/a?page=2", &format!("session=me; _ga={n}"));
            hints.stray(&route, &now, &of("/a", "session=me; _ga=old"), hour(n));
            // Elsewhere by itself.
            hints.stray(&route, &now, &of("/b", "session=me"), hour(n));
        }
        let rows = hints.rows();
        assert_eq!(
            rows[0].detail,
            "10 clients brought an id of another channel; what had changed: \
             cookie _ga (10), query (10)"
        );
        hints.reload(&[]);
        hints.stray(&route, &of("/a", "a=1"), &of("/a", "a=2"), hour(20));
        assert!(hints.rows().is_empty(), "counted anew");
    }

    #[test]
    fn too_few_ids_of_other_channels_are_soon_forgotten() {
        let of = |cookie: &str| difference::testing::key("/a", cookie);
        let (before, after) = (route("/a"), route("/b"));
        for (passes, expected) in [("nothing", 1), ("time", 0), ("a reload", 0)] {
            let (hints, _) = hints();
            let stray = |route| hints.stray(route, &of("a=1"), &of("a=2"), hour(1));
            for _ in 1..STRAYS_MIN {
                stray(&before);
            }
            match passes {
                "time" => hints.tick(hour(2)),
                "a reload" => hints.reload(std::slice::from_ref(&after)),
                _ => {
                    hints.tick(Millis(hour(2).0 - 1));
                    hints.reload(std::slice::from_ref(&before));
                }
            }
            stray(&before);
            assert_eq!(hints.rows().len(), expected, "{passes}");
        }
    }
}
