//! The numbers on the page that Sidestream counts.

use std::sync::Arc;

use crate::{
    config::{
        Config,
        model::{Action, Route},
    },
    metrics::{
        Metrics, RouteMetrics,
        labels::{Label, Protocol},
    },
};

/// What Sidestream counts; wired to its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// Subscribers: SSE streams of clients.
    pub subscribers: u64,
    /// Channels.
    pub channels: u64,
    /// Connections to the app that stream events.
    pub upstream_connections: u64,
}

/// Where the numbers come from.
pub trait DemoStats: Send + Sync + 'static {
    /// The numbers of this moment.
    fn numbers(&self) -> Numbers;
}

impl<F: Fn() -> Numbers + Send + Sync + 'static> DemoStats for F {
    fn numbers(&self) -> Numbers {
        self()
    }
}

/// The numbers of a Sidestream that serves `config`: the sum over its fan-out routes.
#[must_use]
pub fn stats_of(metrics: &Metrics, config: &Config) -> Box<dyn DemoStats> {
    let fanout = |route: &&Arc<Route>| matches!(route.action, Action::Fanout(_));
    let routes: Vec<Arc<RouteMetrics>> = config
        .routes
        .iter()
        .filter(fanout)
        .map(|route| metrics.route(&route.name))
        .collect();
    Box::new(move || {
        let sum = |level: fn(&RouteMetrics) -> i64| {
            let total: i64 = routes.iter().map(|route| level(route)).sum();
            u64::try_from(total).unwrap_or(0)
        };
        Numbers {
            subscribers: sum(|route| {
                let by_protocol = Protocol::all().iter();
                by_protocol
                    .map(|protocol| route.subscribers.get(*protocol))
                    .sum()
            }),
            channels: sum(|route| route.channels.get()),
            upstream_connections: sum(|route| route.upstream_connections.get()),
        }
    })
}
