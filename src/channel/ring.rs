//! The replay ring: the last events of a channel, bounded by count, bytes and age. Pure.
//!
//! Everything that readers must see in order is an entry with its own sequence: events, gaps and
//! the app's end. So live and replayed readers meet the same things at the same places.

mod entry;
mod gap;
mod key;
mod newest;
mod resume;
mod skip;
mod start;
#[cfg(test)]
mod testing;
mod trim;

use std::{borrow::Cow, collections::VecDeque};

use bytes::Bytes;

use self::newest::Newest;
pub use self::{
    entry::{ENTRY_OVERHEAD, Entry, EntryKind},
    gap::{Gap, Hole, gap_comment, gap_event},
    resume::Begun,
    skip::Skip,
    start::Start,
};
use super::{
    app_ids::AppIds,
    id::{self, Epoch, LocalId},
    seal::Trust,
};
use crate::{
    clock::Millis,
    config::model::{Ids, RingLimits},
    error::GapReason,
    sse::{encode::Frame, event::Event},
};

/// How far entries that shards have not yet taken may push the ring over its bounds.
pub const UNSWEPT_FACTOR: usize = 4;

/// The last entries of a channel.
#[derive(Debug)]
pub struct Ring {
    epoch: Epoch,
    ids: Ids,
    limits: RingLimits,
    entries: VecDeque<Entry>,
    /// Sequence of the newest entry ever appended; 0: none yet.
    head: u64,
    bytes: usize,
    /// Bytes accounted in this life.
    bytes_total: u64,
    /// Entries after this one are still to be swept to level readers: they are spared up to
    /// [`UNSWEPT_FACTOR`] times the bounds, so that one read of the app that holds more than the
    /// ring does not cost every reader its place.
    swept: u64,
    /// Sequence of the app's last end, held or not; 0: none yet.
    last_end: u64,
    /// `ids: unique` and `resume: true` only.
    app_ids: AppIds,
    /// `resume: true`: the app goes on from its own ids, so that ours carry them.
    resumes: bool,
    /// `slow.policy: conflate` only.
    newest: Option<Box<Newest>>,
    /// Which of the ids that clients bring say where it goes on.
    trust: Trust,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(epoch: Epoch, ids: Ids, limits: RingLimits) -> Self {
        Self {
            epoch,
            ids,
            limits,
            entries: VecDeque::new(),
            head: 0,
            bytes: 0,
            bytes_total: 0,
            swept: u64::MAX,
            last_end: 0,
            app_ids: AppIds::default(),
            resumes: false,
            newest: None,
            trust: Trust::All,
        }
    }

    /// Shards have taken everything up to `sequence`; `u64::MAX`: there are none.
    pub fn set_swept(&mut self, sequence: u64) {
        self.swept = sequence;
    }

    /// How far a reader at `cursor` is behind, in entries and bytes. `None`: what comes next for it
    /// is evicted.
    #[must_use]
    pub fn lag(&self, cursor: u64) -> Option<(u64, u64)> {
        let entries = self.head.saturating_sub(cursor);
        if entries == 0 {
            return Some((0, 0));
        }
        Some((entries, self.bytes_total - self.next(cursor)?.bytes_before))
    }

    /// What came after `swept` leaves at least half of the ring to what is swept: more may come
    /// before it is.
    #[must_use]
    pub fn has_room_after(&self, swept: u64) -> bool {
        self.takes_after(swept, 2)
    }

    /// What came after `swept` is within the bounds of the ring: what comes next evicts none of it.
    #[must_use]
    pub fn is_within_bounds_after(&self, swept: u64) -> bool {
        self.takes_after(swept, 1)
    }

    /// What came after `swept` is one of so many parts of the ring at most.
    fn takes_after(&self, swept: u64, parts: u64) -> bool {
        self.lag(swept).is_some_and(|(entries, bytes)| {
            entries <= self.limits.events_max as u64 / parts
                && bytes <= self.limits.bytes_max as u64 / parts
        })
    }

