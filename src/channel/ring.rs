//! The replay ring: the last events of a channel, bounded by count, bytes and age. Pure.
//!
//! Everything that readers must see in order is an entry with its own sequence: events, gaps and
//! the app's end. So live and replayed readers meet the same things at the same places.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::id::{self, Epoch};
use crate::{
    clock::Millis,
    config::model::{Ids, LateJoin, RingLimits},
    error::GapReason,
    sse::{encode::Frame, event::Event},
};

/// What an entry costs beyond its bytes: the allocation's header, the entry and its place in the
/// id index.
pub const ENTRY_OVERHEAD: usize = 96;

/// How far entries that shards have not yet taken may push the ring over its bounds.
pub const UNSWEPT_FACTOR: usize = 4;

/// One thing that readers meet, in order.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Position in the channel's life, from 1.
    pub sequence: u64,
    /// When it was appended.
    pub at: Millis,
    /// Bytes accounted in this life before it: the difference of two is the lag between them.
    pub bytes_before: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum EntryKind {
    /// An event of the app.
    Event {
        /// Encoded and framed once.
        frame: Frame,
        /// The app's id, if the event had one.
        app_id: Option<Bytes>,
    },
    /// Events may be missing here; told in the form that a reader's library survives.
    Gap {
        /// What it is about.
        hole: Hole,
        /// As `event: sidestream-gap`.
        event: Frame,
        /// As a comment line.
        comment: Frame,
    },
    /// The app ended its stream here (`on_end: pass` and `final`).
    End,
}

impl Entry {
    fn cost(&self) -> usize {
        ENTRY_OVERHEAD
            + match &self.kind {
                EntryKind::Event { frame, app_id } => {
                    frame.chunked().len() + app_id.as_ref().map_or(0, Bytes::len)
                }
                EntryKind::Gap { event, comment, .. } => {
                    event.chunked().len() + comment.chunked().len()
                }
                EntryKind::End => 0,
            }
    }
}

/// A hole that a joiner must be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Why.
    pub reason: GapReason,
    /// First and last missing sequence, where known.
    pub missing: Option<(u64, u64)>,
}

