//! What the app's events take in a ring, which is more than what the app sends: they are encoded and
//! framed, and their ids are kept.

use super::model::{APP_ID_OVERHEAD, ENTRY_OVERHEAD, EventLimits};

/// Beside its bytes: the entry itself, its place in the index of ids, the framing of the longest
/// chunk, the blank line.
const ENTRY: usize = ENTRY_OVERHEAD + APP_ID_OVERHEAD + 20 + 1;

/// Our own ids have no more bytes, beside the app's that they may carry.
const OWN_ID_MAX: usize = 32;

/// What stands around an id: `id: ` and the line's end.
const ID_LINE: usize = 5;

/// How much a line grows at most when we write it: `data` becomes `data: ` and the line's end.
const LINE_GROWTH: usize = 3;

/// Bytes of the shortest line that grows by so much.
const SHORTEST_LINE: usize = 4;

/// Bytes that the largest event takes in a ring.
#[must_use]
pub fn of_largest(event: &EventLimits) -> usize {
    let lines = event.fields_max.min(event.bytes_max / SHORTEST_LINE);
    beside_lines(event.id_bytes_max) + event.bytes_max + LINE_GROWTH * lines
}

/// The largest `event.bytes_max` with which [`of_largest`] is no more than `ring_bytes`.
pub(super) fn bytes_that_fit(ring_bytes: usize, fields_max: usize, id_bytes_max: usize) -> usize {
    let room = ring_bytes.saturating_sub(beside_lines(id_bytes_max));
    let of_short_lines = room / (SHORTEST_LINE + LINE_GROWTH) * SHORTEST_LINE;
    let of_few_lines = room.saturating_sub(LINE_GROWTH.saturating_mul(fields_max));
    of_short_lines.max(of_few_lines)
}

/// An id counts twice: it is written (and may have come in a block before), and kept for resuming.
fn beside_lines(id_bytes_max: usize) -> usize {
    ENTRY + ID_LINE + OWN_ID_MAX + 2 * id_bytes_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_fit_fits_and_not_much_is_given_away() {
        for ring_bytes in [0, 500, 1 << 10, 64 << 10, 1 << 20, (1 << 20) + 1] {
            for fields_max in [1, 100, 4_096, 10_000_000] {
                let limits = |bytes_max| EventLimits {
                    bytes_max,
                    fields_max,
                    id_bytes_max: 256,
                };
                let fits = bytes_that_fit(ring_bytes, fields_max, 256);
                let case = format!("{ring_bytes} {fields_max} {fits}");
                assert!(
                    fits == 0 || of_largest(&limits(fits)) <= ring_bytes,
                    "{case}"
                );
                assert!(of_largest(&limits(fits + 8)) > ring_bytes, "{case}");
            }
        }
    }
}
