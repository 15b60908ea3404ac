//! What a client that leaves has not taken yet.

use std::time::Duration;

use crate::clock::Millis;

/// The end of answers that are complete for the h2 crate, which would close the connection: they wait for
/// the client's window, or for its socket.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: usize,
    /// When that last became less.
    since: Millis,
}

impl Tail {
    /// Whether none of it is left now, or the client took nothing of it for longer than `patience`.
    pub(super) fn is_over(&mut self, bytes: usize, now: Millis, patience: Duration) -> bool {
        if bytes != self.bytes {
            *self = Self { bytes, since: now };
        }
        bytes == 0 || now.since(self.since) > patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_little_now_and_then_may_take_all_and_who_takes_nothing_may_not() {
        let patience = Duration::from_secs(10);
        let mut tail = Tail::default();
        for (seconds, bytes, expected) in [
            (100, 900, false),
            (110, 900, false),
            (111, 899, false),
            (121, 899, false),
            (122, 899, true),
            (122, 10, false),
            (123, 0, true),
        ] {
            let now = Millis(seconds * 1_000);
            assert_eq!(tail.is_over(bytes, now, patience), expected, "{seconds}");
        }
        assert!(Tail::default().is_over(0, Millis(0), patience));
    }
}
