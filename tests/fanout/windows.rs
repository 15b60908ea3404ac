//! HTTP/2 frame by frame, before clients that grant little, late, or less than before: every stream is
//! exact, and nothing comes for which there is no room.

use std::{sync::Arc, time::Duration};

use crate::{
    base::{
        client::{narrow, tcp},
        h2peer::{End, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, Peer},
    },
    rig::{
        Settings, Side,
        app::App,
        peers::{PLENTY, ROOMY, Yardstick, feed, roomy},
    },
};

/// A client, what it grants, and what the app sends.
struct Case {
    name: &'static str,
    settings: &'static [(u16, u32)],
    /// Of the connection, at once.
    connection: u32,
    /// Granted whenever a window is used up, of the stream or of the connection.
    by: u32,
    /// Bytes of each event.
    events: &'static [usize],
    /// Settings that change when so many bytes have come.
    changes: &'static [(usize, &'static [(u16, u32)])],
    /// The longest frame is longer than this.
    frame_above: usize,
}

const SMALL: &[usize] = &[1, 20, 3, 40, 0, 100];
const LARGE: &[usize] = &[30_000, 100, 50_000, 16_384, 16_385, 20_000, 60_000];

const CASES: &[Case] = &[
    Case {
        name: "no window, opened byte by byte",
        settings: &[(INITIAL_WINDOW_SIZE, 0)],
        connection: 0,
        by: 1,
        events: SMALL,
        changes: &[],
        frame_above: 0,
    },
    Case {
        name: "a window of one byte, opened byte by byte",
        settings: &[(INITIAL_WINDOW_SIZE, 1)],
        connection: PLENTY,
        by: 1,
        events: SMALL,
        changes: &[],
        frame_above: 0,
    },
    Case {
        name: "a window of 100 bytes",
        settings: &[(INITIAL_WINDOW_SIZE, 100)],
        connection: PLENTY,
        by: 7,
        events: &[0, 1_000, 50],
        changes: &[],
        frame_above: 5,
    },
    Case {
        name: "the connection's own window, granted anew when it is used up",
        settings: &[(INITIAL_WINDOW_SIZE, PLENTY)],
        connection: 0,
        by: 65_535,
        events: LARGE,
        changes: &[],
        frame_above: 16_000,
    },
    Case {
        name: "both windows, granted anew when they are used up",
        settings: &[],
        connection: 0,
        by: 65_535,
        events: LARGE,
        changes: &[],
        frame_above: 16_000,
    },
    Case {
        name: "the connection's own window, then byte by byte",
        settings: &[(INITIAL_WINDOW_SIZE, PLENTY)],
        connection: 0,
        by: 1,
        events: &[60_000, 5_600],
        changes: &[],
        frame_above: 16_000,
    },
    Case {
        name: "longer frames, and the usual ones again",
        settings: &[(INITIAL_WINDOW_SIZE, PLENTY), (MAX_FRAME_SIZE, 20_000)],
        connection: 0,
        by: 30_000,
        events: LARGE,
        changes: &[
            (50_000, &[(MAX_FRAME_SIZE, 16_384)]),
            (100_000, &[(MAX_FRAME_SIZE, 18_000)]),
        ],
        frame_above: 19_000,
    },
    Case {
        name: "windows that become smaller, negative ones among them, and larger",
        settings: &[(INITIAL_WINDOW_SIZE, 40_000)],
        connection: PLENTY,
        by: 10_000,
        events: LARGE,
        changes: &[
            (20_000, &[(INITIAL_WINDOW_SIZE, 100)]),
            (60_000, &[(INITIAL_WINDOW_SIZE, 0)]),
            (90_000, &[(INITIAL_WINDOW_SIZE, 50_000)]),
            (150_000, &[(INITIAL_WINDOW_SIZE, 1)]),
        ],
        frame_above: 5_000,
    },
];

/// A file that looks the same nowhere near.
fn bytes(len: u32) -> Vec<u8> {
    (0..len).map(|n| ((n * 7) >> 3).to_le_bytes()[0]).collect()
}

