//! The most subscribers that hold at a rate: doubling until something breaks, then halving the
//! distance.

use super::{
    Budget,
    trial::{Bench, Point, Trial},
};
use crate::{failure::Result, report::grouped};

/// Where a search begins.
pub const FIRST: u32 = 1_000;
/// Two counts this close are the same to whoever sets a cap.
const CLOSE: f64 = 1.15;

/// What to try next: `held` is the most that held, `broke` the fewest that broke. None when they are
/// close, or `most` holds.
#[must_use]
pub fn next(held: u32, broke: Option<u32>, most: u32) -> Option<u32> {
    match broke {
        None if held >= most => None,
        None if held == 0 => Some(FIRST.min(most)),
        None => Some(held.saturating_mul(2).min(most)),
        // Not even the first: look below it, but not for ever.
        Some(broke) if held == 0 => (broke > FIRST / 16).then_some(broke / 2),
        Some(broke) if f64::from(broke) <= f64::from(held) * CLOSE => None,
        Some(broke) => Some(held + (broke - held) / 2),
    }
}

/// Searches at a rate; the trials come back in order of subscribers.
///
/// # Errors
/// What kept a trial from being run.
pub async fn at_rate(
    bench: &Bench<'_>,
    budget: &Budget,
    rate: f64,
    most: u32,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Trial>> {
    let mut trials: Vec<Trial> = Vec::new();
    let (mut held, mut broke) = (0, None);
    while let Some(subscribers) = next(held, broke, most) {
        let point = Point {
            subscribers,
            rate,
            heartbeat_seconds: None,
            batch_delay_ms: None,
        };
        let trial = bench.run(point).await?;
        let verdict = trial.broke(budget);
        progress(&format!(
            "{rate} events/s to {} subscribers: p99 {:.1} ms, {:.2} cores, {:.0} MiB{}",
            grouped(subscribers.into()),
            trial.median("latency_p99_ms"),
            trial.median("server_cpu_cores"),
            trial.median("server_memory_mib"),
            verdict.map_or(String::new(), |broken| format!(
                "; breaks {}",
                broken.name()
            ))
        ));
        match verdict {
            None => held = subscribers,
            Some(_) => broke = Some(subscribers),
        }
        trials.push(trial);
    }
    trials.sort_by_key(|trial| trial.point.subscribers);
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts tried when up to `capacity` subscribers hold.
    fn tried(capacity: u32, most: u32) -> Vec<u32> {
        let (mut held, mut broke, mut tried) = (0, None, Vec::new());
        while let Some(count) = next(held, broke, most) {
            tried.push(count);
            if count <= capacity {
                held = count;
            } else {
                broke = Some(count);
            }
        }
        tried
    }

    #[test]
    fn a_search_doubles_then_halves_and_ends() {
        assert_eq!(tried(9_999, 3_000), [1_000, 2_000, 3_000]);
        assert_eq!(
            tried(5_100, 20_000),
            [1_000, 2_000, 4_000, 8_000, 6_000, 5_000, 5_500]
        );
        assert_eq!(tried(300, 20_000), [1_000, 500, 250, 375, 312, 281]);
        assert_eq!(tried(0, 20_000), [1_000, 500, 250, 125, 62]);
    }
}
