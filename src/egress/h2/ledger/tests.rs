//! What the books say, entry by entry.

use super::*;
use crate::egress::testing::Flag;

fn owned(ledger: &mut Ledger, stream: u32) -> Key {
    ledger.opened(stream);
    let key = ledger.streams.adopt(stream).unwrap();
    ledger.streams.headed(stream);
    key
}

#[test]
fn a_stream_takes_no_more_than_both_windows_and_a_frame() {
    let mut ledger = Ledger::default();
    let key = owned(&mut ledger, 1);
    assert_eq!(ledger.take(key, 100), 100);
    assert_eq!(ledger.take(key, 100_000), 16_384);
    let rest: u32 = std::iter::repeat_with(|| ledger.take(key, 100_000))
        .take_while(|taken| *taken > 0)
        .sum();
    assert_eq!(rest, 65_535 - 16_484);
    assert_eq!(ledger.granted(1, 500), Grant::Keep);
    assert_eq!(ledger.take(key, 1_000), 0, "the connection's is used up");
    assert_eq!(
        ledger.granted(0, 7),
        Grant::Keep,
        "the crate was promised more"
    );
    assert_eq!(ledger.take(key, 1_000), 7);
    assert!(!ledger.admits(1));
    assert!(ledger.admits(0));
}

#[test]
fn the_crate_gets_all_as_long_as_it_is_alone_and_a_share_after() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.granted(0, 1_000_000), Grant::Pass(1_000_000));
    let key = owned(&mut ledger, 1);
    ledger.opened(3);
    ledger.spent(3, 800_000);
    // 265,535 are left, and as much is promised.
    assert_eq!(ledger.granted(0, 400_000), Grant::Pass(67_233));
    assert_eq!(ledger.take(key, 16_000), 16_000);
    ledger.streams.release(key);
    assert_eq!(ledger.granted(0, 1), Grant::Pass(1));
}

#[test]
fn what_the_shard_does_not_use_the_crate_is_lent_frame_by_frame() {
    let mut ledger = Ledger::default();
    let key = owned(&mut ledger, 1);
    ledger.opened(3);
    assert_eq!(ledger.lend(), 0, "it has enough");
    ledger.spent(3, 65_535);
    assert_eq!(ledger.lend(), 0, "there is nothing");
    assert_eq!(ledger.granted(0, 40_000), Grant::Pass(20_000));
    ledger.spent(3, 20_000);
    assert_eq!(ledger.lend(), 16_384);
    assert_eq!(ledger.lend(), 0, "it has not used that");
    ledger.spent(3, 16_384);
    assert_eq!(ledger.lend(), 3_616, "all that is left");
    assert_eq!(ledger.take(key, 5_000), 3_616, "who comes first");
    assert!(!ledger.admits(1));
    assert_eq!(ledger.lend(), 0);
}

#[test]
fn settings_count_from_their_acknowledgement_on_and_may_make_windows_negative() {
    let mut ledger = Ledger::default();
    let key = owned(&mut ledger, 1);
    assert_eq!(ledger.take(key, 1_000), 1_000);
    ledger.announced(Settings {
        initial_window: Some(500),
        frame_bytes_max: Some(20_000),
    });
    ledger.announced(Settings::default());
    assert_eq!(ledger.take(key, 17_000), 16_384);
    ledger.acknowledged();
    assert_eq!(ledger.take(key, 1), 0);
    assert_eq!(ledger.granted(1, 16_884), Grant::Keep);
    assert_eq!(ledger.take(key, 1), 0, "exactly none");
    assert_eq!(ledger.granted(1, 30_000), Grant::Keep);
    assert_eq!(ledger.take(key, 30_000), 20_000);
    ledger.acknowledged();
    let other = owned(&mut ledger, 3);
    assert_eq!(ledger.take(other, 1_000), 500);
}

#[test]
fn what_is_wrong_is_left_to_the_crate() {
    let mut ledger = Ledger::default();
    ledger.opened(1);
    let too_much = Grant::Pass(0x7fff_ffff);
    assert_eq!(ledger.granted(1, 0), Grant::Pass(0));
    assert_eq!(ledger.granted(1, 0x7fff_ffff), too_much);
    assert_eq!(ledger.granted(0, 0), Grant::Pass(0));
    assert_eq!(ledger.granted(0, 0x7fff_ffff), too_much);
    assert_eq!(ledger.granted(9, 5), Grant::Pass(5), "never opened");
}

fn resets(ledger: &mut Ledger) -> Vec<(u32, Reason)> {
    let mut resets = Vec::new();
    ledger
        .streams
        .reset_due(|stream, reason| resets.push((stream, reason)));
    resets
}

#[test]
fn a_window_that_a_client_lets_overflow_is_the_end_of_its_stream() {
    let mut ledger = Ledger::default();
    let key = owned(&mut ledger, 1);
    assert_eq!(ledger.granted(1, 0), Grant::Pass(0), "the crate resets it");
    assert_eq!(ledger.granted(1, 0x7fff_ffff), Grant::Keep);
    assert_eq!(resets(&mut ledger), [(1, Reason::FLOW_CONTROL_ERROR)]);
    assert_eq!(ledger.streams.state(key), State::Closed);
    ledger.streams.release(key);
    assert_eq!(resets(&mut ledger), []);
}

#[test]
fn as_many_are_woken_as_the_window_and_the_socket_have_room_for() {
    const SOCKET: usize = 64 << 10;
    for (granted, socket, expected) in [
        (0, SOCKET, 0),
        (1, SOCKET, 1),
        (1_024, SOCKET, 1),
        (2_500, SOCKET, 3),
        (1_000_000, 0, 0),
        (1_000_000, 1_500, 2),
        (1_000_000, SOCKET, 8),
    ] {
        let mut ledger = Ledger::default();
        let keys: Vec<Key> = (0..8).map(|n| owned(&mut ledger, 2 * n + 1)).collect();
        while ledger.take(keys[0], 65_535) > 0 {}
        // All but the first have room on their streams, and it gets some.
        ledger.granted(1, 1_000_000);
        ledger.granted(0, granted);
        let flags: Vec<_> = keys.iter().map(|_| Flag::woken()).collect();
        for (key, flag) in keys.iter().zip(&flags) {
            ledger.streams.wait_for_room(*key, &flag.take());
        }
        let more = ledger.wake_ready(socket);
        let woken = flags.iter().filter(|flag| flag.is_woken()).count();
        let case = format!("{granted} granted, room for {socket}");
        assert_eq!(woken, expected, "{case}");
        assert_eq!(more, 0 < expected && expected < keys.len(), "{case}");
    }
}