/// Reads up to `wanted` bytes of a stream, and grants what is missing, as the case says.
async fn read(peer: &mut Peer, id: u32, wanted: usize, case: &Case) {
    let mut changes = case.changes.iter();
    let mut next = changes.next();
    while feed(peer, id).len() < wanted {
        if let Some((at, settings)) = next
            && feed(peer, id).len() >= *at
        {
            peer.change(settings).await;
            peer.until("they are in force", Peer::is_agreed).await;
            next = changes.next();
        } else if peer.window == 0 {
            peer.grant(0, case.by).await;
        } else if peer.streams[&id].window <= 0 {
            peer.grant(id, case.by).await;
        } else {
            peer.step().await;
        }
    }
    assert!(next.is_none(), "{}: all changes came to pass", case.name);
}

#[tokio::test]
async fn every_window_is_used_up_and_none_is_overrun() {
    for case in CASES {
        let app = App::start().await;
        let side = Side::start(app.port(), ROOMY);
        let mut all = Yardstick::open(&side, &app).await;
        let mut peer = Peer::over(tcp(side.plain()).await, case.settings).await;
        if case.connection > 0 {
            peer.grant(0, case.connection).await;
        }
        let id = peer.get("/feed/a").await;
        side.until_members(2).await;
        for len in case.events {
            all.event(*len).await;
        }
        read(&mut peer, id, all.body().len(), case).await;
        assert!(feed(&peer, id) == all.body(), "{}", case.name);
        let longest = peer.streams[&id].frames.iter().max().unwrap();
        assert!(*longest > case.frame_above, "{}: {longest}", case.name);

        // The app's end waits for what is before it, and needs no room itself.
        let have = all.body().len();
        all.event(10).await;
        let whole = all.body().to_vec();
        all.finish().await;
        peer.grant(id, PLENTY / 2).await;
        peer.grant(0, PLENTY / 2).await;
        peer.until("the end", |peer| peer.end(id).is_some()).await;
        assert_eq!(peer.end(id), Some(End::Whole), "{}", case.name);
        assert!(
            feed(&peer, id) == whole && whole.len() > have,
            "{}",
            case.name
        );
        side.until_empty().await;
    }
}

/// Ten streams of events, of which one takes nothing, a download that is read late and slowly, and an
/// upload.
#[tokio::test]
async fn streams_of_both_kinds_share_a_connection_and_none_starves_another() {
    const STREAMS: usize = 10;
    let app = Arc::new(App::start().await);
    let side = Side::start(app.port(), ROOMY);
    let mut all = Yardstick::open(&side, &app).await;
    let mut peer = Peer::over(tcp(side.plain()).await, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.grant(0, 200_000).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(peer.get("/feed/a").await);
    }
    let closed = open.pop().unwrap();
    for id in &open {
        peer.grant(*id, PLENTY).await;
    }
    side.until_members(1 + STREAMS).await;

    let file = bytes(2_000_000);
    let download = peer.get("/pass/download").await;
    let mut exchange = app.asked().await;
    let answer = file.clone();
    tokio::spawn(async move { exchange.answer_only(&answer).await });
    let upload = peer.post("/pass/upload").await;
    let uploaded = {
        let app = app.clone();
        tokio::spawn(async move {
            let mut exchange = app.asked().await;
            let body = exchange.body().await;
            exchange.answer_only(b"taken").await;
            body
        })
    };
    peer.grant(upload, 1_000).await;

    let mut left = &file[..500_000];
    for round in 0..150 {
        all.event(500).await;
        let wanted = all.body().len();
        peer.until("the event is everywhere", |peer| {
            open.iter().all(|id| feed(peer, *id).len() >= wanted)
        })
        .await;
        left = peer.upload(upload, left).await;
        peer.grant(0, 5_000).await;
        if round >= 50 {
            peer.grant(0, 10_000).await;
            peer.grant(download, 10_000).await;
        } else {
            assert!(peer.body(download).is_empty(), "it is not read yet");
        }
    }
    assert!(peer.body(download).len() > 100_000, "events do not stop it");
    assert!(feed(&peer, closed).is_empty(), "it has no window");
    while peer.end(upload).is_none() || peer.end(download).is_none() {
        let before = left.len();
        if before > 0 {
            left = peer.upload(upload, left).await;
        }
        if peer.end(download).is_none() && peer.streams[&download].window <= 0 {
            peer.grant(download, 50_000).await;
            peer.grant(0, 50_000).await;
        }
        if left.len() == before {
            peer.step().await;
        }
    }
    assert!(peer.body(download) == file);
    assert_eq!(peer.body(upload), b"taken");
    assert!(uploaded.await.unwrap() == file[..500_000]);
    peer.grant(closed, PLENTY).await;
    peer.grant(0, 1_000_000).await;
    let wanted = all.body().len();
    open.push(closed);
    peer.until("all have all of it", |peer| {
        open.iter().all(|id| feed(peer, *id).len() >= wanted)
    })
    .await;
    for id in open {
        assert!(feed(&peer, id) == all.body());
    }
}

