//! The order of one subscriber's events: nothing lost, doubled or out of order.

/// Holes remembered per subscriber; older ones stay lost for good.
const HOLES_MAX: usize = 64;

/// Where one subscriber is. 32 bytes; holes are on the heap, and only once there is a fault.
#[derive(Debug, Default)]
pub struct Sequence {
    first: u64,
    last: u64,
    seen: bool,
    gap_announced: bool,
    gaps: u32,
    holes: Option<Box<Holes>>,
}

/// What is missing so far, oldest first. A type of its own keeps [`Sequence`] at one pointer for it.
#[derive(Debug, Default)]
struct Holes(Vec<Hole>);

/// A run of numbers that did not come (yet), both ends included.
#[derive(Debug, Clone, Copy)]
struct Hole {
    from: u64,
    to: u64,
}

/// What the arrival of a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first one, or the next one.
    Next,
    /// Some were skipped and nobody said so.
    Lost(u64),
    /// Some were skipped after a gap was announced.
    Announced(u64),
    /// One that was counted as lost came after all, out of order.
    Late,
    /// It had come before.
    Double,
}

impl Sequence {
    /// Takes the number of an event that arrived.
    pub fn arrive(&mut self, number: u64) -> Step {
        if !self.seen {
            *self = Self {
                first: number,
                last: number,
                seen: true,
                gaps: self.gaps,
                ..Self::default()
            };
            return Step::Next;
        }
        if number <= self.last {
            return if self.fill(number) {
                Step::Late
            } else {
                Step::Double
            };
        }
        let announced = std::mem::take(&mut self.gap_announced);
        let missing = number - self.last - 1;
        let before = std::mem::replace(&mut self.last, number);
        match (missing, announced) {
            (0, _) => Step::Next,
            (_, true) => Step::Announced(missing),
            (_, false) => {
                self.remember(Hole {
                    from: before + 1,
                    to: number - 1,
                });
                Step::Lost(missing)
            }
        }
    }

    /// The server announced a gap: the next jump is not a silent loss.
    pub fn announce_gap(&mut self) {
        self.gap_announced = true;
        self.gaps += 1;
    }

    /// Gaps that were announced so far.
    #[must_use]
    pub fn gaps(&self) -> u32 {
        self.gaps
    }

    /// The number that should arrive next.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.seen.then(|| self.last + 1)
    }

    /// Number of the first event that arrived.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.seen.then_some(self.first)
    }

    /// The highest number that arrived.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.seen.then_some(self.last)
    }

    /// True once `target` or a later one arrived.
    #[must_use]
    pub fn has_reached(&self, target: u64) -> bool {
        self.seen && self.last >= target
    }

    /// How many of the events in `(mark, target]` are missing at both ends: a subscriber that was
    /// connected when `mark` was published owes the first of them, and all up to `target`.
    #[must_use]
    pub fn missing_at_ends(&self, mark: Option<u64>, target: u64) -> u64 {
        let (Some(first), Some(last)) = (self.first(), self.last()) else {
            // Without a mark all that is known is that others got something.
            return mark.map_or(1, |mark| target.saturating_sub(mark));
        };
        let head = mark.map_or(0, |mark| first.saturating_sub(mark + 1));
        head + target.saturating_sub(last)
    }

    fn remember(&mut self, hole: Hole) {
        let holes = self.holes.get_or_insert_default();
        holes.0.push(hole);
        holes.bound();
    }

    /// Fills a hole with `number`; false when there is none.
    fn fill(&mut self, number: u64) -> bool {
        self.holes
            .as_deref_mut()
            .is_some_and(|holes| holes.fill(number))
    }
}

impl Holes {
    /// As [`Sequence::fill`]. What is left of a hole stays in its place.
    fn fill(&mut self, number: u64) -> bool {
        let has = |hole: &Hole| (hole.from..=hole.to).contains(&number);
        let Some(at) = self.0.iter().position(has) else {
            return false;
        };
        let Hole { from, to } = self.0.remove(at);
        let before = (from < number).then(|| Hole {
            from,
            to: number - 1,
        });
        let after = (number < to).then(|| Hole {
            from: number + 1,
            to,
        });
        self.0.splice(at..at, before.into_iter().chain(after));
        self.bound();
        true
    }

    /// Forgets the oldest when there is one too many.
    fn bound(&mut self) {
        if self.0.len() > HOLES_MAX {
            self.0.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Announced, Double, Late, Lost, Next};

    #[test]
    fn each_arrival_is_judged() {
        let cases: [(&[u64], &[Step]); 6] = [
            (&[5, 6, 7], &[Next, Next, Next]),
            (&[5, 8, 9], &[Next, Lost(2), Next]),
            (&[5, 5, 6, 6], &[Next, Double, Next, Double]),
            (&[1, 3, 2, 4], &[Next, Lost(1), Late, Next]),
            (
                &[1, 6, 4, 4, 2, 3, 5, 5],
                &[Next, Lost(4), Late, Double, Late, Late, Late, Double],
            ),
            (&[3, 1], &[Next, Double]),
        ];
        for (numbers, expected) in cases {
            let mut sequence = Sequence::default();
            let steps: Vec<Step> = numbers
                .iter()
                .map(|number| sequence.arrive(*number))
                .collect();
            assert_eq!(steps, expected, "{numbers:?}");
        }
    }

    #[test]
    fn an_announced_gap_excuses_one_jump() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(1), Next);
        sequence.announce_gap();
        assert_eq!(sequence.arrive(4), Announced(2));
        assert_eq!(sequence.arrive(6), Lost(1));
    }

    #[test]
    fn what_is_missing_at_the_ends_counts() {
        let run = |numbers: &[u64], mark, target| {
            let mut sequence = Sequence::default();
            for number in numbers {
                sequence.arrive(*number);
            }
            sequence.missing_at_ends(mark, target)
        };
        assert_eq!(run(&[8, 9, 10], Some(9), 10), 0);
        assert_eq!(run(&[10, 11], Some(9), 10), 0);
        assert_eq!(run(&[12], Some(9), 12), 2);
        assert_eq!(run(&[10, 11], Some(9), 15), 4);
        assert_eq!(run(&[], Some(9), 15), 6);
        assert_eq!(run(&[], None, 15), 1);
    }

    #[test]
    fn memory_for_holes_is_bounded() {
        let mut sequence = Sequence::default();
        let holes = |sequence: &Sequence| {
            let holes = sequence.holes.as_ref().unwrap();
            let oldest_first = holes.0.is_sorted_by(|one, other| one.to < other.from);
            assert!(oldest_first, "{holes:?}");
            holes.0.len()
        };
        // As many holes as are remembered, each of three numbers.
        for number in 0..=HOLES_MAX as u64 {
            sequence.arrive(number * 4);
        }
        assert_eq!(holes(&sequence), HOLES_MAX);
        // The middle of one: it becomes two, and the oldest is forgotten.
        assert_eq!(sequence.arrive(4 * 30 + 2), Late);
        assert_eq!(holes(&sequence), HOLES_MAX);
        assert_eq!(sequence.arrive(1), Double);
        assert_eq!(sequence.arrive(4 * 30 + 1), Late);
        assert_eq!(holes(&sequence), HOLES_MAX - 1);
        for number in 1_000..2_000 {
            sequence.arrive(number * 2);
            assert!(holes(&sequence) <= HOLES_MAX);
        }
        assert_eq!(holes(&sequence), HOLES_MAX);
        assert!(size_of::<Sequence>() <= 32);
    }
}
