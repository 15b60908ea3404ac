//! The app's own ids: where in the channel each of them stands. Pure.

use std::collections::HashMap;

use bytes::Bytes;

/// The app's ids of one channel, as far as its ring goes back.
#[derive(Debug, Default)]
pub(super) struct AppIds {
    places: HashMap<Bytes, u64>,
    /// The newest of those that the ring no longer holds, or the one that the app was asked to go on
    /// from: it stands right before what came next.
    before: Option<(Bytes, u64)>,
    /// The newest reset, an empty id, that the ring no longer holds; 0: none.
    reset_at: u64,
    /// The app's last event id, by the HTML standard (9.2.6). `None`: none yet, or reset.
    last: Option<Bytes>,
    /// The last numeric id, to notice an app that counts from 1 again.
    last_number: Option<u64>,
    /// An id repeated or went down, so no id can be trusted in this life.
    broken: bool,
}

impl AppIds {
    /// The app is asked to go on from `id`, before it has sent anything.
    pub(super) fn begin(&mut self, id: Option<Bytes>) {
        debug_assert!(self.places.is_empty(), "only an empty channel begins");
        self.last = id.clone();
        self.before = id.map(|id| (id, 0));
    }

    /// The event at `sequence` has this id; an empty one resets it.
    pub(super) fn note(&mut self, id: &Bytes, sequence: u64) {
        self.last = Some(id.clone()).filter(|id| !id.is_empty());
        if self.broken || id.is_empty() {
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
        let repeats = self.places.insert(id.clone(), sequence).is_some()
            || self.before.as_ref().is_some_and(|(before, _)| before == id);
        if counts_down || repeats {
            self.broken = true;
            // Nobody is resumed by it any more.
            self.places = HashMap::new();
            self.before = None;
        }
    }

    /// The ring lets go of the event at `sequence`, which has this id.
    pub(super) fn forget(&mut self, id: &Bytes, sequence: u64) {
        if id.is_empty() {
            self.reset_at = sequence;
        } else if self.places.get(id) == Some(&sequence) {
            self.places.remove(id);
            self.before = Some((id.clone(), sequence));
        }
    }

    /// Where the event with this id stands, or stood.
    pub(super) fn find(&self, id: &[u8]) -> Option<u64> {
        let before = self.before.as_ref().filter(|(before, _)| before == id);
        self.places
            .get(id)
            .copied()
            .or(before.map(|(_, sequence)| *sequence))
    }

    /// The app's last event id, if it is one that the app can be asked to go on from.
    pub(super) fn last(&self) -> Option<&Bytes> {
        self.last.as_ref().filter(|_| !self.broken)
    }

    /// The id in force before the oldest event held, if that can be trusted.
    pub(super) fn before(&self) -> Option<&Bytes> {
        let (id, sequence) = self.before.as_ref()?;
        (*sequence >= self.reset_at).then_some(id)
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(ids: &[&'static str]) -> AppIds {
        let mut app_ids = AppIds::default();
        for (id, sequence) in ids.iter().zip(1..) {
            app_ids.note(&Bytes::from_static(id.as_bytes()), sequence);
        }
        app_ids
    }

    #[test]
    fn ids_are_found_where_they_stand_until_the_next_one_is_forgotten() {
        let mut ids = noted(&["a", "b", "c"]);
        let places = |ids: &AppIds| [&b"a"[..], b"b", b"c", b"d"].map(|id| ids.find(id));
        assert_eq!(places(&ids), [Some(1), Some(2), Some(3), None]);
        ids.forget(&Bytes::from_static(b"a"), 1);
        assert_eq!(places(&ids), [Some(1), Some(2), Some(3), None]);
        ids.forget(&Bytes::from_static(b"b"), 2);
        assert_eq!(places(&ids), [None, Some(2), Some(3), None]);
        assert_eq!(ids.before().map(|id| &id[..]), Some(&b"b"[..]));
    }

    #[test]
    fn ids_that_repeat_or_count_down_are_not_trusted_any_more() {
        for (given, broken) in [
            (&["1", "2", "10"][..], false),
            (&["x", "", "y", ""], false),
            (&["a", "b", "a"], true),
            (&["3", "2"], true),
            (&["3", "x", "3"], true),
        ] {
            let ids = noted(given);
            assert_eq!(ids.is_broken(), broken, "{given:?}");
            if broken {
                assert_eq!((ids.last(), ids.len()), (None, 0));
                assert!(given.iter().all(|id| ids.find(id.as_bytes()).is_none()));
            }
        }
    }

    #[test]
    fn an_empty_id_resets_the_last_one() {
        assert_eq!(noted(&["a", ""]).last(), None);
        assert_eq!(
            noted(&["a", "", "b"]).last().map(|id| &id[..]),
            Some(&b"b"[..])
        );
    }

    #[test]
    fn a_reset_outlives_its_eviction() {
        let mut ids = noted(&["a", "", "b"]);
        ids.forget(&Bytes::from_static(b"a"), 1);
        assert_eq!(ids.before().map(|id| &id[..]), Some(&b"a"[..]));
        ids.forget(&Bytes::new(), 2);
        assert_eq!(ids.before(), None);
        assert_eq!(ids.find(b"a"), Some(1), "it stood there all the same");
        ids.forget(&Bytes::from_static(b"b"), 3);
        assert_eq!(ids.before().map(|id| &id[..]), Some(&b"b"[..]));
    }

    #[test]
    fn what_the_app_was_asked_to_go_on_from_stands_before_everything() {
        let mut ids = AppIds::default();
        ids.begin(Some(Bytes::from_static(b"7")));
        assert_eq!(ids.find(b"7"), Some(0));
        assert_eq!(ids.last().map(|id| &id[..]), Some(&b"7"[..]));
        ids.note(&Bytes::from_static(b"8"), 1);
        assert_eq!(ids.find(b"7"), Some(0));
        // Not after it, as asked: the app does not resume at all.
        ids.note(&Bytes::from_static(b"7"), 2);
        assert!(ids.is_broken());
    }
}
