use std::{collections::BTreeMap, task::Poll, time::Duration};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use tokio::io::duplex;

use super::*;
use crate::{
    channel::shared::Channel,
    config::testing::{fanout, limits},
    decide::Reader,
    egress::{
        h2::budget::Budget,
        handle::ShardHandle,
        shard::testing::{Body, Peer, Rig, Room},
    },
    sse::event::Event,
};

fn group() -> Group {
    let (near, _far) = duplex(1);
    let budget = Budget::new(&limits(), Millis(0));
    let (connection, _io) = Connection::new(Box::new(near), &[], budget);
    let token = GroupToken {
        slot: 0,
        group: 0,
        generation: 0,
    };
    let wake = Arc::new(GroupWake::new(ShardHandle::new(0).0, token));
    Group::new(Arc::new(connection), GapForm::Event, wake)
}

#[test]
fn whoever_leaves_those_who_have_the_batch_stay_before_those_who_have_not() {
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..300 {
        let mut group = group();
        let members = random.random_range(1..12);
        let mut places: BTreeMap<usize, u32> = (0..members)
            .map(|reader| (reader, group.push(Key::default(), reader)))
            .collect();
        let next = random.random_range(0..=members);
        group.behind = Some(Behind {
            batch: Arc::new(Batch::empty()),
            next,
            since: Millis(0),
        });
        while let Some(reader) = places
            .keys()
            .nth(random.random_range(0..places.len()))
            .copied()
        {
            let place = places.remove(&reader).unwrap();
            group.remove(place as usize, |moved, at| {
                assert_ne!(moved, reader, "it has left");
                places.insert(moved, at);
            });
            for (reader, place) in &places {
                assert_eq!(group.readers[*place as usize], *reader);
                let behind = group.behind.as_ref().unwrap();
                assert_eq!((*place as usize) < behind.next, *reader < next, "{reader}");
            }
            if places.is_empty() {
                break;
            }
        }
        assert!(group.readers.is_empty() && group.keys.is_empty());
    }
}

/// A client of `peer` joins; what it will get.
fn join(rig: &Rig, peer: &mut Peer) -> Body {
    let body = peer.ask();
    peer.receive();
    let asked = peer.serve();
    assert_eq!(asked.len(), 1);
    for downstream in asked {
        rig.join_by(downstream, Reader::EventSource, None, clock::now());
    }
    body
}

fn publish(channel: &Channel, data: &'static str) {
    let event = Event {
        data: Bytes::from_static(data.as_bytes()),
        ..Event::default()
    };
    channel.publish(&[event], clock::now());
}

async fn come_to_rest(shard: &mut Shard, peers: &mut [Peer]) {
    shard.work().await;
    while peers.iter().any(Peer::is_awake) {
        for peer in &mut *peers {
            peer.serve();
            peer.receive();
        }
        shard.work().await;
    }
}

fn text(body: &mut Body) -> String {
    let mut text = Vec::new();
    while let Poll::Ready(part) = body.poll_read(usize::MAX) {
        assert!(!part.is_empty(), "it goes on");
        text.extend_from_slice(&part);
    }
    String::from_utf8(text).unwrap()
}

/// A group that is level drives those who were ahead of the sweep: they become level, here in a group
/// of their own behind it, and have what is being swept.
#[tokio::test]
async fn a_group_that_begins_during_a_sweep_is_not_swept() {
    let mut settings = fanout();
    settings.batch_delay = Duration::from_secs(60);
    let rig = Rig::new(settings, 2);
    let story = async {
        let mut shard = rig.shard();
        let mut peers = [Peer::new(Room::ample()), Peer::new(Room::ample())];
        let mut early = join(&rig, &mut peers[0]);
        let channel = rig.asked.0.lock().pop().expect("the app is asked");
        assert!(channel.opened(&http::HeaderMap::new(), clock::now()));
        come_to_rest(&mut shard, &mut peers).await;
        publish(&channel, "one");
        let mut late = join(&rig, &mut peers[1]);
        come_to_rest(&mut shard, &mut peers).await;
        let slot = |shard: &Shard| {
            let (_, slot) = shard.slots.iter().next().unwrap();
            (slot.groups.len(), slot.ahead.len())
        };
        assert_eq!(slot(&shard), (1, 1), "it stands past the sweep");
        publish(&channel, "two");
        let due = clock::now().after(Duration::from_secs(60));
        shard.sweep_due(due).await;
        come_to_rest(&mut shard, &mut peers).await;
        assert_eq!(slot(&shard), (2, 0));
        let events = |body: &mut Body| {
            let text = text(body);
            ["one", "two"].map(|data| text.matches(&format!("data: {data}\n")).count())
        };
        assert_eq!(events(&mut early), [1, 1]);
        assert_eq!(events(&mut late), [0, 1]);
    };
    // Pipes count against a task's budget, which is not what is tested.
    tokio::task::unconstrained(story).await;
}
