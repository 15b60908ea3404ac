//! What Sidestream has to show beside its peers.

/// One bar.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// Shape of the runs.
    pub shape: &'static str,
    /// Name of the figure in their results.
    pub figure: &'static str,
    /// Whose figure it is divided by; `None` takes it as it is.
    pub peer: Option<&'static str>,
    /// What it must come to.
    pub limit: Limit,
}

/// The limit of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// No less.
    Least(f64),
    /// No more.
    Most(f64),
    /// It is only told.
    Told,
}

use Limit::{Least, Most, Told};

/// What a saturated server is measured by.
pub const RATE: &str = "deliveries_per_second";
/// What a delivery costs it.
pub const CPU: &str = "server_us_per_delivery";
/// Cores that others used meanwhile.
pub const OTHERS: &str = "others_share";
const P99: &str = "latency_p99_ms";
const MEMORY: &str = "bytes_per_subscriber";
const KB: f64 = 1_024.0;

/// All bars, in the order of the table.
pub const BARS: [Bar; 26] = [
    bar("sat1k-w1", RATE, Some("floor-event"), Least(0.90)),
    bar("sat15k-w1", RATE, Some("floor-event"), Least(0.88)),
    bar("sat1k-w64", RATE, Some("floor-read"), Least(0.70)),
    bar("sat5k-w64", RATE, Some("floor-read"), Least(0.70)),
    bar("h2-50x100-w1", RATE, Some("floor-event"), Least(0.80)),
    bar("h2-50x100-w64", RATE, Some("floor-read"), Least(0.80)),
    bar("h2-5000x1-w1", RATE, Some("floor-event"), Least(0.65)),
    bar("h2tls-50x100", RATE, Some("nchan"), Least(12.0)),
    bar("h1tls-2000", RATE, Some("nchan"), Least(1.15)),
    bar("paced", CPU, Some("floor-event"), Most(1.2)),
    bar("paced", P99, Some("floor-event"), Most(1.4)),
    bar("paced", CPU, Some("nchan"), Most(1.0)),
    bar("paced", P99, Some("nchan"), Most(1.0)),
    bar(
        "connects",
        "server_us_per_connect",
        Some("nchan"),
        Most(1.5),
    ),
    bar("pass", "requests_per_second", Some("nginx"), Least(0.7)),
    bar("memory-h1", MEMORY, None, Most(3.0 * KB)),
    bar("memory-h2", MEMORY, None, Most(1.4 * KB)),
    bar("memory-h1tls", MEMORY, None, Most(14.0 * KB)),
    bar("memory-h2tls-1", MEMORY, None, Most(38.0 * KB)),
    // 38 KB a connection, three streams on each.
    bar("memory-h2tls-3", MEMORY, None, Most(38.0 * KB / 3.0)),
    bar("million", "server_rss_bytes", None, Most(1.7e9)),
    bar("million", P99, None, Told),
    bar("million", "connected", None, Least(1e6)),
    bar("mixed65k", P99, None, Told),
    bar("mixed65k", "connected", None, Least(65_000.0)),
    // Two workers against one, beside the load on the same two cores.
    bar("shards", RATE, Some("sidestream-1"), Told),
];

const fn bar(
    shape: &'static str,
    figure: &'static str,
    peer: Option<&'static str>,
    limit: Limit,
) -> Bar {
    Bar {
        shape,
        figure,
        peer,
        limit,
    }
}

impl Limit {
    /// Whether a value is within it; a value that is only told always is.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Least(least) => value >= least,
            Self::Most(most) => value <= most,
            Self::Told => true,
        }
    }
}
