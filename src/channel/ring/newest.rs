//! What a ring keeps for readers that are content with the newest event of each key. Pure.
//!
//! Each entry knows which later one has its key, so a reader that catches up passes over it. And what
//! the ring lets go of although nothing newer has its key stays here, within the same bounds again:
//! a value that seldom changes is not lost on readers because others change often.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::{Entry, Ring};
use crate::{
    clock::Millis,
    config::model::{KeyBy, RingLimits},
};

/// What the mark of an entry costs: itself, and a key with its allocation and its place in the
/// index, as if each entry had one of its own.
const MARK_OVERHEAD: usize = 96;

/// One allocation for all events that have it.
type Key = Arc<[u8]>;

/// Of an entry that the ring holds.
#[derive(Debug, Default)]
struct Mark {
    key: Option<Key>,
    /// Sequence of the next event with this key; 0: none yet.
    successor: u64,
}

impl Mark {
    fn cost(&self) -> usize {
        MARK_OVERHEAD + self.key.as_ref().map_or(0, |key| key.len())
    }
}

/// The newest event of each key.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) by: Arc<KeyBy>,
    /// One for each entry that the ring holds, in its order.
    marks: VecDeque<Mark>,
    /// Where the newest event of each key stands, in the ring or in `old`.
    places: HashMap<Key, u64>,
    /// Entries that the ring let go of and that nothing newer stands for.
    old: BTreeMap<u64, (Entry, Mark)>,
    /// Bytes accounted for `old`, and for all marks.
    old_bytes: usize,
    mark_bytes: usize,
    /// The newest entry that is gone for good although nothing newer stands for it.
    lost: u64,
}

impl Newest {
    /// For a ring that holds `held` entries, whose keys nobody knows any more, up to `head`.
    pub(super) fn new(by: Arc<KeyBy>, held: usize, head: u64) -> Self {
        let marks: VecDeque<Mark> = std::iter::repeat_with(Mark::default).take(held).collect();
        Self {
            by,
            mark_bytes: marks.iter().map(Mark::cost).sum(),
            marks,
            places: HashMap::new(),
            old: BTreeMap::new(),
            old_bytes: 0,
            lost: head - held as u64,
        }
    }

    /// The entry `sequence` is appended to the ring.
    pub(super) fn append(&mut self, key: Option<Cow<'_, [u8]>>, sequence: u64) {
        let key = key.map(|key| match self.places.get_key_value(&*key) {
            Some((known, _)) => known.clone(),
            None => Key::from(&*key),
        });
        let mark = Mark { key, successor: 0 };
        if let Some(key) = &mark.key
            && let Some(before) = self.places.insert(key.clone(), sequence)
        {
            self.succeed(before, sequence);
        }
        self.mark_bytes += mark.cost();
        self.marks.push_back(mark);
    }

    /// The event `sequence`, which is about to be appended, has the key of the one `before` it.
    fn succeed(&mut self, before: u64, sequence: u64) {
        let back = usize::try_from(sequence - before).unwrap_or(usize::MAX);
        let index = self.marks.len().checked_sub(back);
        if let Some(mark) = index.and_then(|index| self.marks.get_mut(index)) {
            mark.successor = sequence;
        } else if let Some((entry, mark)) = self.old.remove(&before) {
            self.old_bytes -= entry.cost();
            self.mark_bytes -= mark.cost();
        }
    }

    /// The ring lets go of its oldest entry.
    pub(super) fn take_over(&mut self, entry: Entry) {
        let Some(mark) = self.marks.pop_front() else {
            return;
        };
        if mark.successor == 0 {
            self.old_bytes += entry.cost();
            self.old.insert(entry.sequence, (entry, mark));
        } else {
            self.mark_bytes -= mark.cost();
        }
    }

