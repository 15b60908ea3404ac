//! From measurements to caps: a snippet of Sidestream's configuration that says where each value
//! comes from.

use std::fmt::Write;

use super::{Measurements, trial::Trial};
use crate::report::grouped;

const MIB: f64 = 1_048_576.0;
/// Share of the memory that replay rings may take; Sidestream's own default.
const RING_SHARE: f64 = 0.25;
/// Share of the measured connects per second that is let in: the rest is for those who are
/// connected.
const CONNECT_SHARE: f64 = 0.5;
/// One address may take this share of all subscribers: so many offices or ingresses fill a server.
const ADDRESS_SHARE: f64 = 0.02;
/// The fewest that one address gets.
const ADDRESS_MIN: f64 = 100.0;
/// Heartbeats to all subscribers may take this share of the CPU budget.
const HEARTBEAT_SHARE: f64 = 0.05;
/// A heartbeat below the shortest idle limits in between (most are 60 s), with room for one loss.
const HEARTBEAT_MAX_SECONDS: f64 = 25.0;
/// A delay is worth it when it saves this share of the CPU.
const BATCHING_GAIN: f64 = 0.2;

/// The caps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Caps {
    /// All subscribers.
    pub subscribers: f64,
    /// Subscribers of one channel at the expected rate.
    pub channel_subscribers: f64,
    /// Subscribers of one address.
    pub address_subscribers: f64,
    /// Connects in a second.
    pub connects_per_second: f64,
    /// All replay rings.
    pub ring_bytes: f64,
    /// Seconds.
    pub heartbeat_seconds: f64,
    /// Milliseconds.
    pub batch_delay_ms: f64,
    /// Memory of a subscriber, as far as the trials show it.
    pub bytes_per_subscriber: f64,
}

/// The most subscribers that held at a rate.
#[must_use]
pub fn held<'a>(measured: &'a Measurements, rate: f64) -> Option<&'a Trial> {
    let at_rate = |trial: &&Trial| (trial.point.rate - rate).abs() < 1e-9;
    let holds = |trial: &&Trial| trial.broke(&measured.budget).is_none();
    let trials: Vec<&'a Trial> = measured.load.iter().filter(at_rate).collect();
    trials
        .into_iter()
        .filter(holds)
        .max_by_key(|trial| trial.point.subscribers)
}

/// The lowest rate measured, at which the most subscribers hold.
fn slowest(measured: &Measurements) -> f64 {
    let rates = measured.load.iter().map(|trial| trial.point.rate);
    rates.fold(f64::MAX, f64::min)
}

/// What follows from the measurements; none when nothing held.
#[must_use]
pub fn of(measured: &Measurements) -> Option<Caps> {
    let budget = &measured.budget;
    let quiet = held(measured, slowest(measured))?;
    let channel = held(measured, budget.rate)?;
    let quiet_count = f64::from(quiet.point.subscribers);
    let (idle, base) = memory(quiet);
    #[expect(
        clippy::cast_precision_loss,
        reason = "memory to a fraction of a percent"
    )]
    let memory = budget.memory_bytes as f64;
    let ring = memory * RING_SHARE;
    let room = (memory * budget.headroom - base - ring) / idle;
    let subscribers = room.min(quiet_count).max(1.0);
    let ramps = measured
        .load
        .iter()
        .map(|trial| trial.median("connects_per_second"));
    let connects = ramps.fold(0.0, f64::max);
    Some(Caps {
        subscribers: round(subscribers),
        channel_subscribers: round(f64::from(channel.point.subscribers).min(subscribers)),
        address_subscribers: round((subscribers * ADDRESS_SHARE).max(ADDRESS_MIN)),
        connects_per_second: round(connects * CONNECT_SHARE),
        ring_bytes: ring,
        heartbeat_seconds: heartbeat(measured, subscribers),
        batch_delay_ms: batch_delay(measured),
        bytes_per_subscriber: idle,
    })
}

/// Memory for each subscriber and without any, from the most that held at the lowest rate.
fn memory(quiet: &Trial) -> (f64, f64) {
    // Never nothing: a division by it would promise the world.
    let each = quiet.median("server_bytes_per_subscriber").max(1_024.0);
    let all = quiet.median("server_memory_mib") * MIB;
    (
        each,
        (all - each * f64::from(quiet.point.subscribers)).max(0.0),
    )
}

/// The shortest heartbeat that keeps to its share of the CPU with all subscribers there.
fn heartbeat(measured: &Measurements, subscribers: f64) -> f64 {
    let fits = |trial: &&Trial| {
        let count = f64::from(trial.point.subscribers);
        let cores = trial.median("server_cpu_cores") / count * subscribers;
        cores <= measured.budget.cpus * HEARTBEAT_SHARE
    };
    let seconds = measured.heartbeat.iter().filter(fits);
    let seconds = seconds.filter_map(|trial| trial.point.heartbeat_seconds);
    let shortest = seconds.fold(HEARTBEAT_MAX_SECONDS, f64::min);
    // Below this a mobile device never sleeps.
    shortest.max(15.0)
}

