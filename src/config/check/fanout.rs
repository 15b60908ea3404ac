//! The settings of a fan-out route: the route's own, then `defaults`, then the program's.

use std::time::Duration;

use http::HeaderName;

use super::{
    super::{
        defaults, event_cost,
        model::{
            Backoff, CookieIdentity, EventLimits, Fanout, GapNotice, Identity, Ids, LateJoin,
            Limits, OnEnd, QuerySelection, RetryRange, RingLimits, Share, Watchdog,
        },
        raw::{self, AllOr, Defaults},
        units::{Count, Time},
    },
    at::At,
    cors, names, sharing,
    slow::slow,
};

pub(super) const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Lowest bound on an event's bytes.
const EVENT_BYTES_MIN: usize = 64;

/// Where a route's settings may be written.
pub(super) struct Place<'a, 'd> {
    pub(super) route: &'a At<'d>,
    pub(super) defaults: &'a At<'d>,
}

impl<'d> Place<'_, 'd> {
    /// Where the setting in force stands: on the route, else under `defaults`.
    pub(super) fn of(&self, path: &[&str]) -> At<'d> {
        let below = |at: &At<'d>| path.iter().fold(at.clone(), |at, key| at.key(key));
        let (route, defaults) = (below(self.route), below(self.defaults));
        if !route.is_written() && defaults.is_written() {
            defaults
        } else {
            route
        }
    }
}

/// One setting of a nested mapping: the route's, else that of `defaults`.
macro_rules! nested {
    ($route:expr, $defaults:expr, $group:ident . $field:ident) => {{
        let of = |settings: &Defaults| {
            settings
                .$group
                .as_ref()
                .and_then(|group| group.$field.clone())
        };
        of($route).or_else(|| of($defaults))
    }};
}

pub(super) use nested;

/// Checks the settings of one route.
pub(super) fn fanout(
    route: &Defaults,
    defaults: &Defaults,
    limits: &Limits,
    place: &Place<'_, '_>,
) -> Fanout {
    let share = route.share.or(defaults.share).unwrap_or(Share::Credentials);
    let time = |key: &str, value: fn(&Defaults) -> Option<Time>, default, bounds| {
        place
            .of(&[key])
            .time(value(route).or_else(|| value(defaults)), default, bounds)
    };
    let on_end = route.on_end.or(defaults.on_end).unwrap_or(OnEnd::Pass);
    let linger = match (on_end, share) {
        (OnEnd::Final, _) => defaults::LINGER_FINAL,
        (_, Share::Public) => defaults::LINGER_PUBLIC,
        (_, Share::Credentials) => defaults::LINGER_CREDENTIALS,
    };
    let ring = ring(route, defaults, place);
    let event = event(route, defaults, &ring, place);
    let identity = identity(route, defaults, share, place);
    Fanout {
        share,
        strict: sharing::strict(route, defaults, share, place),
        cors: cors::cors(route, defaults, &identity, place),
        identity,
        reauth: sharing::reauth(route, defaults, share, on_end, place),
        query: query(route, defaults, place),
        last_event_id_query: last_event_id_query(route, defaults, place),
        ids: route.ids.or(defaults.ids).unwrap_or(Ids::Local),
        resume: route.resume.or(defaults.resume).unwrap_or(false),
        resume_wait: time(
            "resume_wait",
            |s| s.resume_wait,
            defaults::RESUME_WAIT,
            Duration::ZERO..=60 * SECOND,
        ),
        late_join: late_join(route, defaults, on_end),
        gap_notice: route
            .gap_notice
            .or(defaults.gap_notice)
            .unwrap_or(GapNotice::Auto),
        ring,
        event,
        open_wait: time(
            "open_wait",
            |s| s.open_wait,
            defaults::OPEN_WAIT,
            100 * MS..=HOUR,
        ),
        head_wait: time(
            "head_wait",
            |s| s.head_wait,
            defaults::HEAD_WAIT,
            Duration::ZERO..=HOUR,
        ),
        on_end,
        backoff: backoff(route, defaults, place),
        watchdog: watchdog(route, defaults, place),
        linger: time("linger", |s| s.linger, linger, Duration::ZERO..=DAY),
        retry: retry(route, defaults, place),
        heartbeat: heartbeat(route, defaults, place),
        batch_delay: time(
            "batch_delay",
            |s| s.batch_delay,
            Duration::ZERO,
            Duration::ZERO..=SECOND,
        ),
        slow: slow(route, defaults, &ring, place),
        connection_age_max: connection_age_max(route, defaults, place),
        route_subscribers_max: subscribers_max(
            "route_subscribers_max",
            route
                .route_subscribers_max
                .or(defaults.route_subscribers_max),
            limits,
            place,
        ),
        channel_subscribers_max: subscribers_max(
            "channel_subscribers_max",
            route
                .channel_subscribers_max
                .or(defaults.channel_subscribers_max),
            limits,
            place,
        ),
        response_headers: names::response_headers(
            route
                .response_headers
                .as_ref()
                .or(defaults.response_headers.as_ref()),
            &place.of(&["response_headers"]),
        ),
    }
}