    /// Lets go of the oldest one for good. `false`: there is none.
    pub(super) fn lose_oldest(&mut self) -> bool {
        let Some((sequence, (entry, mark))) = self.old.pop_first() else {
            return false;
        };
        self.old_bytes -= entry.cost();
        self.mark_bytes -= mark.cost();
        if let Some(key) = &mark.key
            && self.places.get(key) == Some(&sequence)
        {
            self.places.remove(key);
        }
        self.lost = sequence;
        true
    }

    /// The app's end was appended. What comes behind it is another stream: no reader that gets as far
    /// as the end will see it, so it stands for nothing before.
    pub(super) fn end(&mut self) {
        self.places.clear();
    }

    /// Keeps the bounds of the ring, once more.
    pub(super) fn bound(&mut self, limits: &RingLimits, now: Millis) {
        let is_old = |entry: &Entry| now.since(entry.at) > limits.age_max;
        while self.old.len() > limits.events_max
            || self.old_bytes > limits.bytes_max
            || self
                .old
                .first_key_value()
                .is_some_and(|(_, (entry, _))| is_old(entry))
        {
            self.lose_oldest();
        }
    }

    /// The ring is emptied, and all is lost up to `head`.
    pub(super) fn clear(&mut self, head: u64) {
        *self = Self::new(self.by.clone(), 0, head);
    }

    /// Something is held beside the ring.
    pub(super) fn holds_old(&self) -> bool {
        !self.old.is_empty()
    }

    /// Bytes accounted here.
    pub(super) const fn bytes(&self) -> usize {
        self.old_bytes + self.mark_bytes
    }

    /// Whether an entry that stands `back` before the ring's end has no newer one up to `until`.
    fn is_newest(&self, back: usize, until: u64) -> bool {
        let index = self.marks.len().checked_sub(back);
        let mark = index.and_then(|index| self.marks.get(index));
        mark.is_none_or(|mark| mark.successor == 0 || mark.successor > until)
    }

    pub(super) fn check_invariants(&self, held: usize) {
        debug_assert_eq!(self.marks.len(), held, "one mark for each entry");
        debug_assert!(
            self.places.len() <= held + self.old.len(),
            "the index is bounded by what is held"
        );
        debug_assert!(
            self.old
                .first_key_value()
                .is_none_or(|(oldest, _)| *oldest > self.lost),
            "the oldest is lost first"
        );
    }
}

impl Ring {
    /// From now on readers may be content with the newest event of each key, or not.
    pub fn set_key(&mut self, by: Option<&Arc<KeyBy>>) {
        if self.newest.as_ref().map(|newest| &newest.by) != by {
            let new = |by: &Arc<KeyBy>| Box::new(Newest::new(by.clone(), self.len(), self.head()));
            self.newest = by.map(new);
        }
    }

    /// The newest entry that is gone for good, and that no newer one stands for: who does not have it
    /// has lost something.
    #[must_use]
    pub fn lost(&self) -> u64 {
        match &self.newest {
            Some(newest) => newest.lost,
            None => self.oldest_cursor(),
        }
    }

    /// The entries after `cursor` and up to `until`, oldest first, without those whose key a newer one
    /// of them has. `None`: some of them are gone for good.
    #[must_use]
    pub fn newest_after(&self, cursor: u64, until: u64) -> Option<impl Iterator<Item = &Entry>> {
        debug_assert!(cursor < until && until <= self.head(), "there is something");
        if cursor < self.lost() {
            return None;
        }
        let newest = self.newest.as_deref();
        let old = newest.map(|newest| newest.old.range(cursor + 1..).map(|(_, (entry, _))| entry));
        let held = self.after(cursor.max(self.oldest_cursor()))?;
        let head = self.head();
        let held = held.filter(move |entry| {
            let back = usize::try_from(head + 1 - entry.sequence).unwrap_or(usize::MAX);
            newest.is_none_or(|newest| newest.is_newest(back, until))
        });
        let all = old.into_iter().flatten().chain(held);
        Some(all.take_while(move |entry| entry.sequence <= until))
    }
}

#[cfg(test)]
mod tests;