/// The shortest delay that saves enough, while the objective still holds with room; else none.
fn batch_delay(measured: &Measurements) -> f64 {
    let delay = |trial: &&Trial| trial.point.batch_delay_ms.unwrap_or(0.0);
    let cost = |trial: &Trial| trial.median("server_cpu_seconds_per_million");
    let Some(without) = measured.batching.iter().find(|trial| delay(trial) == 0.0) else {
        return 0.0;
    };
    let worth = |trial: &&Trial| {
        cost(trial) <= cost(without) * (1.0 - BATCHING_GAIN)
            && trial.median("latency_p99_ms") <= measured.budget.objective_ms / 4.0
    };
    let delays = measured
        .batching
        .iter()
        .filter(worth)
        .map(|trial| delay(&trial));
    let shortest = delays.filter(|delay| *delay > 0.0).fold(f64::MAX, f64::min);
    // At a rate at which events come further apart than the delay, it only makes them late.
    if shortest < 1_000.0 / measured.budget.rate {
        0.0
    } else {
        Some(shortest)
            .filter(|delay| *delay < f64::MAX)
            .unwrap_or(0.0)
    }
}

/// Two digits: a cap is no measurement.
fn round(value: f64) -> f64 {
    let power = 10_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    (value / power).floor() * power
}

/// The snippet.
#[must_use]
pub fn yaml(measured: &Measurements, caps: &Caps) -> String {
    let mut out = String::new();
    // Writing into memory cannot fail.
    let _ = write(&mut out, measured, caps);
    out
}

