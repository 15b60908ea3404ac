//! The rhythm of an app's comments: an app that sends them by a clock and falls silent is frozen, where
//! one without such a clock may just be quiet. Pure.

use std::time::Duration;

use crate::clock::Millis;

/// Gaps between five comments in a row.
const GAPS: u32 = 4;

/// Gaps are alike, and the comments between them regular, when the longest is at most so many times
/// the shortest: clocks of apps slip with their load.
const ALIKE: u32 = 2;

/// Comments closer than this are one: some apps open with a padding of several.
const BURST: Duration = Duration::from_millis(100);

/// Silence means something after so many of the longest gap: three comments are missing by then.
const SILENT_GAPS: u32 = 4;

/// A shorter silence never means anything: any process may stand still for so long.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// What is known of the comments of one stream.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// When the last comment came.
    last: Option<Millis>,
    /// How many gaps in a row were alike.
    alike: u32,
    shortest: Duration,
    longest: Duration,
}

impl Rhythm {
    /// A comment came.
    pub(super) fn comment(&mut self, now: Millis) {
        let Some(last) = self.last else {
            self.last = Some(now);
            return;
        };
        let gap = now.since(last);
        if gap < BURST {
            return;
        }
        self.last = Some(now);
        let (shortest, longest) = (self.shortest.min(gap), self.longest.max(gap));
        let is_known = self.alike == GAPS;
        if is_known || (self.alike > 0 && longest <= shortest * ALIKE) {
            // Once it is known it only widens: an app may comment less while it has events to send.
            (self.shortest, self.longest) = (shortest, longest);
            self.alike = GAPS.min(self.alike + 1);
        } else {
            (self.shortest, self.longest, self.alike) = (gap, gap, 1);
        }
    }

    /// The silence that means that the app is frozen. `None`: it has shown no rhythm.
    pub(super) fn silence_max(&self) -> Option<Duration> {
        let is_known = self.alike == GAPS;
        is_known.then(|| (self.longest * SILENT_GAPS).max(SILENCE_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The silence that means something after comments at these times, in milliseconds.
    #[track_caller]
    fn check(times: &[u64], expected: Option<u64>) {
        let mut rhythm = Rhythm::default();
        for time in times {
            rhythm.comment(Millis(*time));
        }
        let silence = rhythm.silence_max().map(|max| max.as_millis());
        assert_eq!(silence, expected.map(u128::from), "{times:?}");
    }

    #[test]
    fn five_regular_comments_are_a_rhythm() {
        check(&[], None);
        check(&[0, 15_000, 30_000, 45_000], None);
        check(&[0, 15_000, 30_000, 45_000, 60_000], Some(60_000));
        check(&[7, 10_007, 22_007, 31_007, 45_007], Some(56_000));
    }

    #[test]
    fn comments_at_any_time_are_none() {
        check(&[0, 1_000, 9_000, 10_000, 60_000, 61_000], None);
        let doubling: Vec<u64> = (1..20).map(|n| 1_000 << n).collect();
        check(&doubling, None);
    }

    #[test]
    fn a_rhythm_may_begin_after_a_start_without_one() {
        check(&[0, 60_000, 61_000, 62_000, 63_000], None);
        check(&[0, 60_000, 61_000, 62_000, 63_000, 64_000], Some(4_000));
    }

    #[test]
    fn a_burst_of_comments_is_one() {
        check(&[0, 1, 2, 3, 4, 5, 6, 7], None);
        check(
            &[0, 9, 1_000, 1_009, 2_000, 3_000, 3_001, 4_000],
            Some(4_000),
        );
    }

    #[test]
    fn the_longest_gap_counts_also_later() {
        check(&[0, 1_000, 2_000, 3_000, 4_000, 7_000], Some(12_000));
        check(&[0, 200, 400, 600, 800], Some(1_000));
    }
}