    /// Sequence of the newest entry; 0 before the first.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes accounted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.newest.as_ref().map_or(0, |newest| newest.bytes())
    }

    /// The app's ids turned out not to be unique.
    #[must_use]
    pub const fn ids_broken(&self) -> bool {
        self.app_ids.is_broken()
    }

    /// New bounds from a reload; evicts at once what no longer fits.
    pub fn set_limits(&mut self, limits: RingLimits, now: Millis) {
        self.limits = limits;
        self.evict(now);
    }

    /// Appends an event of the app; returns its sequence.
    pub fn push_event(&mut self, event: &Event, now: Millis) -> u64 {
        let newest = self.newest.as_ref();
        let key = newest.and_then(|newest| key::of(&newest.by, event));
        let sequence = self.head + 1;
        let are_looked_up = self.resumes || self.ids == Ids::Unique;
        // Ids outlive the read that they came in: an own copy, else 2 bytes pin a whole read.
        let app_id = event.id.as_deref().filter(|_| are_looked_up);
        let app_id = app_id.map(Bytes::copy_from_slice);
        if let Some(id) = &app_id {
            self.app_ids.note(id, sequence);
        }
        let frame = match self.ids {
            Ids::Local => {
                let id = self.local_id(sequence, self.resume_point().cloned());
                Frame::event(Some(id.as_bytes()), &event.name, &event.data)
            }
            Ids::Unique => Frame::event(event.id.as_deref(), &event.name, &event.data),
        };
        self.append(EntryKind::Event { frame, app_id }, key, now)
    }

    /// Appends a gap; returns its sequence.
    pub fn push_gap(&mut self, reason: GapReason, now: Millis) -> u64 {
        let sequence = self.head + 1;
        let hole = Hole {
            reason,
            missing: None,
        };
        let gap = Gap::new(hole, self.gap_id(sequence).as_deref());
        self.append(EntryKind::Gap(Box::new(gap)), None, now)
    }

    /// Appends the app's end; returns its sequence.
    pub fn push_end(&mut self, now: Millis) -> u64 {
        self.last_end = self.append(EntryKind::End, None, now);
        if let Some(newest) = &mut self.newest {
            newest.end();
        }
        self.last_end
    }

    /// Drops everything but the count: resumes into what was here are announced as gaps.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.app_ids = AppIds::default();
        self.bytes = 0;
        if let Some(newest) = &mut self.newest {
            newest.clear(self.head);
        }
    }

    /// Evicts what is older than the age bound. A burst, or a ring that ran dry, leaves no memory
    /// behind.
    pub fn expire(&mut self, now: Millis) {
        self.evict(now);
        let len = self.entries.len();
        if self.entries.capacity() > 4 * len.max(16) {
            self.entries.shrink_to(2 * len);
        }
    }

    /// The entries after `cursor`, oldest first. `None`: some of them are evicted.
    #[must_use]
    pub fn after(&self, cursor: u64) -> Option<impl Iterator<Item = &Entry> + Clone> {
        debug_assert!(cursor <= self.head, "a cursor never passes the head");
        let missing = usize::try_from(self.head.saturating_sub(cursor)).ok()?;
        let skip = self.entries.len().checked_sub(missing)?;
        Some(self.entries.iter().skip(skip))
    }

    /// The entry after `cursor`.
    #[must_use]
    pub fn next(&self, cursor: u64) -> Option<&Entry> {
        let oldest = self.entries.front()?.sequence;
        self.entries
            .get(usize::try_from((cursor + 1).checked_sub(oldest)?).ok()?)
    }

    /// The id that a reader at `cursor` has seen last: for the opening block.
    #[must_use]
    pub fn id_at(&self, cursor: u64) -> Option<Bytes> {
        match self.ids {
            Ids::Local => Some(Bytes::from(self.local_id_at(cursor))),
            Ids::Unique => self.app_id_at(cursor),
        }
    }

    /// The app's last event id for a reader at `cursor`.
    fn app_id_at(&self, cursor: u64) -> Option<Bytes> {
        let up_to = self
            .entries
            .iter()
            .rev()
            .skip_while(|e| e.sequence > cursor);
        let mut ids = up_to.filter_map(|entry| match &entry.kind {
            EntryKind::Event { app_id, .. } => app_id.as_ref(),
            EntryKind::Gap(_) | EntryKind::End => None,
        });
        ids.next().or(self.app_ids.before()).cloned()
    }

    fn local_id_at(&self, sequence: u64) -> String {
        let trusted = self.resumes && !self.app_ids.is_broken();
        let app_id = if trusted {
            self.app_id_at(sequence)
        } else {
            None
        };
        self.local_id(sequence, app_id)
    }

    fn local_id(&self, sequence: u64, app_id: Option<Bytes>) -> String {
        let app_id = app_id.filter(|id| id::is_sendable(id));
        LocalId {
            epoch: self.epoch,
            sequence,
            seal: app_id.as_ref().and_then(|id| self.trust.seal(id)),
            app_id,
        }
        .to_string()
    }

    /// The id on a gap notice at `sequence`: under `ids: unique` none, for it would overwrite the
    /// app's.
    #[must_use]
    pub fn gap_id(&self, sequence: u64) -> Option<String> {
        match self.ids {
            Ids::Local => Some(self.local_id_at(sequence)),
            Ids::Unique => None,
        }
    }

    /// The cursor of a reader that still has everything that is held before it.
    fn oldest_cursor(&self) -> u64 {
        self.head - self.entries.len() as u64
    }

    fn append(&mut self, kind: EntryKind, key: Option<Cow<'_, [u8]>>, now: Millis) -> u64 {
        self.head += 1;
        let entry = Entry {
            sequence: self.head,
            at: now,
            bytes_before: self.bytes_total,
            kind,
        };
        let cost = entry.cost();
        // Before it comes, or a full ring would double its memory for one entry.
        self.make_room(1, cost, now);
        self.bytes += cost;
        self.bytes_total += cost as u64;
        if let Some(newest) = &mut self.newest {
            newest.append(key, self.head);
        }
        self.entries.push_back(entry);
        self.check_invariants();
        self.head
    }

    fn evict(&mut self, now: Millis) {
        self.make_room(0, 0, now);
    }

    /// Evicts what no longer fits when so many entries of so many bytes come.
    fn make_room(&mut self, entries: usize, bytes: usize, now: Millis) {
        while let Some(oldest) = self.entries.front() {
            let factor = if oldest.sequence > self.swept {
                UNSWEPT_FACTOR
            } else {
                1
            };
            // The newest stays whatever its size, or level readers could never take it.
            let len = self.entries.len() + entries;
            let over = len > self.limits.events_max.max(1) * factor
                || (self.bytes + bytes > self.limits.bytes_max * factor && len > 1)
                || (factor == 1 && now.since(oldest.at) > self.limits.age_max);
            if !over || (entries == 0 && len <= self.ends_kept()) {
                break;
            }
            self.evict_one();
        }
        if let Some(newest) = &mut self.newest {
            newest.bound(&self.limits, now);
        }
    }

    /// The app's end stays until something follows it: who resumes right before it is to be told.
    fn ends_kept(&self) -> usize {
        let newest = self.entries.back();
        usize::from(newest.is_some_and(|entry| matches!(entry.kind, EntryKind::End)))
    }

    fn evict_one(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= entry.cost();
        if let EntryKind::Event {
            app_id: Some(id), ..
        } = &entry.kind
        {
            self.app_ids.forget(id, entry.sequence);
        }
        if let Some(newest) = &mut self.newest {
            newest.take_over(entry);
        }
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.entries.len() <= self.limits.events_max.max(1) * UNSWEPT_FACTOR,
            "bounded by count"
        );
        debug_assert!(
            self.bytes <= self.limits.bytes_max * UNSWEPT_FACTOR || self.entries.len() == 1,
            "bounded by bytes, but for a single event"
        );
        debug_assert!(
            self.app_ids.len() <= self.entries.len(),
            "the index is bounded by the ring"
        );
        debug_assert_eq!(
            self.entries
                .back()
                .map_or(self.head, |entry| entry.sequence),
            self.head,
            "the newest entry is the head, or nothing is held"
        );
        if let Some(newest) = &self.newest {
            newest.check_invariants(self.entries.len());
        }
    }
}

#[cfg(test)]
mod tests;
