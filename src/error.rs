//! The closed list of reasons. They are metric labels and log fields: bounded, lower case, stable.

/// Why a request was refused or a subscriber turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// The request is not one we may serve (bad path, body on a fan-out GET, ...).
    BadRequest,
    /// No route matches.
    NoRoute,
    /// The process-wide cap of client connections.
    ConnectionsMax,
    /// The process-wide subscriber cap.
    SubscribersMax,
    /// The process uses all the memory that it may.
    MemoryMax,
    /// The route's subscriber cap.
    RouteMax,
    /// The subscriber cap of the client's address.
    AddressMax,
    /// The connection cap of the client's address.
    AddressConnectionsMax,
    /// The channel's subscriber cap.
    ChannelMax,
    /// The channel-count cap.
    ChannelsMax,
    /// The cap of connections to the app.
    UpstreamConnectionsMax,
    /// The memory of all rings is used up, though each was cut down to its least.
    RingBytesMax,
    /// The app could not be reached within `open_wait`.
    UpstreamUnreachable,
    /// We are draining and the channel does not exist.
    Draining,
    /// A reload removed or changed the route after it was taken.
    Reloaded,
    /// A page of an origin that the route's `cors` does not list.
    Origin,
}

/// Why a subscriber's stream ended. Every end has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client closed or reset.
    ClientLeft,
    /// The app ended the stream (`on_end: pass` and `final`).
    UpstreamEnded,
    /// The app broke off: a stream of this client's own, or one answer (`on_end: final`).
    UpstreamCut,
    /// On reconnect the app answered something else than the stream.
    UpstreamRefused,
    /// Too slow: events, bytes or time.
    Slow,
    /// `gap_notice: close` met a gap.
    Gap,
    /// `connection_age_max`.
    Age,
    /// Drain.
    Drained,
    /// A reload removed or tightened the route.
    Reloaded,
    /// Something panicked; contained.
    Internal,
    /// Writing failed.
    WriteError,
}

/// How one try to reach the app went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectOutcome {
    /// A stream opened.
    Opened,
    /// No turn came in time: too many attempts or connections.
    Busy,
    /// Connecting failed or timed out.
    Unreachable,
    /// Connected, but no usable response head came.
    NoHead,
    /// An answer that says: try again (408, 425, 429, 5xx).
    Retryable,
    /// An answer that is no event stream.
    Refused,
}

/// Why events may be missing for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The connection to the app broke, or was closed and opened anew.
    UpstreamCut,
    /// The id was known once, but the ring has moved on.
    Evicted,
    /// The id is none that we ever gave out.
    UnknownId,
    /// The id is of another life of the channel, or of another pod.
    OtherEpoch,
    /// Under `ids: unique` the app repeated an id or counted down: resuming could be wrong.
    AmbiguousId,
    /// An event of the app broke a limit of `event`.
    Oversized,
    /// The reader was too far behind, under `slow.policy: skip`, or even for `conflate`.
    Skipped,
    /// The reader was too far behind, under `slow.policy: conflate`: it gets the newest of each key.
    Conflated,
}

macro_rules! labels {
    ($type:ty { $($variant:ident => $label:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, for registering metrics at zero.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Stable lower-case label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

labels!(RefuseReason {
    BadRequest => "bad_request", NoRoute => "no_route", ConnectionsMax => "connections_max",
    SubscribersMax => "subscribers_max", MemoryMax => "memory_max", RouteMax => "route_max",
    AddressMax => "address_max", AddressConnectionsMax => "address_connections_max",
    ChannelMax => "channel_max", ChannelsMax => "channels_max",
    UpstreamConnectionsMax => "upstream_connections_max", RingBytesMax => "ring_bytes_max",
    UpstreamUnreachable => "upstream_unreachable", Draining => "draining",
    Reloaded => "reloaded", Origin => "origin",
});
labels!(EndReason {
    ClientLeft => "client_left", UpstreamEnded => "upstream_ended",
    UpstreamCut => "upstream_cut", UpstreamRefused => "upstream_refused",
    Slow => "slow", Gap => "gap", Age => "age", Drained => "drained", Reloaded => "reloaded", Internal => "internal",
    WriteError => "write_error",
});
labels!(GapReason {
    UpstreamCut => "upstream_cut", Evicted => "evicted", UnknownId => "unknown_id",
    OtherEpoch => "other_epoch", AmbiguousId => "ambiguous_id", Oversized => "oversized",
    Skipped => "skipped", Conflated => "conflated",
});
labels!(ConnectOutcome {
    Opened => "opened", Busy => "busy", Unreachable => "unreachable", NoHead => "no_head", Retryable => "retryable",
    Refused => "refused",
});
