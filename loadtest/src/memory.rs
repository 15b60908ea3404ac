//! `loadtest memory`: what one idle subscriber costs the server, as the slope between two sizes.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    crew::Crew,
    failure::{Failure, Result},
    fanout::wait_connected,
    lane::Order,
    plan::Plan,
    proc,
    report::grouped,
};

/// Two readings this far apart must agree before memory counts as settled.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Readings until memory is taken as it is.
const READINGS_MAX: u32 = 30;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first subscribers.
    pub small: Plan,
    /// The further ones.
    pub more: Plan,
    /// The server's process.
    pub server_pid: u32,
}

/// The two readings.
#[derive(Debug, Clone, Copy)]
pub struct Slope {
    /// Subscribers of the first reading.
    pub small: u64,
    /// PSS with those.
    pub small_pss_bytes: u64,
    /// Subscribers of the second reading.
    pub large: u64,
    /// PSS with those.
    pub large_pss_bytes: u64,
}

impl Slope {
    /// Memory per subscriber.
    #[must_use]
    pub fn bytes_per_subscriber(&self) -> u64 {
        let more = self.large.saturating_sub(self.small).max(1);
        self.large_pss_bytes.saturating_sub(self.small_pss_bytes) / more
    }

    /// The readings and the slope.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "small": self.small,
            "small_pss_bytes": self.small_pss_bytes,
            "large": self.large,
            "large_pss_bytes": self.large_pss_bytes,
            "bytes_per_subscriber": self.bytes_per_subscriber(),
        })
    }
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, bytes) in [
            (self.small, self.small_pss_bytes),
            (self.large, self.large_pss_bytes),
        ] {
            writeln!(
                f,
                "PSS with {:>9} idle subscribers: {:>9} KiB",
                grouped(count),
                grouped(bytes / 1_024)
            )?;
        }
        write!(
            f,
            "bytes per subscriber: {}",
            grouped(self.bytes_per_subscriber())
        )
    }
}

/// Runs the measurement.
///
/// # Errors
/// When not all subscribers connect, or the server's memory cannot be read.
pub async fn run(options: &Options) -> Result<Slope> {
    let mut small = connect(&options.small).await?;
    let small_pss_bytes = settled_pss(options.server_pid).await?;
    let mut more = connect(&options.more).await?;
    let large_pss_bytes = settled_pss(options.server_pid).await?;
    for (crew, plan) in [(&mut small, &options.small), (&mut more, &options.more)] {
        let now = crew.watch(Duration::ZERO).await?;
        if now.connected < plan.subscribers() || now.ended > 0 {
            return Err(Failure::new(
                "the server closed subscribers during the measurement",
            ));
        }
        crew.order(Order::Finish {
            target: None,
            grace: Duration::ZERO,
        })
        .await?;
    }
    let slope = Slope {
        small: options.small.subscribers(),
        small_pss_bytes,
        large: options.small.subscribers() + options.more.subscribers(),
        large_pss_bytes,
    };
    for crew in [small, more] {
        let _ = crew.outcome().await?;
    }
    Ok(slope)
}

async fn connect(plan: &Plan) -> Result<Crew> {
    let mut crew = Crew::start(&Arc::new(plan.clone())).await?;
    wait_connected(&mut crew, plan, |_, _| {}).await?;
    let now = crew.watch(Duration::ZERO).await?;
    if now.connected == plan.subscribers() {
        return Ok(crew);
    }
    crew.order(Order::Finish {
        target: None,
        grace: Duration::ZERO,
    })
    .await?;
    let total = crew.outcome().await?.tally.total();
    let (connected, wanted, why) = (total.connected, total.wanted, total.why_not());
    Err(Failure::new(format!(
        "only {connected} of {wanted} subscribers connected: {why}"
    )))
}

/// PSS once three readings in a row agree within half a percent.
async fn settled_pss(pid: u32) -> Result<u64> {
    let mut steady = 0;
    let mut last = proc::usage(pid)?.pss_bytes;
    for _ in 0..READINGS_MAX {
        tokio::time::sleep(SETTLE_EVERY).await;
        let now = proc::usage(pid)?.pss_bytes;
        steady = if now.abs_diff(last) <= last / 200 {
            steady + 1
        } else {
            0
        };
        last = now;
        if steady == 3 {
            break;
        }
    }
    Ok(last)
}
