//! What a run amounts to: the verdict first, then the figures; as text and as JSON.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{app::feed::Stats, fleet::Outcome, plan::Plan, samples::Samples, tally::Counts};

/// From this share of its cores on the client may have been what limited the test.
const CLIENT_BUSY: f64 = 0.85;
const MIB: f64 = 1_048_576.0;

/// A finished run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// How long connecting everybody took.
    pub connect_seconds: f64,
    /// What the subscribers saw.
    pub outcome: Outcome,
    /// Share of the machine's CPU that was busy while measuring, whoever used it.
    pub machine_share: f64,
    /// The publisher's counters at the end.
    pub upstream: Option<Stats>,
    /// How many connections the publisher must have seen.
    pub upstream_connections: Option<u64>,
    /// Announced gaps that pass, all subscribers together.
    pub gaps_max: u64,
    /// The server under test.
    pub server: Option<ServerUsage>,
}

/// The server under test while measuring.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ServerUsage {
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Proportional share of memory at the end.
    pub pss_bytes: u64,
    /// CPU seconds while measuring.
    pub cpu_seconds: f64,
}

/// One line of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// Whether it holds.
    pub pass: bool,
    /// What was found.
    pub found: String,
}

impl Report {
    /// True when every check holds.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.checks().iter().all(|check| check.pass)
    }

    /// The verdict, line by line.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let total = self.outcome.tally.total();
        let check = |name, pass, found: String| Check { name, pass, found };
        let zero = |name, count: u64| check(name, count == 0, grouped(count));
        let (connected, wanted) = (grouped(total.connected), grouped(total.wanted));
        let mut checks = vec![
            check(
                "connected",
                total.connected == total.wanted,
                format!("{connected} of {wanted}"),
            ),
            zero("ended early", total.ends.values().sum()),
            check("delivered", total.delivered > 0, grouped(total.delivered)),
            zero("lost", total.lost),
            zero("doubled", total.doubled),
            zero("reordered", total.reordered),
            zero("torn", total.torn),
            // A server that announces a gap is honest, and yet has not delivered.
            check(
                "gaps announced",
                total.gaps <= self.gaps_max,
                format!(
                    "{} for {} events, {} allowed",
                    grouped(total.gaps),
                    grouped(total.announced),
                    grouped(self.gaps_max)
                ),
            ),
        ];
        if let (Some(wanted), Some(upstream)) = (self.upstream_connections, &self.upstream) {
            let Stats {
                connections,
                connections_total,
                ..
            } = upstream;
            checks.push(check(
                "upstream connections",
                (*connections, *connections_total) == (wanted, wanted),
                format!("{connections} open, {connections_total} in total, {wanted} wanted"),
            ));
        }
        checks
    }

    /// Share of its cores that the client used while measuring.
    #[must_use]
    pub fn client_share(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (self.plan.lanes() as usize).min(cores);
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let available = self.outcome.measured_seconds * threads as f64;
        if available > 0.0 {
            self.outcome.cpu_seconds / available
        } else {
            0.0
        }
    }

    /// The report as JSON: the verdict and everything counted.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "pass": self.is_pass(),
            "checks": self.checks(),
            "client_cpu_share": self.client_share(),
            "latency_ms": {
                "h1": percentiles(&self.outcome.tally.h1.latency),
                "h2": percentiles(&self.outcome.tally.h2.latency),
            },
            "run": self,
        })
    }
}

