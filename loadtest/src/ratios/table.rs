//! The table as Markdown, which is readable as text too.

use std::fmt;

use super::{Ratios, Verdict};

/// Figures worth a column, with the head of that column.
const COLUMNS: [(&str, &str); 10] = [
    ("deliveries_per_second", "deliveries/s"),
    ("server_us_per_delivery", "CPU us/delivery"),
    ("server_share", "server, cores"),
    ("load_share", "load, cores"),
    ("others_share", "others, cores"),
    ("latency_p99_ms", "p99 ms"),
    ("server_us_per_connect", "CPU us/connect"),
    ("bytes_per_subscriber", "bytes/subscriber"),
    ("requests_per_second", "requests/s"),
    ("server_us_per_request", "CPU us/request"),
];

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| shape | figure | over | runs | median | lowest to highest | by CPU | bar | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for verdict in &self.verdicts {
            write_verdict(f, verdict)?;
        }
        write!(f, "\n| shape | server | runs |")?;
        for (_, head) in COLUMNS {
            write!(f, " {head} |")?;
        }
        writeln!(f, "\n|---|---|---|{}", "---|".repeat(COLUMNS.len()))?;
        for medians in &self.medians {
            write!(
                f,
                "| {} | {} | {} |",
                medians.shape, medians.server, medians.runs
            )?;
            for (figure, _) in COLUMNS {
                match medians.figures.get(figure) {
                    Some(value) => write!(f, " {} |", number(*value))?,
                    None => f.write_str(" |")?,
                }
            }
            writeln!(f)?;
        }
        for fault in &self.faults {
            writeln!(f, "\nFAIL: {fault}")?;
        }
        for fault in &self.faults_of_peers {
            writeln!(f, "\nnote: {fault}")?;
        }
        Ok(())
    }
}

fn write_verdict(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Verdict {
        shape,
        figure,
        peer,
        runs,
        value,
        spread,
        by_cpu,
        bar,
        pass,
        doubtful,
    } = verdict;
    let peer = peer.unwrap_or("-");
    let value = value.map_or("-".to_owned(), number);
    let spread = spread.map_or("-".to_owned(), |(low, high)| {
        format!("{} to {}", number(low), number(high))
    });
    let by_cpu = by_cpu.map_or("-".to_owned(), number);
    let verdict = match pass {
        Some(true) => "PASS",
        Some(false) => "FAIL",
        None => "",
    };
    let doubt = if *doubtful { "?" } else { "" };
    writeln!(
        f,
        "| {shape} | {figure} | {peer} | {runs} | {value} | {spread} | {by_cpu} | {bar} | {verdict}{doubt} |"
    )
}

/// A number with as many digits as a reader needs.
#[must_use]
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        1_000.0.. => 0,
        100.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let cases = [
            (0.0512, "0.051"),
            (0.9, "0.900"),
            (1.25, "1.25"),
            (123.45, "123.5"),
            (3_353_600.4, "3353600"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
