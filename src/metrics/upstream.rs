//! The metrics of one app: what is bounded there, and the bounds in force.

use super::{Labels, LevelFamily, Registrar, cell::Level};

/// The metrics of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Connections in use: streams, relays and pass-through requests.
    pub connections: Level,
    /// HTTP/2 connections that streams and relays share; each of these is one of `connections`.
    pub shared_connections: Level,
    /// Connections at most.
    pub connections_max: Level,
    /// Attempts to open a stream in flight.
    pub attempts: Level,
    /// Attempts that may be in flight now.
    pub attempts_max: Level,
    /// Attempts that wait for their turn.
    pub attempts_waiting: Level,
}

/// What [`UpstreamMetrics`] are taken from.
#[derive(Debug)]
pub(super) struct UpstreamFamilies {
    connections: LevelFamily,
    shared_connections: LevelFamily,
    connections_max: LevelFamily,
    attempts: LevelFamily,
    attempts_max: LevelFamily,
    attempts_waiting: LevelFamily,
}

impl UpstreamFamilies {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            connections: r.family(
                "app_connections",
                "Exchanges with the app now, pass-through included: a connection each by HTTP/1.1, a stream by HTTP/2",
            ),
            shared_connections: r.family(
                "app_shared_connections",
                "HTTP/2 connections to the app that event streams share now",
            ),
            connections_max: r.family(
                "app_connections_max",
                "Connections to the app that may be in use at once",
            ),
            attempts: r.family("app_attempts", "Attempts to open a stream in flight now"),
            attempts_max: r.family(
                "app_attempts_max",
                "Attempts that may be in flight now, fewer after failures",
            ),
            attempts_waiting: r.family(
                "app_attempts_waiting",
                "Attempts that wait for their turn now",
            ),
        }
    }

    pub(super) fn resolve(&self, upstream: &str) -> UpstreamMetrics {
        let level = |family: &LevelFamily| {
            let labels: Labels = vec![("upstream", upstream.to_owned())];
            Level(family.get_or_create_owned(&labels))
        };
        UpstreamMetrics {
            connections: level(&self.connections),
            shared_connections: level(&self.shared_connections),
            connections_max: level(&self.connections_max),
            attempts: level(&self.attempts),
            attempts_max: level(&self.attempts_max),
            attempts_waiting: level(&self.attempts_waiting),
        }
    }
}
