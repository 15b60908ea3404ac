//! Routes and the fan-out settings, which stand flat on a route and under `defaults`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        model::{GapNotice, Ids, KeyBy, OnEnd, Share},
        units::{Count, Size, Time},
    },
    cors::Cors,
    forms::{AllOr, LateJoin},
    off::TimeOrOff,
    watchdog::Watchdog,
};

/// Declares a struct with the given fields and all fan-out settings after them. serde cannot
/// flatten one struct into another and still refuse unknown keys, and editors need one flat list.
macro_rules! with_fanout_settings {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        with_fanout_settings! {
            @declare $(#[$meta])* $name { $($(#[$field_meta])* $field: $type,)* }
            /// Who shares an upstream connection: `credentials` (the default): only clients with
            /// the same credentials, which are sent to the app; `public`: everyone, and no
            /// credential is sent.
            share: Share,
            /// What counts as credentials under `share: credentials`.
            identity: Identity,
            /// Under `share: public`: whether a stream that the app marks as one client's own (with
            /// `Cache-Control: private`, or a `Vary` on a header that it does not get) is kept from
            /// further clients. They get one of their own, with their credentials, for as long as
            /// the marked one is open. NestJS marks every stream. Default false.
            strict: bool,
            /// Which pages of other origins may read the streams. Without it the app says so, and
            /// clients of different origins share nothing.
            cors: Cors,
            /// How long the app's answer to a channel's credentials lets clients join it, 100ms to 1d, or
            /// `off`: for ever. Who joins later waits for the answer to one more request with the same
            /// credentials; 401, 403 or any other refusal ends the channel. Default 60s; `off` under
            /// `on_end: final`, where it would make the app give its answer again.
            reauth: TimeOrOff,
            /// Which query parameters tell streams apart and are sent to the app: `all` (the
            /// default: the raw query, byte for byte), or a list of names.
            query: AllOr,
            /// Query parameter that may carry the last event id on a first connect; it is never
            /// sent to the app. Default `last_event_id`.
            last_event_id_query: String,
            /// Whose event ids clients see: `local` (the default): Sidestream's own, right for
            /// every app; `unique`: the app's, for apps that never reuse an id, not even after a
            /// restart.
            ids: Ids,
            /// The app resumes by its own event ids: given `Last-Event-ID`, it goes on behind that
            /// event, whatever connection it was sent on. It is told its last one when it is
            /// connected to anew, and clients of another pod resume by it. Default: false.
            resume: bool,
            /// Under `resume: true`: how long a client waits for its place to pass in the stream
            /// before it gets a gap. Default 2s.
            resume_wait: Time,
            /// Where a client without a last event id starts: `live` (the default): at the next
            /// event; `all`: with everything that the ring holds; a number: with so many of the
            /// last events.
            late_join: LateJoin,
            /// How clients learn of events that they missed for good: `auto` (the default): an
            /// event to browsers' EventSource, a comment to others; `event`; `comment`; `close`:
            /// the stream is closed.
            gap_notice: GapNotice,
            /// Bounds of a channel's replay ring.
            ring: Ring,
            /// Bounds of one event from the app. A larger one is left out, and clients get a gap in
            /// its place.
            event: Event,
            /// How long a first connect tries to reach the app before clients are turned away.
            /// What the app answers instead of a stream goes to them as it is, 429 and 5xx too,
            /// after which a browser's EventSource does not come back. Default 10s.
            open_wait: Time,
            /// How long clients wait for the app's response head before they get ours. Default 5s.
            head_wait: Time,
            /// What the app's own end of a stream means: `pass` (the default): clients get the
            /// same end; `reconnect`: it is an endless feed; connect again, clients stay; `final`:
            /// the stream is one answer: the app gives it once, and for `linger` everybody who
            /// asks gets it from its start.
            on_end: OnEnd,
            /// Delays between tries to reach the app again.
            backoff: Backoff,
            /// When a silent app counts as frozen, and is connected to anew: `auto` (the default): of
            /// an app that has sent five comments at a regular pace, after four times the longest
            /// gap between them; a time; `off`. On stream routes only a time has an effect.
            watchdog: Watchdog,
            /// How long the app's connection is kept after the last client left. Default 30s; 5s
            /// under `share: credentials`; 60s under `on_end: final`, where the answer is kept as
            /// well.
            linger: Time,
            /// Range of the reconnect time told to clients, random per client. Also on stream routes.
            retry: RetryRange,
            /// A comment goes to clients after this long without an event, 1s to 5m. Default 15s. Also
            /// on stream routes.
            heartbeat: Time,
            /// Events wait for so long for others to be written with them, up to 1s: fewer and larger
            /// writes. Gaps, ends and heartbeats do not wait, nor do those who join. Default 0s.
            batch_delay: Time,
            /// When a client is too slow, and what then. On stream routes only `stall_max` has an
            /// effect.
            slow: Slow,
            /// Streams are closed at 80 to 100 % of this age, each at random, and their clients
            /// come back: so they spread over pods that were added. Default: none.
            connection_age_max: Time,
            /// Clients of the whole route at most. Default: `limits.subscribers_max`.
            route_subscribers_max: Count,
            /// Clients of one channel at most. Default: `limits.subscribers_max`.
            channel_subscribers_max: Count,
            /// Further headers of the app's response that go to every client. Default: none.
            response_headers: Vec<String>,
        }
    };
    (
        @declare $(#[$meta:meta])* $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$own_meta])* pub $own: $own_type,)*
            $(
                $(#[$field_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            /// Names of all fan-out settings.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Puts the own fields and fan-out settings together.
            #[must_use]
            pub fn new($($own: $own_type,)* fanout: Defaults) -> Self {
                Self { $($own,)* $($field: fanout.$field,)* }
            }

            /// Names of the fan-out settings that are written down here.
            #[must_use]
            pub fn fanout_keys(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$field.is_some() { keys.push(stringify!($field)); })*
                keys
            }

            /// A copy of the fan-out settings alone.
            #[must_use]
            pub fn fanout(&self) -> Defaults {
                Defaults { $($field: self.$field.clone(),)* }
            }
        }
    };
}

with_fanout_settings! {
    /// Settings of all fan-out and stream routes that do not say otherwise.
    #[derive(Default)]
    pub struct Defaults {}
}

with_fanout_settings! {
    /// Which requests, and what to do with them.
    pub struct Route {
        /// Unique name, the label in metrics. Default: derived from the path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Only requests for this host: `app.example.com`, or `*.example.com`. Default: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Path pattern: `/prices/{symbol}` takes one segment, `/files/{*rest}` everything below.
        path: String,
        /// Only requests with these methods. Default: any; those of a fan-out route that are not
        /// GET are passed through.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        methods: Option<Vec<String>>,
        /// Name of the upstream. May be left out when there is just one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream: Option<String>,
        /// What to do with its requests.
        action: RouteAction,
    }
}

/// What to do with a route's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// Clients share one SSE connection to the app.
    Fanout,
    /// Each client has an SSE connection of its own to the app.
    Stream,
    /// An ordinary reverse proxy.
    Proxy,
}