pub(super) fn heartbeat(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Duration {
    place.of(&["heartbeat"]).time(
        route.heartbeat.or(defaults.heartbeat),
        defaults::HEARTBEAT,
        SECOND..=300 * SECOND,
    )
}

pub(super) fn watchdog(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Watchdog {
    match route.watchdog.or(defaults.watchdog) {
        None | Some(raw::Watchdog::Auto) => Watchdog::Auto,
        Some(raw::Watchdog::Off) => Watchdog::Off,
        Some(raw::Watchdog::After(silence_max)) => {
            let at = place.of(&["watchdog"]);
            Watchdog::After(at.time(Some(silence_max), DAY, SECOND..=DAY))
        }
    }
}

fn connection_age_max(
    route: &Defaults,
    defaults: &Defaults,
    place: &Place<'_, '_>,
) -> Option<Duration> {
    let value = route.connection_age_max.or(defaults.connection_age_max)?;
    let at = place.of(&["connection_age_max"]);
    Some(at.time(Some(value), DAY, SECOND..=30 * DAY))
}

fn subscribers_max(
    key: &str,
    value: Option<Count>,
    limits: &Limits,
    place: &Place<'_, '_>,
) -> usize {
    place.of(&[key]).count(
        value,
        limits.subscribers_max.unwrap_or(usize::MAX),
        1..=usize::MAX,
    )
}

fn identity(
    route: &Defaults,
    defaults: &Defaults,
    share: Share,
    place: &Place<'_, '_>,
) -> Identity {
    if share == Share::Public && route.identity.is_some() {
        place.of(&["identity"]).key_problem(
            "`identity` has no effect under `share: public`, which sends no credentials; \
             leave one of the two out",
        );
    }
    let headers = nested!(route, defaults, identity.headers);
    let cookies = nested!(route, defaults, identity.cookies);
    let headers = match headers {
        Some(names) => names::identity_headers(&names, &place.of(&["identity", "headers"])),
        None => defaults::IDENTITY_HEADERS
            .into_iter()
            .map(HeaderName::from_static)
            .collect(),
    };
    let cookies = match cookies {
        None | Some(AllOr::All) => CookieIdentity::All,
        Some(AllOr::Names(names)) => {
            let at = place.of(&["identity", "cookies"]);
            names::cookies(&names, &at);
            CookieIdentity::Named(names)
        }
    };
    match share {
        Share::Credentials => Identity { headers, cookies },
        // Nothing is keyed and nothing is sent, whatever `defaults` say of other routes.
        Share::Public => Identity {
            headers: Vec::new(),
            cookies: CookieIdentity::Named(Vec::new()),
        },
    }
}

fn query(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> QuerySelection {
    match route.query.as_ref().or(defaults.query.as_ref()) {
        None | Some(AllOr::All) => QuerySelection::All,
        Some(AllOr::Names(names)) => {
            names::query(names, &place.of(&["query"]));
            QuerySelection::Only(names.clone())
        }
    }
}

fn last_event_id_query(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> String {
    let name = route
        .last_event_id_query
        .as_ref()
        .or(defaults.last_event_id_query.as_ref())
        .map_or(defaults::LAST_EVENT_ID_QUERY, String::as_str);
    if !names::is_query_name(name) {
        place
            .of(&["last_event_id_query"])
            .problem("this is not a query parameter; write its name, as in `last_event_id`");
    }
    name.to_owned()
}

fn late_join(route: &Defaults, defaults: &Defaults, on_end: OnEnd) -> LateJoin {
    if on_end == OnEnd::Final {
        return LateJoin::Whole;
    }
    match route.late_join.or(defaults.late_join) {
        None | Some(raw::LateJoin::Live | raw::LateJoin::Last(0)) => LateJoin::Live,
        Some(raw::LateJoin::All) => LateJoin::All,
        Some(raw::LateJoin::Last(events)) => LateJoin::Last(events),
    }
}

fn ring(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> RingLimits {
    RingLimits {
        events_max: place.of(&["ring", "events_max"]).count(
            nested!(route, defaults, ring.events_max),
            defaults::RING_EVENTS_MAX,
            1..=10_000_000,
        ),
        bytes_max: place.of(&["ring", "bytes_max"]).size(
            nested!(route, defaults, ring.bytes_max),
            defaults::RING_BYTES_MAX,
            1 << 10..=16 << 30,
        ),
        age_max: place.of(&["ring", "age_max"]).time(
            nested!(route, defaults, ring.age_max),
            defaults::RING_AGE_MAX,
            SECOND..=7 * DAY,
        ),
    }
}

fn event(
    route: &Defaults,
    defaults: &Defaults,
    ring: &RingLimits,
    place: &Place<'_, '_>,
) -> EventLimits {
    let bytes_at = place.of(&["event", "bytes_max"]);
    let fields_max = place.of(&["event", "fields_max"]).count(
        nested!(route, defaults, event.fields_max),
        defaults::EVENT_FIELDS_MAX,
        1..=10_000_000,
    );
    let id_bytes_max = place.of(&["event", "id_bytes_max"]).size(
        nested!(route, defaults, event.id_bytes_max),
        defaults::EVENT_ID_BYTES_MAX,
        1..=8 << 10,
    );
    // Unless it is set, it follows a small ring down.
    let fits = event_cost::bytes_that_fit(ring.bytes_max, fields_max, id_bytes_max);
    let bytes_max = bytes_at.size(
        nested!(route, defaults, event.bytes_max),
        defaults::EVENT_BYTES_MAX.min(fits).max(EVENT_BYTES_MIN),
        EVENT_BYTES_MIN..=256 << 20,
    );
    EventLimits {
        bytes_max,
        fields_max,
        id_bytes_max,
    }
}

fn backoff(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Backoff {
    let time = |key, value, default| {
        let at = place.of(&["backoff", key]);
        at.time(value, default, 10 * MS..=HOUR)
    };
    let min = nested!(route, defaults, backoff.min);
    let max = nested!(route, defaults, backoff.max);
    Backoff {
        min: time("min", min, defaults::BACKOFF_MIN),
        max: time("max", max, defaults::BACKOFF_MAX),
    }
}

pub(super) fn retry(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> RetryRange {
    let time = |key, value, default| {
        let at = place.of(&["retry", key]);
        at.time(value, default, 100 * MS..=HOUR)
    };
    let min = nested!(route, defaults, retry.min);
    let max = nested!(route, defaults, retry.max);
    RetryRange {
        min: time("min", min, defaults::RETRY_MIN),
        max: time("max", max, defaults::RETRY_MAX),
    }
}
