//! A scenario as it stands in its YAML file, read and checked.

use std::{fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::units::{Threshold, Time};
use crate::{
    app::IdStyle,
    conduct::AfterEnd,
    failure::{Doing, Failure, Result},
};

/// A whole scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Names the report.
    pub name: String,
    /// One or two sentences: what it shows.
    pub about: String,
    /// What is published.
    #[serde(default)]
    pub publisher: Publisher,
    /// Who reads it.
    pub subscribers: Vec<Group>,
    /// Ordinary requests meanwhile.
    pub requests: Option<Requests>,
    /// Subscribers dialled in a second.
    #[serde(default = "ramp")]
    pub ramp: u32,
    /// How long to measure, once all are connected.
    pub hold: Time,
    /// How long subscribers may take at the end to reach the last event.
    #[serde(default = "grace")]
    pub grace: Time,
    /// What happens meanwhile, in order of time.
    #[serde(default)]
    pub events: Vec<Event>,
    /// Sidestream's configuration, laid over the one in `conf/scenario.yaml`.
    #[serde(default)]
    pub server: Value,
    /// What must hold for the run to pass.
    pub thresholds: Vec<Threshold>,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publisher {
    /// Events per second and channel.
    pub rate: f64,
    /// Bytes of an event's data.
    pub size: usize,
    /// What stands in `id:`.
    pub ids: IdStyle,
    /// Instead of a rate: as fast as subscribers take them, with so many events under way.
    pub outstanding: Option<u32>,
}

/// Subscribers of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name in the report; by default the protocol.
    pub name: Option<String>,
    /// How they connect.
    pub protocol: Kind,
    /// How many.
    pub count: u32,
    /// Streams on each connection, over HTTP/2.
    #[serde(default = "streams")]
    pub streams_per_connection: u32,
    /// How many channels they spread over.
    #[serde(default = "one")]
    pub channels: u32,
    /// When they begin to connect, after the hold began; by default before it.
    pub joins: Option<Time>,
    /// Ask like a browser's EventSource does.
    #[serde(default)]
    pub browser: bool,
    /// What an end of the stream means.
    #[serde(default)]
    pub after_end: AfterEnd,
    /// Mean time of a visit, for subscribers that leave and come back.
    pub stay: Option<Time>,
    /// For slow readers over HTTP/1.1; 0 reads nothing at all.
    pub bytes_per_second: Option<u32>,
}

/// How subscribers connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// HTTP/1.1.
    H1,
    /// HTTP/1.1 over TLS.
    H1Tls,
    /// HTTP/2 by prior knowledge.
    H2,
    /// HTTP/2 over TLS.
    H2Tls,
}

/// Requests beside the streams, which are passed through to the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// How many in a second.
    pub per_second: f64,
    /// Connections that they take turns on.
    #[serde(default = "request_connections")]
    pub connections: u32,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, after the hold began.
    pub at: Time,
    /// What.
    #[serde(rename = "do")]
    pub action: Action,
    /// Again after each such time, until the hold is over.
    pub every: Option<Time>,
    /// `restart-app`, `restart-server`: how long it is away.
    pub down: Option<Time>,
    /// `burst`: events published at once.
    pub events: Option<u32>,
    /// `reload`: configuration to lay over the one in force.
    pub server: Option<Value>,
    /// `drain`: another server comes up first, and who comes back goes there.
    pub successor: Option<bool>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The publisher resets every stream that it has, and goes on.
    CutApp,
    /// The publisher is killed, and comes back `down` later.
    RestartApp,
    /// The publisher publishes `events` at once.
    Burst,
    /// The server's configuration changes.
    Reload,
    /// The server's configuration becomes one that is wrong.
    ReloadBad,
    /// The server is killed, and comes back `down` later.
    RestartServer,
    /// The server is told to end (SIGTERM).
    Drain,
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            rate: 5.0,
            size: 200,
            ids: IdStyle::PerConnection,
            outstanding: None,
        }
    }
}

fn ramp() -> u32 {
    4_000
}

fn grace() -> Time {
    Time(std::time::Duration::from_secs(10))
}

fn streams() -> u32 {
    100
}

fn one() -> u32 {
    1
}

fn request_connections() -> u32 {
    8
}

impl Kind {
    /// True over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::H2Tls)
    }

    /// True over HTTP/2.
    #[must_use]
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2 | Self::H2Tls)
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H1Tls => "h1-tls",
            Self::H2 => "h2",
            Self::H2Tls => "h2-tls",
        }
    }
}

impl Group {
    /// Name in the report.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.protocol.name())
    }
}

impl Event {
    /// The times at which it happens within `hold`.
    pub fn times(&self, hold: Time) -> impl Iterator<Item = Duration> + use<> {
        let every = self.every;
        std::iter::successors(Some(self.at.0), move |at| every.map(|every| *at + every.0))
            .take_while(move |at| *at < hold.0)
    }
}

impl Action {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CutApp => "cut-app",
            Self::RestartApp => "restart-app",
            Self::Burst => "burst",
            Self::Reload => "reload",
            Self::ReloadBad => "reload-bad",
            Self::RestartServer => "restart-server",
            Self::Drain => "drain",
        }
    }

    /// True when it is done to the server itself, and not to the publisher.
    #[must_use]
    pub fn is_of_server(self) -> bool {
        match self {
            Self::Reload | Self::ReloadBad | Self::RestartServer | Self::Drain => true,
            Self::CutApp | Self::RestartApp | Self::Burst => false,
        }
    }
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).doing(format_args!("read {shown}"))?;
        Self::parse(&text).doing(shown)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self =
            serde_yaml::from_str(text).map_err(|error| Failure::new(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario with `factor` times the subscribers, channels and connects per second.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and the factor is checked"
        )]
        let scale = |count: u32| ((f64::from(count) * factor).round() as u32).max(1);
        self.ramp = scale(self.ramp);
        for group in &mut self.subscribers {
            group.count = scale(group.count);
            group.channels = scale(group.channels);
        }
        if let Some(requests) = &mut self.requests {
            requests.per_second *= factor;
        }
        self
    }

    /// The scenario with another time to measure.
    ///
    /// # Errors
    /// When something would then happen after its end.
    pub fn held(self, hold: Time) -> Result<Self> {
        let scenario = Self { hold, ..self };
        scenario.check()?;
        Ok(scenario)
    }

    /// True when a successor takes over during the run.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        let takes_over = |event: &Event| event.successor == Some(true);
        self.events.iter().any(takes_over)
    }

    /// All subscribers.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.subscribers.iter().map(|group| u64::from(group.count));
        counts.sum()
    }
}