fn write(out: &mut String, measured: &Measurements, caps: &Caps) -> std::fmt::Result {
    let (budget, setup) = (&measured.budget, &measured.setup);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and rounded"
    )]
    let count = |value: f64| grouped(value as u64);
    let repeats = measured.load.first().map_or(0, |trial| trial.runs.len());
    writeln!(
        out,
        "# By `loadtest tune` for {} CPU, {} MiB and p99 <= {} ms at {} events/s of 200 bytes a channel.",
        budget.cpus,
        budget.memory_bytes >> 20,
        budget.objective_ms,
        budget.rate
    )?;
    writeln!(
        out,
        "# Measured on {} ({} cores, Linux {}) with {}; medians of {repeats} runs; {:.0} % of each budget used.",
        setup.cpu,
        setup.cores,
        setup.kernel,
        setup.server.as_deref().unwrap_or("a server that was there"),
        budget.headroom * 100.0
    )?;
    let point = |trial: Option<&Trial>| {
        trial.map_or("-".to_owned(), |trial| {
            format!(
                "{} subscribers at {} events/s held: p99 {:.0} ms, {:.2} cores, {:.0} MiB",
                grouped(trial.point.subscribers.into()),
                trial.point.rate,
                trial.median("latency_p99_ms"),
                trial.median("server_cpu_cores"),
                trial.median("server_memory_mib")
            )
        })
    };
    writeln!(out, "limits:")?;
    writeln!(out, "  # {};", point(held(measured, slowest(measured))))?;
    writeln!(
        out,
        "  # memory for each of them: {} bytes.",
        count(caps.bytes_per_subscriber)
    )?;
    writeln!(out, "  subscribers_max: {}", caps.subscribers)?;
    writeln!(out, "  per_address:")?;
    writeln!(
        out,
        "    # Not measured: {:.0} % of all, at least {ADDRESS_MIN}.",
        ADDRESS_SHARE * 100.0
    )?;
    writeln!(out, "    subscribers_max: {}", caps.address_subscribers)?;
    writeln!(
        out,
        "  # Half of the fastest ramp that was seen; the rest is for those who are connected."
    )?;
    writeln!(out, "  connects_per_second: {}", caps.connects_per_second)?;
    writeln!(
        out,
        "  # A quarter of the memory; subscribers have what is left."
    )?;
    writeln!(
        out,
        "  ring_bytes_max: {}MiB",
        (caps.ring_bytes / MIB).floor()
    )?;
    writeln!(out, "defaults:")?;
    writeln!(out, "  # {}.", point(held(measured, budget.rate)))?;
    writeln!(
        out,
        "  channel_subscribers_max: {}",
        caps.channel_subscribers
    )?;
    for trial in &measured.heartbeat {
        writeln!(
            out,
            "  # {} idle subscribers, a heartbeat each {} s: {:.3} cores.",
            grouped(trial.point.subscribers.into()),
            trial.point.heartbeat_seconds.unwrap_or_default(),
            trial.median("server_cpu_cores")
        )?;
    }
    writeln!(out, "  heartbeat: {}s", caps.heartbeat_seconds)?;
    if measured.batching.is_empty() {
        return writeln!(out, "  # This server knows no batch_delay.");
    }
    for trial in &measured.batching {
        writeln!(
            out,
            "  # {} events/s to {} subscribers, delay {} ms: {:.2} CPU seconds a million, p99 {:.0} ms.",
            trial.point.rate,
            grouped(trial.point.subscribers.into()),
            trial.point.batch_delay_ms.unwrap_or_default(),
            trial.median("server_cpu_seconds_per_million"),
            trial.median("latency_p99_ms")
        )?;
    }
    writeln!(out, "  batch_delay: {}ms", caps.batch_delay_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::{Budget, trial::Point};

    fn trial(subscribers: u32, rate: f64, figures: [f64; 3]) -> Trial {
        let names = ["latency_p99_ms", "server_cpu_cores", "server_memory_mib"];
        let mut run: crate::scenario::figures::Figures =
            names.map(str::to_owned).into_iter().zip(figures).collect();
        run.insert("connects_per_second".into(), 4_100.0);
        run.insert("server_bytes_per_subscriber".into(), 4_096.0);
        Trial {
            point: Point {
                subscribers,
                rate,
                heartbeat_seconds: None,
                batch_delay_ms: None,
            },
            runs: vec![run],
        }
    }

    fn measured() -> Measurements {
        let beat = |seconds: f64, cores: f64| {
            let mut trial = trial(10_000, 0.0, [0.0, cores, 50.0]);
            trial.point.heartbeat_seconds = Some(seconds);
            trial
        };
        Measurements {
            setup: crate::scenario::setup::Setup::default(),
            budget: Budget {
                cpus: 1.0,
                memory_bytes: 256 << 20,
                objective_ms: 200.0,
                rate: 10.0,
                headroom: 0.8,
            },
            load: vec![
                trial(1_000, 1.0, [5.0, 0.1, 20.0]),
                trial(16_000, 1.0, [50.0, 0.7, 80.0]),
                trial(1_000, 10.0, [9.0, 0.2, 20.0]),
                trial(6_000, 10.0, [90.0, 0.75, 40.0]),
                trial(8_000, 10.0, [300.0, 0.9, 50.0]),
            ],
            heartbeat: vec![beat(5.0, 0.2), beat(20.0, 0.02)],
            batching: Vec::new(),
        }
    }

    #[test]
    fn caps_follow_from_what_held() {
        let measured = measured();
        let caps = of(&measured).unwrap();
        // 4 KiB each: memory would carry more than the CPU does.
        assert!(
            (caps.bytes_per_subscriber - 4_096.0).abs() < 1e-9,
            "{caps:?}"
        );
        assert!((caps.subscribers - 16_000.0).abs() < 1e-9, "{caps:?}");
        assert!((caps.channel_subscribers - 6_000.0).abs() < 1e-9);
        assert!((caps.address_subscribers - 320.0).abs() < 1e-9);
        assert!((caps.connects_per_second - 2_000.0).abs() < 1e-9);
        assert!((caps.heartbeat_seconds - 20.0).abs() < 1e-9);
        let text = yaml(&measured, &caps);
        let read: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read["limits"]["subscribers_max"], 16_000);
        assert_eq!(read["limits"]["ring_bytes_max"], "64MiB");
        assert_eq!(read["defaults"]["heartbeat"], "20s");
    }

    #[test]
    fn memory_bounds_subscribers_where_it_is_scarce() {
        let mut measured = measured();
        measured.budget.memory_bytes = 110 << 20;
        let caps = of(&measured).unwrap();
        // (88 - 17.5 - 27.5) MiB at 4 KiB each.
        assert!((caps.subscribers - 11_000.0).abs() < 1e-9, "{caps:?}");
    }

    #[test]
    fn a_delay_must_pay_and_events_must_come_within_it() {
        let point = |delay: f64, cost: f64, p99: f64| {
            let mut trial = trial(2_000, 500.0, [p99, 0.5, 50.0]);
            trial.point.batch_delay_ms = Some(delay);
            trial.runs[0].insert("server_cpu_seconds_per_million".into(), cost);
            trial
        };
        let cases = [
            (
                100.0,
                vec![point(0.0, 2.0, 9.0), point(20.0, 1.0, 30.0)],
                20.0,
            ),
            (
                10.0,
                vec![point(0.0, 2.0, 9.0), point(20.0, 1.0, 30.0)],
                0.0,
            ),
            (
                100.0,
                vec![point(0.0, 2.0, 9.0), point(20.0, 1.9, 30.0)],
                0.0,
            ),
            (
                100.0,
                vec![point(0.0, 2.0, 9.0), point(20.0, 1.0, 90.0)],
                0.0,
            ),
            (100.0, vec![], 0.0),
        ];
        for (rate, batching, expected) in cases {
            let mut measured = measured();
            measured.budget.rate = rate;
            measured.batching = batching;
            assert!(
                (batch_delay(&measured) - expected).abs() < 1e-9,
                "{rate} {expected}"
            );
        }
    }

    #[test]
    fn nothing_that_held_gives_no_caps() {
        let mut measured = measured();
        measured
            .load
            .retain(|trial| trial.point.subscribers == 8_000);
        assert_eq!(of(&measured), None);
    }
}
