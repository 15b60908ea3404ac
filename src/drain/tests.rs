use proptest::prelude::*;

use super::*;

/// Runs a slope with the given pauses between asks and returns the closings per second.
fn closings(slope: &mut Slope, members: usize, seconds: usize, steps: &[u64]) -> Vec<usize> {
    let mut per_second = vec![0; seconds];
    let mut left = members;
    let mut now = 0;
    for step in steps.iter().cycle() {
        now += step;
        let closed = slope.due(Millis(now), left);
        left -= closed;
        let second = usize::try_from(now.saturating_sub(1) / 1_000).unwrap();
        if let Some(count) = per_second.get_mut(second) {
            *count += closed;
        }
        if now >= u64::try_from(seconds).unwrap() * 1_000 {
            break;
        }
    }
    assert_eq!(left, 0, "all are gone at the end");
    per_second
}

fn assert_even(per_second: &[usize], members: usize) {
    let even = members as f64 / per_second.len() as f64;
    for (second, closed) in per_second.iter().enumerate() {
        let off = (*closed as f64 - even).abs();
        // Members are whole, and a step that straddles two seconds counts in one of them.
        assert!(
            off <= even * 0.3 + 1.0,
            "second {second}: {closed} of {even}: {per_second:?}"
        );
    }
}

#[test]
fn a_thousand_over_twenty_seconds_are_fifty_a_second() {
    let mut slope = Slope::new(Millis(0), Duration::from_secs(20), 0.0);
    let per_second = closings(&mut slope, 1_000, 20, &[100]);
    assert!(
        per_second.iter().all(|closed| (49..=51).contains(closed)),
        "{per_second:?}"
    );
}

#[test]
fn a_stall_makes_no_cliff() {
    let mut slope = Slope::new(Millis(0), Duration::from_secs(20), 0.0);
    let mut left = 1_000;
    for now in (0..=5_000).step_by(100) {
        left -= slope.due(Millis(now), left);
    }
    // The thread stands still for five seconds.
    let first = slope.due(Millis(10_000), left);
    assert!(
        first <= 75,
        "{first} at once after a stall, one second's worth and no more"
    );
    left -= first;
    let next = slope.due(Millis(10_100), left);
    assert!(
        (6..=9).contains(&next),
        "the rest goes a little faster: {next}"
    );
}

#[test]
fn late_joiners_and_early_leavers_change_the_slope_not_the_end() {
    let mut slope = Slope::new(Millis(0), Duration::from_secs(10), 0.0);
    let mut left: usize = 100;
    for now in (100..10_000).step_by(100) {
        left -= slope.due(Millis(now), left);
        if now == 5_000 {
            left += 100;
        }
    }
    assert!(left <= 4, "{left} right before the end");
    assert_eq!(slope.due(Millis(10_000), left), left);
}

#[test]
fn no_window_closes_all_at_once() {
    assert_eq!(
        Slope::new(Millis(7), Duration::ZERO, 0.5).due(Millis(7), 12),
        12
    );
}

#[test]
fn time_that_stands_still_or_steps_back_closes_nobody() {
    let mut slope = Slope::new(Millis(1_000), Duration::from_secs(10), 0.0);
    assert_eq!(slope.due(Millis(1_000), 100), 0);
    assert_eq!(slope.due(Millis(0), 100), 0);
    assert_eq!(slope.due(Millis(1_100), 100), 1);
}

#[test]
fn a_hastened_slope_ends_earlier_and_never_later() {
    let mut slope = Slope::new(Millis(0), Duration::from_secs(20), 0.0);
    assert_eq!(slope.hastened(), Duration::ZERO);
    slope.hasten(Millis(4_000), Duration::from_secs(2));
    assert_eq!(slope.hastened(), Duration::from_secs(14));
    slope.hasten(Millis(5_000), Duration::from_secs(60));
    assert_eq!(slope.hastened(), Duration::from_secs(14));
    assert!(slope.due(Millis(5_000), 100) < 100);
    assert_eq!(slope.due(Millis(6_000), 100), 100);
}

proptest! {
    #[test]
    fn closings_are_even_within_thirty_percent(
        members in 0_usize..20_000,
        seconds in 2_usize..60,
        phase in 0.0..1.0_f64,
        steps in prop::collection::vec(10_u64..=200, 1..50),
    ) {
        let window = Duration::from_secs(seconds as u64);
        let mut slope = Slope::new(Millis(0), window, phase);
        let per_second = closings(&mut slope, members, seconds, &steps);
        assert_even(&per_second, members);
    }

    #[test]
    fn shards_together_are_as_even_as_one(
        shards in prop::collection::vec((0_usize..40, 0.0..1.0_f64), 32..=64),
    ) {
        let mut sum = vec![0; 5];
        let mut members = 0;
        for (own, phase) in shards {
            members += own;
            let mut slope = Slope::new(Millis(0), Duration::from_secs(5), phase);
            for (all, one) in sum.iter_mut().zip(closings(&mut slope, own, 5, &[50])) {
                *all += one;
            }
        }
        assert_even(&sum, members);
    }
}
