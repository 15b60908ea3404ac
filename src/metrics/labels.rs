//! The closed label sets of our metrics. Every value exists at zero from the start, so that a rate
//! over it is right from the first event on.

use crate::error::{ConnectOutcome, EndReason, GapReason, RefuseReason};

/// A closed set of label values.
pub trait Label: Copy + PartialEq + 'static {
    /// Name of the label.
    const KEY: &'static str;

    /// Every value.
    fn all() -> &'static [Self];

    /// The value as it stands in the exposition.
    fn as_label(self) -> &'static str;
}

macro_rules! closed_set {
    ($(#[$meta:meta])* $type:ident, $key:literal {
        $($(#[$variant_meta:meta])* $variant:ident => $label:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$variant_meta])* $variant),+ }

        impl Label for $type {
            const KEY: &'static str = $key;
            fn all() -> &'static [Self] {
                &[$(Self::$variant),+]
            }
            fn as_label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

macro_rules! label_of {
    ($type:ty, $key:literal) => {
        impl Label for $type {
            const KEY: &'static str = $key;
            fn all() -> &'static [Self] {
                Self::ALL
            }
            fn as_label(self) -> &'static str {
                self.label()
            }
        }
    };
}

label_of!(EndReason, "reason");
label_of!(RefuseReason, "reason");
label_of!(ConnectOutcome, "outcome");
label_of!(GapReason, "kind");

closed_set! {
    /// HTTP version towards the client.
    Protocol, "protocol" {
        /// HTTP/1.0 and HTTP/1.1.
        H1 => "h1",
        /// HTTP/2.
        H2 => "h2",
    }
}

closed_set! {
    /// How a joiner's place in the ring was found.
    ReplayOutcome, "outcome" {
        /// No id: starts with the next event.
        Live => "live",
        /// No id: got the last events first (`late_join`).
        Late => "late",
        /// Its id was found and nothing was missed.
        Current => "current",
        /// Its id was found; the missed events were replayed.
        Replayed => "replayed",
        /// Its id cannot be served: a gap was announced.
        Gap => "gap",
        /// Its id is the last one of an answer that is whole: 204.
        Done => "done",
    }
}

closed_set! {
    /// How an upstream stream was cut.
    CutReason, "reason" {
        /// The connection was reset or failed.
        Reset => "reset",
        /// It ended inside the framing (no last chunk, short body).
        Truncated => "truncated",
        /// Silent for longer than `watchdog` allows.
        Silence => "silence",
        /// We closed it: linger over, drain or reload.
        Closed => "closed",
        /// A panic in the reader, contained.
        Internal => "internal",
    }
}

closed_set! {
    /// What a channel heard about its credentials.
    ReauthOutcome, "outcome" {
        /// They hold.
        Proved => "proved",
        /// The app refused: the channel ended.
        Refused => "refused",
        /// No answer that says either.
        Failed => "failed",
    }
}

closed_set! {
    /// A sign that a setting does not fit.
    Hint, "hint" {
        /// Many channels of one target that differ by identity alone.
        IdentitySplit => "identity_split",
        /// Clients that bring the id of another channel of the route.
        StrayIds => "stray_ids",
        /// Clients bring ids of another process to cold channels, and nothing proves them.
        UnprovenIds => "unproven_ids",
        /// A shared stream of a `share: public` route that is marked as one client's own.
        MarkedPrivate => "marked_private",
    }
}

closed_set! {
    /// What the parser left out.
    ParseError, "kind" {
        /// An event above `event.bytes_max`.
        EventBytes => "event_bytes",
        /// An event above `event.fields_max`.
        EventFields => "event_fields",
        /// An `id` above `event.id_bytes_max`, or one with bytes that no header may carry.
        Id => "id",
    }
}

closed_set! {
    /// Class of a response status.
    StatusClass, "status" {
        /// 1xx.
        Informational => "1xx",
        /// 2xx.
        Success => "2xx",
        /// 3xx.
        Redirect => "3xx",
        /// 4xx.
        ClientError => "4xx",
        /// 5xx.
        ServerError => "5xx",
    }
}

impl From<http::StatusCode> for StatusClass {
    fn from(status: http::StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

closed_set! {
    /// Why a connection ended before its first request.
    HandshakeFailure, "kind" {
        /// No complete TLS handshake or HTTP/2 preface within the deadline.
        Timeout => "timeout",
        /// No header of the PROXY protocol where one must be, or not by a trusted proxy.
        ProxyProtocol => "proxy_protocol",
        /// TLS refused: no common version or cipher, bad record, unknown name.
        Tls => "tls",
        /// The HTTP/2 preface or its SETTINGS were wrong.
        H2 => "h2",
        /// The peer left.
        Closed => "closed",
    }
}

closed_set! {
    /// Where a panic was contained.
    PanicPlace, "place" {
        /// The reader of an upstream.
        Upstream => "upstream",
        /// A shard.
        Shard => "shard",
        /// A client connection.
        Connection => "connection",
        /// The acceptor of a listener.
        Acceptor => "acceptor",
        /// The intake by which a worker takes its connections.
        Intake => "intake",
        /// The control thread: upkeep, reloads, the admin service, the drain.
        Control => "control",
    }
}

closed_set! {
    /// What became of changed certificate files.
    RotationOutcome, "outcome" {
        /// In use.
        Applied => "applied",
        /// No usable pair: the old one stays.
        Rejected => "rejected",
    }
}

closed_set! {
    /// What became of a changed configuration file.
    ReloadOutcome, "outcome" {
        /// In force.
        Applied => "applied",
        /// In force, except for settings that need a restart.
        RestartNeeded => "restart_needed",
        /// Not valid: the old configuration stays.
        Rejected => "rejected",
    }
}
