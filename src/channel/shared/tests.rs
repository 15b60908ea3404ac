use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::{HeaderMap, header::SET_COOKIE};

use super::{testing::channel, *};
use crate::{
    channel::state::{Joined, Next},
    config::model::{Ids, LateJoin},
    error::RefuseReason,
    sse::event::Event,
};

fn joined(channel: &Channel, now: u64) -> (Joined, u64) {
    let entry = channel.join(None, Millis(now)).unwrap();
    (entry.joined, entry.at)
}

fn event() -> Event {
    Event {
        data: Bytes::from_static(b"x"),
        ..Event::default()
    }
}

/// A shard that has taken what a test says.
struct Shard(AtomicUsize);

impl ShardWake for Shard {
    fn channel_changed(&self) {}

    fn swept(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

#[test]
fn cookies_go_to_the_opener_of_their_own_answer_or_to_nobody() {
    let channel = channel(|_| {});
    let mut app = HeaderMap::new();
    app.insert(SET_COOKIE, HeaderValue::from_static("a=1"));
    assert_eq!(joined(&channel, 0), (Joined::MustOpen, 0));
    channel.leave(Millis(1));
    assert!(channel.opened(&app, Millis(2)));
    assert_eq!(channel.cut(Millis(3)), Next::Stop);
    assert_eq!(joined(&channel, 4).0, Joined::MustOpen);
    assert!(channel.take_set_cookie().is_empty(), "another client's");
}

#[test]
fn who_opens_anew_starts_behind_the_gap_and_it_is_told_once() {
    let channel = channel(|_| {});
    joined(&channel, 0);
    assert!(channel.opened(&HeaderMap::new(), Millis(0)));
    channel.publish(&[event()], Millis(1));
    channel.leave(Millis(2));
    assert_eq!(channel.cut(Millis(3)), Next::Stop);
    assert_eq!(channel.head(), 1, "nobody is there to be told");
    assert_eq!(joined(&channel, 4), (Joined::MustOpen, 2));
    assert_eq!(channel.place(None, 2, Millis(4)).cursor, 2);
    assert!(channel.opened(&HeaderMap::new(), Millis(5)));
    assert_eq!(channel.head(), 2, "not a second time");
    assert_eq!(channel.cut(Millis(6)), Next::Retry);
    assert!(channel.opened(&HeaderMap::new(), Millis(7)));
    assert_eq!(channel.head(), 3, "a member was there and is told");
}

#[test]
fn what_is_over_is_no_longer_full() {
    let channel = channel(|settings| settings.channel_subscribers_max = 1);
    joined(&channel, 0);
    let full = channel.join(None, Millis(1)).unwrap_err();
    assert_eq!(full, RefuseReason::ChannelMax);
    channel.finish(Outcome::Refused);
    assert_eq!(joined(&channel, 2).0, Joined::TooLate);
}

/// What was spared for a shard at the time of the last event is not spared for ever.
#[test]
fn the_last_events_age_too() {
    let channel = channel(|settings| settings.late_join = LateJoin::All);
    let shard = Arc::new(Shard(AtomicUsize::new(0)));
    channel.attach(0, shard.clone());
    joined(&channel, 0);
    assert!(channel.opened(&HeaderMap::new(), Millis(0)));
    channel.publish(&[event(), event()], Millis(1));
    let late = Millis(1_000_000);
    channel.tick(late);
    assert_eq!(channel.row().ring_events, 2, "not yet taken");
    shard.0.store(2, Ordering::Relaxed);
    channel.tick(late);
    assert_eq!(channel.row().ring_events, 0);
    assert_eq!(channel.place(None, 2, late).cursor, 2);
}

/// Of those who wait for the same attempt, the first that brings an id says where the app goes on.
#[test]
fn the_first_id_before_the_app_is_asked_says_where_it_goes_on() {
    let cold = || {
        channel(|settings| {
            settings.resume = true;
            settings.ids = Ids::Unique;
        })
    };
    let come = |channel: &Channel, id: Option<&'static str>| {
        let id = id.map(str::as_bytes);
        let _entry = channel.join(id, Millis(0)).unwrap();
    };
    let point = |id: &'static str| Some(Bytes::from_static(id.as_bytes()));
    let crowd = cold();
    for id in [None, Some("7"), Some("8")] {
        come(&crowd, id);
    }
    assert_eq!(crowd.attempt(), point("7"));

    // While it is asked, it is too late; before the next attempt it is not.
    let unlucky = cold();
    come(&unlucky, None);
    assert_eq!(unlucky.attempt(), None);
    come(&unlucky, Some("7"));
    let next = unlucky.failed(Outcome::Unreachable, Millis(1));
    assert_eq!(next, Next::Retry);
    come(&unlucky, Some("8"));
    assert_eq!(unlucky.attempt(), point("8"));

    // Who reads already must not get what was before.
    assert!(unlucky.opened(&HeaderMap::new(), Millis(2)));
    let live = cold();
    come(&live, None);
    assert_eq!(live.attempt(), None);
    assert!(live.opened(&HeaderMap::new(), Millis(1)));
    assert_eq!(live.cut(Millis(2)), Next::Retry);
    come(&live, Some("7"));
    assert_eq!(live.attempt(), None);
}
