use std::{task::Poll, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream};

use crate::{
    channel::shared::Channel,
    clock::{self, Millis},
    config::{
        model::{Fanout, GapNotice},
        testing::fanout,
    },
    egress::shard::{
        Shard,
        testing::{Ask, Rig},
    },
    sse::event::Event,
};

const DELAY: Duration = Duration::from_millis(20);

/// A delay, and a ring of 8.
fn settings() -> Fanout {
    let mut settings = fanout();
    settings.batch_delay = DELAY;
    settings.gap_notice = GapNotice::Comment;
    settings.ring.events_max = 8;
    settings.slow.events_max = 8;
    settings
}

fn publish(channel: &Channel, count: usize, now: Millis) {
    let event = Event {
        data: Bytes::from_static(b"x"),
        ..Event::default()
    };
    channel.publish(&vec![event; count], now);
}

/// What has come to a client since the last time: how many events, and what else was said.
async fn read(client: &mut DuplexStream) -> (usize, String) {
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    // Pipes count against a task's budget: this gives it a new one.
    tokio::task::yield_now().await;
    while let Poll::Ready(read) = futures_util::poll!(std::pin::pin!(client.read(&mut buffer))) {
        match read.unwrap() {
            0 => {
                text.push_str("the end");
                break;
            }
            read => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
        }
    }
    (text.matches("data: x\n").count(), text)
}

/// One level reader that has read its head.
async fn reader(rig: &Rig, shard: &mut Shard) -> (std::sync::Arc<Channel>, DuplexStream) {
    let (channel, mut clients) = rig.readers(shard, 1).await;
    let mut client = clients.pop().unwrap();
    assert_eq!(read(&mut client).await.0, 0);
    (channel, client)
}

#[tokio::test]
async fn events_wait_for_those_that_come_within_the_delay_of_the_first() {
    let rig = Rig::new(settings(), 9);
    let mut shard = rig.shard();
    let (channel, mut client) = reader(&rig, &mut shard).await;
    let start = clock::now();
    let at = |ms| start.after(Duration::from_millis(ms));
    for begin in [0, 1_000] {
        publish(&channel, 1, at(begin));
        shard.work().await;
        publish(&channel, 2, at(begin + 19));
        shard.work().await;
        assert_eq!(shard.delayed.next(), Some(at(begin + 20)), "by the first");
        shard.sweep_due(at(begin + 19)).await;
        assert_eq!(read(&mut client).await.0, 0, "they wait");
        shard.sweep_due(at(begin + 20)).await;
        assert_eq!(read(&mut client).await.0, 3, "in one go");
        assert_eq!(shard.delayed.next(), None);
    }
}

/// What does not wait, and takes along what does.
#[tokio::test]
async fn gaps_ends_and_half_a_ring_do_not_wait() {
    type Happens = fn(&Channel, Millis);
    let cases: [(&str, Happens, usize, &str); 3] = [
        ("a gap", |c, now| c.skipped(now), 1, ": sidestream-gap"),
        (
            "the end",
            |c, now| {
                c.ended(now);
            },
            1,
            "0\r\n\r\n",
        ),
        ("half a ring", |c, now| publish(c, 4, now), 5, ""),
    ];
    for (what, happens, events, said) in cases {
        let rig = Rig::new(settings(), 9);
        let mut shard = rig.shard();
        let (channel, mut client) = reader(&rig, &mut shard).await;
        let now = clock::now();
        publish(&channel, 1, now);
        shard.work().await;
        happens(&channel, now);
        shard.work().await;
        let (count, text) = read(&mut client).await;
        assert_eq!(count, events, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
        shard.sweep_due(now.after(DELAY)).await;
        assert_eq!(read(&mut client).await.0, 0, "{what}: nothing twice");
    }
}

#[tokio::test]
async fn neither_heartbeats_nor_replays_wait() {
    let rig = Rig::new(settings(), 9);
    let mut shard = rig.shard();
    let (channel, mut client) = reader(&rig, &mut shard).await;
    let now = clock::now();
    publish(&channel, 3, now);
    shard.sweep_due(now.after(DELAY)).await;
    shard.work().await;
    shard.sweep_due(now.after(DELAY)).await;
    let (_, text) = read(&mut client).await;
    let first = text
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    publish(&channel, 1, now);
    shard.work().await;
    let last_event_id = Some(Bytes::copy_from_slice(first.as_bytes()));
    let ask = Ask {
        last_event_id,
        ..Ask::page()
    };
    let (mut back, _socket) = rig.join(ask, now);
    shard.work().await;
    assert_eq!(read(&mut back).await.0, 2, "all but the one that waits");
    shard.tick(now.after(rig.settings.heartbeat * 2)).await;
    let (events, text) = read(&mut client).await;
    assert_eq!(events, 0);
    assert!(text.contains(":hb\n"), "a heartbeat: {text}");
    shard.sweep_due(now.after(DELAY)).await;
    for client in [&mut client, &mut back] {
        assert_eq!(read(client).await.0, 1, "the one that waited");
    }
}
