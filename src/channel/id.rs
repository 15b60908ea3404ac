//! Event ids that we put on the wire under `ids: local`: `epoch-sequence`, short plain ASCII.

use std::fmt;

/// One life of a channel. Two lives never share one, so an id from another life is always known
/// to be foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// 48 bits: ten characters in base 36, and no two of a million epochs alike (birthday bound 2e-3
/// per million; a wrong resume needs that and the same channel).
const EPOCH_BITS: u64 = (1 << 48) - 1;

impl Epoch {
    /// An epoch from random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random & EPOCH_BITS)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = [b'0'; 10];
        let mut rest = self.0;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS.get((rest % 36) as usize).copied().unwrap_or(b'0');
            rest /= 36;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or("0000000000"))
    }
}

/// Parses an id of ours. `None`: not ours at all, as it is not what [`format`] writes.
#[must_use]
pub fn parse(id: &[u8]) -> Option<(Epoch, u64)> {
    let text = std::str::from_utf8(id).ok()?;
    let (epoch, sequence) = text.split_once('-')?;
    let epoch = Epoch(u64::from_str_radix(epoch, 36).ok()?);
    let sequence = sequence.parse().ok()?;
    (format(epoch, sequence) == text).then_some((epoch, sequence))
}

/// Writes an id of ours.
#[must_use]
pub fn format(epoch: Epoch, sequence: u64) -> String {
    format!("{epoch}-{sequence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written() {
        for (epoch, sequence) in [
            (0, 0),
            (1, 1),
            (EPOCH_BITS, u64::MAX),
            (0x1234_5678_9abc, 42),
        ] {
            let epoch = Epoch::new(epoch);
            assert_eq!(
                parse(format(epoch, sequence).as_bytes()),
                Some((epoch, sequence))
            );
        }
    }

    #[test]
    fn foreign_ids_are_not_ours() {
        for id in [
            "",
            "-",
            "7",
            "abc",
            "0000000000-",
            "0000000000-x",
            "0000000000-+1",
            "00-1",
            "0000000000-01",
            "000000000A-1",
            "+000000000-1",
            "00000000000-1",
            "000000000\u{e9}-1",
            "0000000000-99999999999999999999999",
        ] {
            assert_eq!(parse(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
    }
}
