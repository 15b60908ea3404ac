//! The figures of a run that depend on when something was so: use of CPU and memory, drift,
//! recovery and drain.

use super::{
    measure::{number, ratio, set},
    record::Run,
    sampler::Sample,
    server::Drained,
};
use crate::{tally::Counts, timeline::Second};

/// Streams may be missing for a moment while others come and go.
const ALL_BACK: f64 = 0.999;
const MIB: f64 = 1_048_576.0;

/// Of `seconds` of a run those of its hold that are whole.
pub(super) fn within<'a>(run: &Run, seconds: &'a [Second]) -> &'a [Second] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of a run"
    )]
    let (from, to) = (run.hold_from.ceil() as usize, run.hold_to.floor() as usize);
    let to = to.min(seconds.len());
    seconds.get(from.min(to)..to).unwrap_or_default()
}

/// The readings of the hold, both ends included.
pub(super) fn held(run: &Run) -> Vec<Sample> {
    let inside = |sample: &&Sample| (run.hold_from..=run.hold_to).contains(&sample.at);
    // The first one is taken just as the hold begins.
    let before = run.samples.iter().rfind(|sample| sample.at < run.hold_from);
    let first = before.filter(|sample| run.hold_from - sample.at < 0.1);
    first
        .into_iter()
        .chain(run.samples.iter().filter(inside))
        .copied()
        .collect()
}

pub(super) fn server(run: &mut Run, total: &Counts) {
    let held = held(run);
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return;
    };
    let cpu = last.server_cpu_seconds.zip(first.server_cpu_seconds);
    if let Some(cpu) = cpu.map(|(last, first)| last - first) {
        if let Some(cores) = ratio(cpu, last.at - first.at) {
            set(run, "server_cpu_cores", cores);
        }
        if let Some(each) = ratio(cpu * 1e6, number(total.measured)) {
            set(run, "server_cpu_seconds_per_million", each);
        }
    }
    let rss = run
        .samples
        .iter()
        .filter_map(|sample| sample.server_rss_bytes);
    if let Some(highest) = rss.max() {
        set(run, "server_memory_mib", number(highest) / MIB);
    }
    let before = run
        .samples
        .first()
        .and_then(|sample| sample.server_rss_bytes);
    if let (Some(before), Some(after)) = (before, first.server_rss_bytes)
        && let Some(each) = ratio(
            number(after.saturating_sub(before)),
            streams_at(run, first.at),
        )
    {
        set(run, "server_bytes_per_subscriber", each);
    }
    let memory = |from: f64, to: f64| {
        let part = part(&held, from, to).iter();
        mean(part.filter_map(|sample| sample.server_rss_bytes.map(number)))
    };
    let growth = memory(0.25, 0.5).zip(memory(0.75, 1.0));
    if let Some(share) = growth.and_then(|(early, late)| ratio(late - early, early)) {
        set(run, "server_memory_growth_percent", share * 100.0);
    }
}

/// A part of a list, from one share of its length to another.
fn part<T>(list: &[T], from: f64, to: f64) -> &[T] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let at = |share: f64| ((list.len() as f64 * share).round() as usize).min(list.len());
    list.get(at(from)..at(to)).unwrap_or_default()
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    ratio(sum, count)
}

/// Streams open at the end of each second.
#[must_use]
pub fn streams(run: &Run) -> Vec<f64> {
    let mut open = 0.0;
    let each = run.seconds.iter().map(|second| {
        open += number(second.opened) - number(second.ended);
        open
    });
    each.collect()
}

/// Streams open at a time.
fn streams_at(run: &Run, at: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a second of a run"
    )]
    let second = at.max(0.0) as usize;
    streams(run).get(second).copied().unwrap_or(0.0)
}

/// `steady`: second by second what those saw whose latency counts.
pub(super) fn over_time(run: &mut Run, steady: &[Second]) {
    let p99 = |from: f64, to: f64| {
        let mut sum = Second::default();
        for second in part(within(run, steady), from, to) {
            sum.merge(second);
        }
        sum.percentile_ms(99.0)
    };
    let drift = p99(0.25, 0.5).zip(p99(0.75, 1.0));
    if let Some(share) = drift.and_then(|(early, late)| ratio(late - early, early)) {
        set(run, "latency_drift_percent", share * 100.0);
    }
    if let Some(seconds) = recovery(run) {
        set(run, "recovery_seconds", seconds);
    }
}

/// From the last event of the run until all streams were back; none when they were not, or when
/// nothing happened.
fn recovery(run: &Run) -> Option<f64> {
    let (first, last) = (run.moments.first()?.at, run.moments.last()?.at);
    let wanted = streams_at(run, first - 1.0) * ALL_BACK;
    let open = streams(run);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a second of a run"
    )]
    let (from, to) = (last as usize, (run.hold_to as usize).min(open.len()));
    let during = open.get(from.min(to)..to)?;
    let Some(missing) = during.iter().rposition(|open| *open < wanted) else {
        return Some(0.0);
    };
    #[expect(clippy::cast_precision_loss, reason = "a second of a run")]
    let back = (missing + 1 < during.len()).then(|| (from + missing + 1) as f64 - last);
    back.map(|seconds| seconds.max(0.0))
}