/// What counts as a client's credentials: it is part of what tells channels apart, and sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Header names. Default `[authorization, mcp-session-id]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
    /// Cookies: `all` (the default), or a list of names; `[]` sends none. Name the session cookie
    /// when others (analytics) would split one user's clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookies: Option<AllOr>,
}

/// Bounds of a channel's replay ring; whichever is met first drops the oldest event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Events. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_max: Option<Count>,
    /// Size, with 152 bytes added for each event. Default 1MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// Age. Default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_max: Option<Time>,
}

/// Bounds of one event from the app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Size of one event, comments not counted. Default 256KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// Fields (lines) of one event. Default 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields_max: Option<Count>,
    /// Size of an `id`; a longer one is ignored. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_bytes_max: Option<Size>,
}

/// Delays between tries to reach the app: random between 0 and a bound that doubles each time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Bound of the first delay. Default 100ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Time>,
    /// Bound of every delay. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Time>,
}

/// Range of the reconnect time told to clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRange {
    /// Least, 100ms to 1h. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Time>,
    /// Most, 100ms to 1h. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Time>,
}

/// When a client is too slow, and what then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// What happens to a client that is too far behind: `disconnect` (the default): it resumes by
    /// id; `skip`: it goes on with the newest event, after a gap notice that says how many it
    /// missed; `conflate`: of what it missed it gets the newest event of each key, after a gap
    /// notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<SlowPolicy>,
    /// Under `policy: conflate`, which needs it: what the key of an event is: `event`: its type;
    /// `id`: the app's id; or a JSON pointer to a string, a number or a boolean in its data, such as
    /// `/symbol`. An event without a key is never left out for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflate_by: Option<KeyBy>,
    /// Events behind the newest. Default: the ring's `events_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_max: Option<Count>,
    /// Bytes behind the newest; at least what one event may take. Default: the ring's `bytes_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// Time without taking a byte while there is something to take. It is disconnected then,
    /// whatever the policy. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_max: Option<Time>,
}

/// What happens to a client that is too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlowPolicy {
    /// It is disconnected, and resumes by id (default).
    Disconnect,
    /// It goes on with the newest event, after word of how many it missed.
    Skip,
    /// Of what it missed it gets the newest event of each key, after word of that.
    Conflate,
}
