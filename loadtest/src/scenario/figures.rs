//! The figures of a run, by name: what thresholds, reports and comparisons speak of.

use std::collections::BTreeMap;

/// Values by name of figure; a figure that a run cannot have is not there.
pub type Figures = BTreeMap<String, f64>;

/// One figure.
#[derive(Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name in thresholds and JSON; the unit comes last.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// What it says.
    pub about: &'static str,
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// It only describes the run.
    Neither,
}

const fn lower(name: &'static str, about: &'static str) -> Figure {
    Figure {
        name,
        better: Better::Lower,
        about,
    }
}

const fn higher(name: &'static str, about: &'static str) -> Figure {
    Figure {
        name,
        better: Better::Higher,
        about,
    }
}

const fn plain(name: &'static str, about: &'static str) -> Figure {
    Figure {
        name,
        better: Better::Neither,
        about,
    }
}

/// All figures, in the order of a report.
pub const ALL: &[Figure] = &[
    lower(
        "lost",
        "events that never came, though no gap was announced",
    ),
    lower("doubled", "events that came twice"),
    lower("reordered", "events that came after a later one"),
    lower("torn", "events that differ from what was published"),
    lower("faulty_subscribers", "subscribers with any of these"),
    plain("gaps", "gaps that were announced, all subscribers together"),
    plain(
        "gaps_per_subscriber",
        "the same, of the subscriber that was told most of them",
    ),
    lower("not_connected", "subscribers that never got a stream"),
    lower(
        "ended",
        "streams that the server or the network ended, though it was not to be expected",
    ),
    plain(
        "ended_expectedly",
        "the same, of subscribers for whom it was to be expected",
    ),
    plain(
        "ended_slow",
        "streams that the server says it ended because their reader was too slow",
    ),
    plain(
        "ended_slow_share",
        "the same, for each subscriber that reads too slowly by its `bytes_per_second`",
    ),
    lower("refused", "attempts that got no stream and were repeated"),
    lower("absent", "subscribers without a stream at the end"),
    plain("returned", "streams opened by subscribers that came back"),
    lower("latency_p50_ms", "from the intended send time"),
    lower("latency_p90_ms", "from the intended send time"),
    lower("latency_p99_ms", "from the intended send time"),
    lower("latency_p999_ms", "from the intended send time"),
    lower("latency_max_ms", "from the intended send time"),
    lower(
        "fairness_p99_ratio",
        "mean latency of the subscriber at p99, to that at p50",
    ),
    plain("deliveries", "events delivered while measuring"),
    higher("deliveries_per_second", "events delivered while measuring"),
    plain(
        "megabytes_per_second",
        "stream bytes received while measuring",
    ),
    plain("amplification", "events delivered for each one published"),
    lower("connect_seconds", "until all subscribers were connected"),
    higher("connects_per_second", "subscribers connected in that time"),
    lower("connect_p99_ms", "until a connection stands, TLS included"),
    lower(
        "first_byte_p99_ms",
        "from a request to the first byte of its answer",
    ),
    lower(
        "server_cpu_cores",
        "cores that the server used while measuring, on average",
    ),
    lower(
        "server_cpu_seconds_per_million",
        "CPU of the server for a million deliveries",
    ),
    lower(
        "server_memory_mib",
        "resident memory of the server at its highest",
    ),
    lower(
        "server_bytes_per_subscriber",
        "growth of the server while all connected",
    ),
    lower(
        "server_memory_growth_percent",
        "of resident memory over the last three quarters of the hold",
    ),
    lower(
        "latency_drift_percent",
        "p99 of the last quarter of the hold, above that of the second",
    ),
    lower(
        "recovery_seconds",
        "from the last event of the run until all streams were back",
    ),
    plain(
        "reloads_applied",
        "changed configuration files that the server took",
    ),
    plain("reloads_rejected", "those that it did not take"),
    lower("drain_seconds", "from SIGTERM to the end of the process"),
    higher(
        "drain_clean",
        "1 when that process ended with exit code 0, otherwise 0",
    ),
    lower(
        "drain_peak_ratio",
        "streams closed in the busiest second, to an even share",
    ),
    plain(
        "app_connections",
        "streams that the publisher has open at the end",
    ),
    lower(
        "app_connections_total",
        "streams that the publisher was asked for",
    ),
    lower("app_late_ms", "the publisher's own delay at its worst"),
    plain("requests", "requests beside the streams"),
    lower("requests_failed", "those that did not get 200"),
    lower("requests_p99_ms", "their time, from when they were due"),
    lower(
        "load_cpu_share",
        "share of its cores that the load itself used",
    ),
];

/// The figure of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Figure> {
    ALL.iter().find(|figure| figure.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (at, figure) in ALL.iter().enumerate() {
            let first = ALL.iter().position(|other| other.name == figure.name);
            assert_eq!(first, Some(at), "{}", figure.name);
            assert_eq!(named(figure.name), Some(figure));
        }
        assert_eq!(named("nothing"), None);
    }
}