/// Where a joiner starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// It has everything up to here.
    pub cursor: u64,
    /// What it must be told first.
    pub hole: Option<Hole>,
}

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
    /// `ids: unique` only: where each id of the ring stands.
    index: HashMap<Bytes, u64>,
    /// `ids: unique` only: the last numeric id, to notice an app that counts from 1 again.
    last_number: Option<u64>,
    /// `ids: unique` only: an id repeated or went down, so no id can be trusted in this life.
    ids_broken: bool,
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
            index: HashMap::new(),
            last_number: None,
            ids_broken: false,
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

    /// Sequence of the newest entry; 0 before the first.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// This life of the channel.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
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
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The app's ids turned out not to be unique.
    #[must_use]
    pub const fn ids_broken(&self) -> bool {
        self.ids_broken
    }

    /// New bounds from a reload; evicts at once what no longer fits.
    pub fn set_limits(&mut self, limits: RingLimits, now: Millis) {
        self.limits = limits;
        self.evict(now);
    }

    /// Appends an event of the app; returns its sequence.
    pub fn push_event(&mut self, event: &Event, now: Millis) -> u64 {
        let sequence = self.head + 1;
        let frame = match self.ids {
            Ids::Local => {
                let id = id::format(self.epoch, sequence);
                Frame::event(Some(id.as_bytes()), &event.name, &event.data)
            }
            Ids::Unique => {
                if let Some(id) = &event.id {
                    self.note_app_id(id, sequence);
                }
                Frame::event(event.id.as_deref(), &event.name, &event.data)
            }
        };
        // Ids outlive the read that they came in: an own copy, else 2 bytes pin a whole read.
        let app_id = event.id.as_deref().map(Bytes::copy_from_slice);
        self.append(EntryKind::Event { frame, app_id }, now)
    }

    /// Appends a gap; returns its sequence.
    pub fn push_gap(&mut self, reason: GapReason, now: Millis) -> u64 {
        let sequence = self.head + 1;
        let hole = Hole {
            reason,
            missing: None,
        };
        let kind = EntryKind::Gap {
            hole,
            event: gap_event(hole, self.gap_id(sequence).as_deref()),
            comment: gap_comment(hole),
        };
        self.append(kind, now)
    }

    /// Appends the app's end; returns its sequence.
    pub fn push_end(&mut self, now: Millis) -> u64 {
        self.append(EntryKind::End, now)
    }

    /// Drops everything but the count: resumes into what was here are announced as gaps.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.bytes = 0;
    }

    /// Evicts what is older than the age bound.
    pub fn expire(&mut self, now: Millis) {
        self.evict(now);
    }

    /// Frees `wanted` bytes, oldest entries first, but keeps the newest `keep` entries and what is
    /// not yet swept; returns the bytes freed.
    pub fn trim(&mut self, wanted: usize, keep: usize) -> usize {
        let before = self.bytes;
        let swept = self.swept;
        while before - self.bytes < wanted
            && self.entries.len() > keep.max(self.ends_kept())
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.sequence <= swept)
        {
            self.evict_one();
        }
        before - self.bytes
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

    /// Where a joiner starts that brings `last_event_id`, or none. It came when the head was at
    /// `joined_at`: what was appended since is its own, however long it waited for an answer.
    pub fn start(
        &mut self,
        last_event_id: Option<&[u8]>,
        join: LateJoin,
        joined_at: u64,
        now: Millis,
    ) -> Start {
        debug_assert!(joined_at <= self.head, "nobody joins in the future");
        self.expire(now);
        let late = self.late(join, joined_at);
        let start = match (last_event_id, self.ids) {
            (None, _) => late,
            (Some(id), Ids::Local) => self.start_local(id, late, joined_at),
            (Some(id), Ids::Unique) => self.start_unique(id, late, joined_at),
        };
        debug_assert!(start.cursor <= self.head, "nobody starts in the future");
        debug_assert!(
            self.after(start.cursor).is_some(),
            "nobody starts at what is evicted"
        );
        start
    }

    /// The id that a reader at `cursor` has seen last: for the opening block.
    #[must_use]
    pub fn id_at(&self, cursor: u64) -> Option<Bytes> {
        match self.ids {
            Ids::Local => Some(Bytes::from(id::format(self.epoch, cursor))),
            Ids::Unique => self
                .entries
                .iter()
                .rev()
                .skip_while(|e| e.sequence > cursor)
                .find_map(|entry| match &entry.kind {
                    EntryKind::Event { app_id, .. } => app_id.clone(),
                    EntryKind::Gap { .. } | EntryKind::End => None,
                }),
        }
    }

    /// The id on a gap notice at `sequence`: under `ids: unique` none, for it would overwrite the
    /// app's.
    #[must_use]
    pub fn gap_id(&self, sequence: u64) -> Option<String> {
        match self.ids {
            Ids::Local => Some(id::format(self.epoch, sequence)),
            Ids::Unique => None,
        }
    }

    fn start_local(&self, last: &[u8], late: Start, joined_at: u64) -> Start {
        match id::parse(last) {
            Some((epoch, sequence)) if epoch == self.epoch && sequence <= self.head => {
                let start = self.held(sequence);
                match start.hole {
                    Some(_) => start,
                    None => self.past_end(start.cursor, joined_at),
                }
            }
            // Never a guess: what stands in the ring may be what the client has already seen by
            // another pod, so it starts like any newcomer.
            Some((epoch, _)) if epoch != self.epoch => unknown(GapReason::OtherEpoch, late),
            _ => unknown(GapReason::UnknownId, late),
        }
    }

    fn start_unique(&self, last: &[u8], late: Start, joined_at: u64) -> Start {
        if self.ids_broken {
            return unknown(GapReason::AmbiguousId, late);
        }
        match self.index.get(last) {
            Some(sequence) => self.past_end(*sequence, joined_at),
            None => unknown(GapReason::UnknownId, late),
        }
    }

    /// A start at `cursor`, or at the oldest entry with word of what is missing before it.
    fn held(&self, cursor: u64) -> Start {
        let oldest = self.oldest_cursor();
        let hole = (cursor < oldest).then_some(Hole {
            reason: GapReason::Evicted,
            missing: Some((cursor + 1, oldest)),
        });
        Start {
            cursor: cursor.max(oldest),
            hole,
        }
    }

    /// Where a reader goes on that has everything up to `cursor`: behind an end that was there at
    /// `joined_at` when nothing before it gives the reader a new id. It would come back with the
    /// same id, meet the same end, and loop. What is left out on the way is announced.
    fn past_end(&self, cursor: u64, joined_at: u64) -> Start {
        let mut start = Start { cursor, hole: None };
        let mut left_out = None;
        for entry in self
            .entries
            .iter()
            .skip_while(|entry| entry.sequence <= cursor)
        {
            match &entry.kind {
                _ if entry.sequence > joined_at => break,
                EntryKind::End => {
                    start = Start {
                        cursor: entry.sequence,
                        hole: left_out,
                    };
                }
                EntryKind::Gap { hole, .. } => left_out = Some(*hole),
                EntryKind::Event { app_id: None, .. } if self.ids == Ids::Unique => {
                    let reason = GapReason::AmbiguousId;
                    left_out = Some(Hole {
                        reason,
                        missing: None,
                    });
                }
                EntryKind::Event { .. } => break,
            }
        }
        start
    }

    /// Past the gaps that come next and were there at `joined_at`: a reader whom a gap closes has
    /// been told by that, and would otherwise come back to the same gap for ever. The start names
    /// the last of them.
    #[must_use]
    pub fn past_gaps(&self, start: Start, joined_at: u64) -> Start {
        let gaps = self
            .entries
            .iter()
            .skip_while(|entry| entry.sequence <= start.cursor)
            .take_while(|entry| entry.sequence <= joined_at)
            .map_while(|entry| match &entry.kind {
                EntryKind::Gap { hole, .. } => Some((entry.sequence, *hole)),
                EntryKind::Event { .. } | EntryKind::End => None,
            });
        gaps.last().map_or(start, |(cursor, hole)| Start {
            cursor,
            hole: start.hole.or(Some(hole)),
        })
    }

    fn late(&self, join: LateJoin, joined_at: u64) -> Start {
        let cursor = match join {
            LateJoin::Whole => return self.held(0),
            LateJoin::Live => joined_at,
            LateJoin::Last(count) => joined_at.saturating_sub(u64::from(count)),
            LateJoin::All => 0,
        };
        // An end is no event to replay: who joins after it starts behind it.
        let last_end = self
            .entries
            .iter()
            .rev()
            .skip_while(|entry| entry.sequence > joined_at)
            .find(|entry| matches!(entry.kind, EntryKind::End))
            .map_or(0, |end| end.sequence);
        // What was evicted before it joined is no loss to a newcomer, only what was since.
        self.held(
            cursor
                .max(last_end)
                .max(self.oldest_cursor().min(joined_at)),
        )
    }

    /// The cursor of a reader that still has everything that is held before it.
    fn oldest_cursor(&self) -> u64 {
        self.head - self.entries.len() as u64
    }

    fn note_app_id(&mut self, id: &Bytes, sequence: u64) {
        if self.ids_broken {
            return;
        }
        let number = std::str::from_utf8(id)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let counts_down = self
            .last_number
            .zip(number)
            .is_some_and(|(last, number)| number <= last);
        self.last_number = number.or(self.last_number);
        let own = Bytes::copy_from_slice(id);
        let repeats = self.index.insert(own, sequence).is_some();
        if counts_down || repeats {
            self.ids_broken = true;
            // Nobody is resumed by it any more.
            self.index = HashMap::new();
        }
    }

    fn append(&mut self, kind: EntryKind, now: Millis) -> u64 {
        self.head += 1;
        let entry = Entry {
            sequence: self.head,
            at: now,
            bytes_before: self.bytes_total,
            kind,
        };
        self.bytes += entry.cost();
        self.bytes_total += entry.cost() as u64;
        self.entries.push_back(entry);
        self.evict(now);
        self.check_invariants();
        self.head
    }

    fn evict(&mut self, now: Millis) {
        while let Some(oldest) = self.entries.front() {
            let factor = if oldest.sequence > self.swept {
                UNSWEPT_FACTOR
            } else {
                1
            };
            // The newest stays whatever its size, or level readers could never take it.
            let over = self.entries.len() > self.limits.events_max.max(1) * factor
                || (self.bytes > self.limits.bytes_max * factor && self.entries.len() > 1)
                || (factor == 1 && now.since(oldest.at) > self.limits.age_max);
            if !over || self.entries.len() <= self.ends_kept() {
                break;
            }
            self.evict_one();
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
        if let (
            Ids::Unique,
            EntryKind::Event {
                app_id: Some(id), ..
            },
        ) = (self.ids, &entry.kind)
            && self.index.get(id) == Some(&entry.sequence)
        {
            self.index.remove(id);
        }
        if self.entries.is_empty() {
            self.index.clear();
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
            self.index.len() <= self.entries.len(),
            "the index is bounded by the ring"
        );
        debug_assert_eq!(
            self.entries
                .back()
                .map_or(self.head, |entry| entry.sequence),
            self.head,
            "the newest entry is the head, or nothing is held"
        );
    }
}

