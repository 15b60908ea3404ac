//! What waits for the socket of one connection.

use std::cell::Cell;

use super::frame::Head;

/// From here on nobody gives more but to end a frame: with it, what one connection holds for a client
/// that does not read.
const FULL_BYTES: usize = 64 * 1024;

/// Memory beyond that is not worth keeping.
const SPARE_BYTES_MAX: usize = 4 * FULL_BYTES;

thread_local! {
    /// Memory for whichever connection of this thread writes now. Nearly all write all that they have at
    /// once, one after the other, and it is more than allocators keep at hand for a thread.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes in the order in which they came. Has memory only while there are any.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    written: usize,
}

impl Out {
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much may be given until it is full.
    pub(super) const fn room(&self) -> usize {
        FULL_BYTES.saturating_sub(self.len())
    }

    pub(super) const fn is_full(&self) -> bool {
        self.room() == 0
    }

    pub(super) fn push(&mut self, part: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        self.bytes.extend_from_slice(part);
    }

    /// A DATA frame of at most 2^24 - 1 bytes.
    pub(super) fn push_data(&mut self, stream: u32, part: &[u8]) {
        let len = u32::try_from(part.len()).unwrap_or(0);
        self.push(&Head::data(len, stream).0);
        self.push(part);
    }

    /// What is not written yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So much of it is written.
    pub(super) fn advance(&mut self, by: usize) {
        self.written += by;
        debug_assert!(self.written <= self.bytes.len(), "no more than there is");
        if self.is_empty() {
            self.clear();
        }
    }

    /// The socket takes no more for now: what is left waits in memory of its own size.
    pub(super) fn settle(&mut self) {
        if self.bytes.capacity() / 2 > self.len() {
            let rest = self.rest().to_vec();
            self.clear();
            self.bytes = rest;
        }
    }

    /// Forgets all, and leaves the memory to others.
    pub(super) fn clear(&mut self) {
        self.written = 0;
        let mut memory = std::mem::take(&mut self.bytes);
        memory.clear();
        let spare = SPARE.take();
        SPARE.set(
            if (spare.capacity()..=SPARE_BYTES_MAX).contains(&memory.capacity()) {
                memory
            } else {
                spare
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> usize {
        let spare = SPARE.take();
        let capacity = spare.capacity();
        SPARE.set(spare);
        capacity
    }

    #[test]
    fn what_is_left_keeps_its_order_and_no_more_memory_than_it_needs() {
        let mut out = Out::default();
        out.push(&[1; FULL_BYTES - 1]);
        assert!(!out.is_full());
        out.push(&[2, 3]);
        assert!(out.is_full());
        out.advance(FULL_BYTES - 1);
        assert_eq!(
            (out.rest(), out.bytes.capacity() >= FULL_BYTES),
            (&[2, 3][..], true)
        );
        out.settle();
        assert_eq!((out.rest(), out.bytes.capacity()), (&[2, 3][..], 2));
        out.push(&[4]);
        out.advance(1);
        assert_eq!(out.rest(), [3, 4]);
        out.advance(2);
        assert!(out.is_empty() && out.bytes.capacity() == 0);
    }

    #[test]
    fn one_connection_after_the_other_has_the_same_memory_and_too_much_is_not_kept() {
        let (mut one, mut other) = (Out::default(), Out::default());
        one.push(&[0; FULL_BYTES]);
        let place = one.bytes.as_ptr();
        one.advance(FULL_BYTES);
        other.push(&[0; 9]);
        assert_eq!(other.bytes.as_ptr(), place);
        one.push(&[0; 5]);
        assert_ne!(one.bytes.as_ptr(), place);
        other.clear();
        one.clear();
        assert!(
            (FULL_BYTES..=SPARE_BYTES_MAX).contains(&spare()),
            "the larger one"
        );
        one.push(&vec![0; SPARE_BYTES_MAX + 1]);
        one.clear();
        assert!(spare() <= SPARE_BYTES_MAX);
    }
}