/// The h2 crate begins a download for which events have left no room. Behind it nothing else may wait:
/// neither answers to PING and SETTINGS, nor the room for an upload, nor the other streams.
#[tokio::test]
async fn a_used_up_connection_answers_takes_uploads_and_goes_on_when_it_is_granted_more() {
    let app = Arc::new(App::start().await);
    let side = Side::start(app.port(), ROOMY);
    let mut all = Yardstick::open(&side, &app).await;
    let mut peer = Peer::over(tcp(side.plain()).await, &[]).await;
    let events = peer.get("/feed/a").await;
    side.until_members(2).await;
    all.event(20_000).await;
    let wanted = all.body().len();
    peer.until("the event", |peer| feed(peer, events).len() >= wanted)
        .await;
    let download = peer.get("/pass/download").await;
    let mut exchange = app.asked().await;
    let file = bytes(65_000);
    let answer = file.clone();
    tokio::spawn(async move { exchange.answer_only(&answer).await });
    peer.until("the download begins", |peer| {
        !peer.body(download).is_empty()
    })
    .await;
    // They take what the download has left.
    all.event(30_000).await;
    all.event(30_000).await;
    peer.until("it is used up", |peer| peer.window == 0).await;
    assert!(peer.end(download).is_none());

    let body: Vec<u8> = file.repeat(8);
    let upload = peer.post("/pass/upload").await;
    let uploaded = {
        let app = app.clone();
        tokio::spawn(async move {
            let mut exchange = app.asked().await;
            let body = exchange.body().await;
            exchange.answer_only(b"").await;
            body
        })
    };
    let mut left = &body[..];
    while !left.is_empty() {
        let before = left.len();
        left = peer.upload(upload, left).await;
        if left.len() == before {
            peer.until("room to upload", |peer| peer.credit(upload) > 0)
                .await;
        }
        peer.ping().await;
        peer.until("an answer", Peer::is_answered).await;
    }
    assert!(uploaded.await.unwrap() == body);
    peer.until("its answer", |peer| peer.end(upload).is_some())
        .await;
    assert_eq!(peer.streams[&upload].status, Some(200));

    let wanted = all.body().len();
    while peer.end(download).is_none() || feed(&peer, events).len() < wanted {
        if peer.window == 0 {
            peer.grant(0, 100).await;
        } else if peer.streams[&events].window == 0 {
            peer.grant(events, 1_000).await;
        } else {
            peer.step().await;
        }
    }
    assert!(peer.body(download) == file);
    assert!(feed(&peer, events) == all.body());
}

