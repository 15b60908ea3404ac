//! The last events, byte for byte as they came: all subscribers of a channel get the same bytes, so
//! an event is read in full once, and of all others only compared.
//!
//! This keeps the check as strict as it is (whoever gets other bytes is read in full), at a tenth of
//! its price, so that the client is not what a test measures.

use super::scanner::Found;

/// Events remembered; a power of two. Subscribers that are further apart are read in full.
const KEPT: usize = 256;
/// Longest event remembered.
const EVENT_BYTES_MAX: usize = 16 * 1024;

/// Events by their number.
#[derive(Debug, Default)]
pub struct Known(Vec<Event>);

#[derive(Debug, Default)]
struct Event {
    number: u64,
    /// What it was found to be; `None` for a place that is still empty.
    found: Option<Found>,
    bytes: Vec<u8>,
}

impl Known {
    /// If `bytes` begin with event `number` as it is known: what it is, and the bytes behind it.
    #[must_use]
    pub fn strip<'a>(&self, number: u64, bytes: &'a [u8]) -> Option<(Found, &'a [u8])> {
        let event = self.0.get(place(number))?;
        let found = event.found.filter(|_| event.number == number)?;
        let rest = bytes.strip_prefix(event.bytes.as_slice())?;
        Some((found, rest))
    }

    /// Remembers event `number`: `bytes`, from its first line to its blank line, were found to be
    /// `found` and nothing else.
    pub fn learn(&mut self, number: u64, bytes: &[u8], found: Found) {
        if bytes.len() > EVENT_BYTES_MAX {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(KEPT, Event::default);
        }
        if let Some(event) = self.0.get_mut(place(number)) {
            event.number = number;
            event.found = Some(found);
            event.bytes.clear();
            event.bytes.extend_from_slice(bytes);
        }
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % KEPT as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_under_the_same_number_are_known() {
        let found = Found::Gap { id: Some(4) };
        let mut known = Known::default();
        known.learn(4, b"data: a\n\n", found);
        let cases = [
            (4, "data: a\n\n", Some("")),
            (4, "data: a\n\ndata: b", Some("data: b")),
            (4, "data: a\n", None),
            (4, "data: b\n\n", None),
            (5, "data: a\n\n", None),
            (4 + KEPT as u64, "data: a\n\n", None),
        ];
        for (number, bytes, rest) in cases {
            let stripped = known.strip(number, bytes.as_bytes());
            assert_eq!(
                stripped,
                rest.map(|rest: &str| (found, rest.as_bytes())),
                "{number}"
            );
        }
        known.learn(4 + KEPT as u64, b"data: c\n\n", found);
        assert_eq!(known.strip(4, b"data: a\n\n"), None);
    }
}
