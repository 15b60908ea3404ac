//! First bytes of streams whose response heads have not passed: the crate writes those in its own time.
//! Pure.

use bytes::Bytes;

use super::{
    ledger::Ledger,
    out::Out,
    streams::{Key, State},
};

/// Of one stream.
const BYTES_MAX: usize = 4 * 1024;

/// What waits, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Early(Vec<(Key, Bytes)>);

impl Early {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some of this stream wait.
    pub(super) fn has(&self, key: Key) -> bool {
        self.0.iter().any(|(early, _)| *early == key)
    }

    /// Keeps the first of a stream, if they are few.
    pub(super) fn keep(&mut self, key: Key, bytes: &mut Bytes) -> bool {
        let fits = bytes.len() <= BYTES_MAX && !self.has(key);
        if fits && !bytes.is_empty() {
            // A copy: it must not keep the batch that it is a part of.
            self.0.push((key, Bytes::copy_from_slice(bytes)));
            bytes.clear();
        }
        fits
    }

    /// Nobody wants those of this stream any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.0.retain(|(early, _)| *early != key);
    }

    /// Those of streams whose heads have passed go out, as far as the windows reach. In front of what the
    /// crate writes next, which may be their end: so there is always room for them.
    pub(super) fn move_out(&mut self, ledger: &mut Ledger, out: &mut Out) {
        self.0
            .retain_mut(|(key, bytes)| match ledger.streams.state(*key) {
                State::Headless => true,
                State::Closed => false,
                State::Open => {
                    while let Some((stream, part)) = ledger.split(*key, bytes) {
                        out.push_data(stream, &part);
                    }
                    if bytes.is_empty() {
                        ledger.streams.wake(*key);
                    }
                    !bytes.is_empty()
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::h2::{frame::Head, ledger::Settings};

    #[test]
    fn few_bytes_wait_for_their_heads_once_and_go_out_as_far_as_windows_reach() {
        let (mut early, mut ledger, mut out) =
            (Early::default(), Ledger::default(), Out::default());
        ledger.announced(Settings {
            initial_window: Some(3),
            frame_bytes_max: None,
        });
        ledger.acknowledged();
        let keys = [1, 3, 5, 7].map(|stream| {
            ledger.opened(stream);
            ledger.streams.adopt(stream).unwrap()
        });
        let [split, later, closed, released] = keys;
        for key in keys {
            assert!(early.keep(key, &mut Bytes::from_static(b"abcd")));
            let mut more = Bytes::from_static(b"more");
            assert!(!early.keep(key, &mut more) && more == "more");
        }
        let long = Bytes::from(vec![0; BYTES_MAX + 1]);
        early.forget(released);
        assert!(!early.keep(released, &mut long.clone()));
        assert!(!early.has(released) && early.keep(released, &mut Bytes::new()));
        ledger.streams.headed(1);
        ledger.streams.closed(5);
        early.move_out(&mut ledger, &mut out);
        assert_eq!(out.rest(), [&Head::data(3, 1).0[..], b"abc"].concat());
        assert_eq!(keys.map(|key| early.has(key)), [true, true, false, false]);
        out.clear();
        ledger.streams.headed(3);
        ledger.granted(1, 9);
        ledger.granted(3, 1);
        early.move_out(&mut ledger, &mut out);
        let (split, later) = (early.has(split), early.has(later) || early.has(closed));
        assert!(!split && !later && early.is_empty());
        let third = [&Head::data(4, 3).0[..], b"abcd"].concat();
        assert_eq!(out.rest(), [&Head::data(1, 1).0[..], b"d", &third].concat());
    }
}