/// A client that has used up its connection's window: an event, and a file of which the crate has written
/// all, and of which the end waits for more. It reads no events any more.
async fn used_up(side: &Side, app: &App, all: &mut Yardstick) -> (Peer, u32, Vec<u8>) {
    let mut peer = Peer::over(tcp(side.plain()).await, &[]).await;
    let events = peer.get("/feed/a").await;
    side.until_members(2).await;
    all.event(20_000).await;
    let wanted = all.body().len();
    peer.until("the event", |peer| feed(peer, events).len() >= wanted)
        .await;
    let download = peer.get("/pass/download").await;
    let mut exchange = app.asked().await;
    let file = bytes(65_000);
    let answer = file.clone();
    tokio::spawn(async move { exchange.answer_only(&answer).await });
    peer.until("it is used up", |peer| peer.window == 0).await;
    assert!(peer.end(download).is_none());
    peer.reset(events).await;
    side.until_members(1).await;
    (peer, download, file)
}

/// A download is given up while its end waits for the connection's window. What is granted then is another
/// one's, and the client needs to grant no more than that one takes.
#[tokio::test]
async fn what_waits_for_a_window_is_dropped_with_its_stream() {
    let app = App::start().await;
    let side = Side::start(app.port(), ROOMY);
    let mut all = Yardstick::open(&side, &app).await;
    let (mut peer, given_up, _) = used_up(&side, &app, &mut all).await;
    let second = peer.get("/pass/second").await;
    let mut exchange = app.asked().await;
    let file = bytes(4_000);
    let answer = file.clone();
    tokio::spawn(async move { exchange.answer_only(&answer).await });
    peer.until("its head", |peer| peer.streams[&second].status.is_some())
        .await;
    peer.reset(given_up).await;
    peer.ping().await;
    peer.until("an answer", Peer::is_answered).await;
    peer.grant(0, 4_000).await;
    peer.until("the end", |peer| peer.end(second).is_some())
        .await;
    assert_eq!(peer.end(second), Some(End::Whole));
    assert!(peer.body(second) == file);
    assert_eq!(peer.window, 0);
}

/// The process leaves. The h2 crate has no streams any more, but the wire has what a client that grants
/// little has not taken.
#[tokio::test]
async fn what_waits_for_a_window_may_be_taken_while_the_process_leaves() {
    let app = App::start().await;
    let settings = Settings {
        fanout: ROOMY,
        drain: "{ window: 1s, margin: 1h }",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut all = Yardstick::open(&side, &app).await;
    let (mut peer, download, file) = used_up(&side, &app, &mut all).await;
    side.drain();
    side.until_metric("draining", 1).await;
    // Longer than a connection stays that has nothing to do.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    while peer.end(download).is_none() {
        if peer.window == 0 {
            peer.grant(0, 3_000).await;
        }
        peer.step().await;
    }
    assert_eq!(peer.end(download), Some(End::Whole));
    assert!(peer.body(download) == file);
    side.until_metric("connections{protocol=\"h2\"}", 0).await;
}

/// Streams are reset, and the client says GOAWAY, while its socket is full of events.
#[tokio::test]
async fn who_leaves_in_mid_sweep_gets_nothing_more_and_the_others_get_all() {
    const STREAMS: usize = 20;
    let app = App::start().await;
    let settings = Settings {
        fanout: ROOMY,
        limits: "tcp_send_buffer_bytes: 4KiB",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut all = Yardstick::open(&side, &app).await;
    let mut peer = roomy(narrow(side.plain()).await).await;
    let mut ids = Vec::new();
    for _ in 0..STREAMS {
        ids.push(peer.get("/feed/a").await);
    }
    side.until_members(1 + STREAMS).await;
    for round in 0..10 {
        // More than all buffers hold.
        for _ in 0..20 {
            all.event(3_000).await;
        }
        let left = ids.remove(round);
        peer.reset(left).await;
        peer.ping().await;
        if round == 5 {
            peer.goaway().await;
        }
        peer.until("an answer", Peer::is_answered).await;
        side.until_members(STREAMS - round).await;
    }
    let wanted = all.body().len();
    peer.until("all have all of it", |peer| {
        ids.iter().all(|id| feed(peer, *id).len() >= wanted)
    })
    .await;
    for id in &ids {
        assert!(feed(&peer, *id) == all.body());
    }
    all.finish().await;
    peer.until("the end", |peer| {
        ids.iter().all(|id| peer.end(*id) == Some(End::Whole))
    })
    .await;
    side.until_empty().await;
}
