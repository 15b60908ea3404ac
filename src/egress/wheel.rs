//! A coarse timer wheel: one for a shard, no timer for a subscriber.

/// Ticks ahead that an entry can be scheduled; beyond it fires early and is scheduled again.
const SLOTS: usize = 1024;

/// Entries by the tick at which they are due.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    now: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at `now`.
    #[must_use]
    pub(super) fn new(now: u64) -> Self {
        Self {
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            now,
        }
    }

    /// Schedules `entry` for `tick`: not before the next one, not beyond the wheel's reach.
    pub(super) fn schedule(&mut self, entry: T, tick: u64) {
        let tick = tick.clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        if let Some(slot) = self.slots.get_mut(Self::index(tick)) {
            slot.push(entry);
        }
    }

    /// Moves to `tick` and returns what was due on the way.
    pub(super) fn advance(&mut self, tick: u64) -> Vec<T> {
        let mut due = Vec::new();
        let steps = tick.saturating_sub(self.now).min(SLOTS as u64);
        for step in 1..=steps {
            if let Some(slot) = self.slots.get_mut(Self::index(self.now + step)) {
                due.append(slot);
                // A burst of joiners leaves no burst of memory behind.
                slot.shrink_to(64);
            }
        }
        self.now = self.now.max(tick);
        due
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is below SLOTS"
    )]
    const fn index(tick: u64) -> usize {
        (tick % SLOTS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_at_their_tick() {
        let mut wheel = Wheel::new(100);
        wheel.schedule("b", 103);
        wheel.schedule("a", 101);
        wheel.schedule("past", 7);
        assert_eq!(wheel.advance(100), Vec::<&str>::new());
        assert_eq!(wheel.advance(101), ["a", "past"]);
        assert_eq!(wheel.advance(102), Vec::<&str>::new());
        assert_eq!(wheel.advance(110), ["b"]);
    }

    #[test]
    fn nothing_is_lost_when_time_leaps_or_reaches_far() {
        let mut wheel = Wheel::new(0);
        for tick in [1, 500, 1_023, 5_000] {
            wheel.schedule(tick, tick);
        }
        let mut due = wheel.advance(1_000_000);
        due.sort_unstable();
        assert_eq!(
            due,
            [1, 500, 1_023, 5_000],
            "the far one fires early, never late"
        );
    }
}