fn percentiles(samples: &Samples) -> serde_json::Value {
    serde_json::json!({
        "p50": samples.percentile_ms(50.0),
        "p90": samples.percentile_ms(90.0),
        "p99": samples.percentile_ms(99.0),
        "p999": samples.percentile_ms(99.9),
        "max": samples.max_ms(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.outcome.tally;
        let total = tally.total();
        for Check { name, pass, found } in self.checks() {
            writeln!(
                f,
                "{}  {name:<21} {found}",
                if pass { "PASS" } else { "FAIL" }
            )?;
        }
        if total.faulty > 0 {
            writeln!(f, "      subscribers affected  {}", grouped(total.faulty))?;
        }
        for (what, reasons) in [
            ("connect failed", &total.failures),
            ("stream ended", &total.ends),
        ] {
            for (reason, count) in reasons {
                writeln!(f, "      {what}: {reason}: {}", grouped(*count))?;
            }
        }

        self.write_latency(f)?;

        let rate = per_second(total.connected, self.connect_seconds);
        writeln!(
            f,
            "\nconnect: {:.1} s, {rate} subscribers/s",
            self.connect_seconds
        )?;
        for (name, counts) in [("h1", &tally.h1), ("h2", &tally.h2)] {
            if counts.wanted == 0 {
                continue;
            }
            let Counts {
                connect,
                first_byte,
                connected,
                wanted,
                ..
            } = counts;
            write!(
                f,
                "{name:>10}  {} of {}",
                grouped(*connected),
                grouped(*wanted)
            )?;
            for (what, times) in [("connection", connect), ("first byte", first_byte)] {
                if !times.is_empty() {
                    let (p50, p99) = (times.percentile_ms(50.0), times.percentile_ms(99.0));
                    write!(f, "; {what} p50 {p50:.2} ms, p99 {p99:.2} ms")?;
                }
            }
            writeln!(f)?;
        }
        self.write_resources(f, &total)
    }
}

impl Report {
    /// The latency table; events that are not the publisher's carry no time.
    fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.outcome.tally;
        if tally.h1.latency.is_empty() && tally.h2.latency.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nlatency, ms (from the intended send time)")?;
        writeln!(
            f,
            "{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, latency) in [("h1", &tally.h1.latency), ("h2", &tally.h2.latency)] {
            if latency.is_empty() {
                continue;
            }
            write!(f, "{name:>10}")?;
            for percent in [50.0, 90.0, 99.0, 99.9] {
                write!(f, "{:>10.2}", latency.percentile_ms(percent))?;
            }
            writeln!(f, "{:>10.2}", latency.max_ms())?;
        }
        Ok(())
    }

    /// What it took.
    fn write_resources(&self, f: &mut fmt::Formatter<'_>, total: &Counts) -> fmt::Result {
        let seconds = self.outcome.measured_seconds;
        let rate = per_second(total.measured, seconds);
        writeln!(
            f,
            "\ndeliveries: {} in {seconds:.1} s, {rate}/s",
            grouped(total.measured)
        )?;
        let (share, threads) = (self.client_share(), self.plan.lanes());
        let (own, machine) = (share * 100.0, self.machine_share * 100.0);
        writeln!(
            f,
            "client: {own:.0} % of its CPU ({threads} threads); machine {machine:.0} % busy"
        )?;
        if share > CLIENT_BUSY {
            writeln!(
                f,
                "WARNING: the client was the bottleneck; latency and rate are its own"
            )?;
        }
        if let Some(Stats {
            late_us_max,
            overruns,
            ..
        }) = &self.upstream
        {
            #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
            let late_ms = *late_us_max as f64 / 1_000.0;
            writeln!(
                f,
                "publisher: at most {late_ms:.2} ms late, {overruns} overruns"
            )?;
        }
        if let Some(ServerUsage {
            rss_bytes,
            pss_bytes,
            cpu_seconds,
        }) = self.server
        {
            let (rss, pss) = (mib(rss_bytes), mib(pss_bytes));
            let share = if seconds > 0.0 {
                cpu_seconds / seconds * 100.0
            } else {
                0.0
            };
            writeln!(
                f,
                "server: RSS {rss:.1} MiB, PSS {pss:.1} MiB, CPU {cpu_seconds:.2} s ({share:.0} % of a core)"
            )?;
        }
        Ok(())
    }
}

/// A count with thousands separators.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        // Writing into memory cannot fail.
        let _ = out.write_char(digit);
    }
    out
}

fn per_second(count: u64, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, positive"
    )]
    let rate = rate.round() as u64;
    grouped(rate)
}

fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory for people")]
    let bytes = bytes as f64;
    bytes / MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(count), text);
        }
    }
}