/// A start like any newcomer's, since the id that was brought is of no use.
fn unknown(reason: GapReason, late: Start) -> Start {
    Start {
        cursor: late.cursor,
        hole: Some(Hole {
            reason,
            missing: None,
        }),
    }
}

/// A gap as a named event: what a page's `addEventListener("sidestream-gap", ...)` gets.
#[must_use]
pub fn gap_event(hole: Hole, id: Option<&str>) -> Frame {
    Frame::event(
        id.map(str::as_bytes),
        b"sidestream-gap",
        gap_json(hole).as_bytes(),
    )
}

/// A gap as one comment line: for libraries that hand every named event to the main callback.
#[must_use]
pub fn gap_comment(hole: Hole) -> Frame {
    Frame::raw(format!(": sidestream-gap {}\n", gap_json(hole)).as_bytes())
}

fn gap_json(hole: Hole) -> String {
    let reason = hole.reason.label();
    match hole.missing {
        Some((from, to)) => {
            let missed = to.saturating_sub(from) + 1;
            format!(r#"{{"reason":"{reason}","from":{from},"to":{to},"missed":{missed}}}"#)
        }
        None => format!(r#"{{"reason":"{reason}","from":null,"to":null,"missed":null}}"#),
    }
}

#[cfg(test)]
mod tests;
