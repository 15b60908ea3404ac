//! What a ring gives back when all rings together hold too much.

use super::Ring;

impl Ring {
    /// Whether [`trim`](Self::trim) may free anything.
    #[must_use]
    pub fn has_spare(&self, keep: usize) -> bool {
        let newest = self.newest.as_ref();
        self.entries.len() > keep || newest.is_some_and(|newest| newest.holds_old())
    }

    /// Frees `wanted` bytes, oldest entries first, but keeps the newest `keep` entries and what is
    /// not yet swept; returns the bytes freed.
    pub fn trim(&mut self, wanted: usize, keep: usize) -> usize {
        let before = self.bytes();
        let swept = self.swept;
        self.lose_old(before.saturating_sub(wanted));
        while before - self.bytes() < wanted
            && self.entries.len() > keep.max(self.ends_kept())
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.sequence <= swept)
        {
            self.evict_one();
            self.lose_old(before.saturating_sub(wanted));
        }
        before - self.bytes()
    }

    /// Lets go of what only readers of the newest still want, down to `bytes` in all.
    fn lose_old(&mut self, bytes: usize) {
        while self.bytes() > bytes
            && let Some(newest) = &mut self.newest
            && newest.lose_oldest()
        {}
    }
}
