//! Whether the process has memory for new subscribers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// New subscribers come in again when use has fallen below the bound by this part of it: they cost
/// memory, so without that they would be let in and turned away by turns.
const MARGIN: usize = 20;

/// What may be used, and whether more is. Those who are in stay in.
#[derive(Debug)]
pub struct Memory {
    max: AtomicUsize,
    short: AtomicBool,
}

impl Default for Memory {
    /// Without a bound.
    fn default() -> Self {
        Self {
            max: AtomicUsize::new(usize::MAX),
            short: AtomicBool::new(false),
        }
    }
}

impl Memory {
    /// Bytes that may be used; `None`: any.
    pub fn set_max(&self, max: Option<usize>) {
        self.max.store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Notes that `used` bytes are. `Some`: whether memory is short has changed.
    pub fn note(&self, used: usize) -> Option<bool> {
        let max = self.max.load(Ordering::Relaxed);
        let was_short = self.is_short();
        let bound = if was_short { max - max / MARGIN } else { max };
        let is_short = used > bound;
        self.short.store(is_short, Ordering::Relaxed);
        (is_short != was_short).then_some(is_short)
    }

    /// No more subscribers.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_above_the_bound_until_well_below_it() {
        let memory = Memory::default();
        assert_eq!(memory.note(usize::MAX), None, "no bound");
        memory.set_max(Some(1_000));
        for (used, change, is_short) in [
            (1_000, None, false),
            (1_001, Some(true), true),
            (1_500, None, true),
            (951, None, true),
            (950, Some(false), false),
            (1_000, None, false),
        ] {
            assert_eq!(memory.note(used), change, "{used}");
            assert_eq!(memory.is_short(), is_short, "{used}");
        }
    }

    #[test]
    fn a_bound_that_is_lifted_no_longer_holds() {
        let memory = Memory::default();
        memory.set_max(Some(1));
        assert_eq!(memory.note(2), Some(true));
        memory.set_max(None);
        assert_eq!(memory.note(2), Some(false));
    }
}