pub(super) fn drain(run: &mut Run, drained: Option<Drained>) {
    let Some(drained) = drained else { return };
    set(run, "drain_seconds", drained.seconds);
    set(run, "drain_clean", f64::from(u8::from(drained.clean)));
    let began = run.moments.iter().find(|moment| moment.what == "drain");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a second of a run"
    )]
    let from = began.map_or(0, |moment| moment.at as usize);
    let ended: Vec<u64> = run
        .seconds
        .iter()
        .skip(from)
        .map(|second| second.ended)
        .collect();
    let busy = |count: &u64| *count > 0;
    let span = ended
        .iter()
        .position(busy)
        .zip(ended.iter().rposition(busy));
    if let Some((first, last)) = span {
        let sum: u64 = ended.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
        let even = number(sum) / (last - first + 1) as f64;
        let peak = ended.iter().max().copied().map_or(0.0, number);
        if let Some(peak) = ratio(peak, even) {
            set(run, "drain_peak_ratio", peak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::record::Moment;

    /// A run with these streams opened and ended in each second, all of it measured.
    fn run(changes: &[(u64, u64)], moments: &[(f64, &str)]) -> Run {
        let second = |(opened, ended): &(u64, u64)| Second {
            opened: *opened,
            ended: *ended,
            ..Second::default()
        };
        let moment = |(at, what): &(f64, &str)| Moment {
            at: *at,
            what: (*what).to_owned(),
        };
        Run {
            seconds: changes.iter().map(second).collect(),
            moments: moments.iter().map(moment).collect(),
            hold_to: number(changes.len() as u64),
            ..Run::default()
        }
    }

    #[test]
    fn recovery_lasts_until_all_streams_are_back() {
        type Case = (
            &'static [(u64, u64)],
            &'static [(f64, &'static str)],
            Option<f64>,
        );
        const CUT: [(f64, &str); 1] = [(2.0, "restart-server")];
        let cases: [Case; 5] = [
            (&[(9, 0), (0, 0), (0, 0)], &[], None),
            (&[(9, 0), (0, 0), (0, 0), (0, 0)], &CUT, Some(0.0)),
            (
                &[(9, 0), (0, 0), (0, 9), (5, 0), (4, 0), (0, 0)],
                &CUT,
                Some(2.0),
            ),
            (
                &[(9, 0), (0, 0), (0, 9), (5, 0), (3, 0), (0, 0)],
                &CUT,
                None,
            ),
            // It counts from the last event.
            (
                &[(9, 0), (0, 0), (0, 9), (0, 0), (9, 0), (0, 0)],
                &[(2.0, "restart-server"), (3.0, "the server is back")],
                Some(1.0),
            ),
        ];
        for (changes, moments, expected) in cases {
            assert_eq!(recovery(&run(changes, moments)), expected, "{changes:?}");
        }
    }

    #[test]
    fn an_even_drain_has_a_ratio_of_one() {
        let drained = |ended: &[u64], clean| {
            let changes: Vec<(u64, u64)> = ended.iter().map(|ended| (0, *ended)).collect();
            let mut run = run(&changes, &[(1.0, "drain")]);
            let drained = Drained {
                seconds: 4.0,
                clean,
            };
            super::drain(&mut run, Some(drained));
            run.figures
        };
        for (clean, expected) in [(true, 1.0), (false, 0.0)] {
            assert_eq!(drained(&[0, 5], clean)["drain_clean"], expected);
        }
        let ratio = |ended: &[u64]| drained(ended, true).get("drain_peak_ratio").copied();
        assert_eq!(ratio(&[0, 5, 5, 5, 0]), Some(1.0));
        assert_eq!(ratio(&[0, 0, 2, 2, 8, 0]), Some(2.0));
        // What ended before is not of the drain.
        assert_eq!(ratio(&[99, 3, 0, 3]), Some(1.5));
        assert_eq!(ratio(&[0, 0]), None);
    }

    #[test]
    fn cpu_and_memory_are_those_of_the_hold() {
        let sample = |at: f64, cpu: f64, mib: u64| Sample {
            at,
            server_cpu_seconds: Some(cpu),
            server_rss_bytes: Some(mib << 20),
            load_cpu_seconds: cpu * 2.0,
            ..Sample::default()
        };
        let mut run = run(&[(1_024, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)], &[]);
        run.samples = vec![
            sample(0.0, 0.0, 10),
            sample(1.95, 3.0, 12),
            sample(3.0, 3.5, 20),
            sample(4.0, 4.0, 20),
            sample(5.0, 4.5, 30),
            sample(6.0, 5.0, 30),
        ];
        (run.hold_from, run.hold_to) = (2.0, 6.0);
        let total = Counts {
            measured: 1_000_000,
            ..Counts::default()
        };
        server(&mut run, &total);
        let figure = |name: &str| run.figures[name];
        assert!((figure("server_cpu_seconds_per_million") - 2.0).abs() < 1e-9);
        assert!((figure("server_cpu_cores") - 2.0 / 4.05).abs() < 1e-9);
        assert!((figure("server_memory_mib") - 30.0).abs() < 1e-9);
        assert!((figure("server_bytes_per_subscriber") - 2_048.0).abs() < 1e-9);
        assert!((figure("server_memory_growth_percent") - 50.0).abs() < 1e-9);
    }
}
