//! How a stream ends, and what comes after.

use super::*;

#[tokio::test]
async fn a_cut_is_a_gap_and_the_stream_goes_on() {
    let truncated = stream("data: a\n\ndata: torn\n", []);
    let reset = stream("data: b\n\n", [Step::Wait, Step::Reset]);
    let live = stream("data: c\n\n", [Step::Wait]);
    let mut app = App::start(vec![truncated, reset, live]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b").await;
    app.go_on();
    until_ring(member.channel(), "a <gap> b <gap> c").await;
    assert_eq!(
        (rig.cuts(CutReason::Truncated), rig.cuts(CutReason::Reset)),
        (1, 1)
    );
    assert_eq!(rig.connections(), 1);
    let first = app.request().await;
    assert_eq!(app.request().await, first);
}

#[tokio::test]
async fn the_apps_end_ends_the_stream_and_the_next_joiner_opens_anew() {
    let ended = |data: &str| stream(data, [send(LAST_CHUNK)]);
    let app = App::start(vec![ended("data: a\n\n"), ended("data: b\n\n")]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let first = rig.join();
    until_ring(first.channel(), "a <end>").await;
    assert_eq!(first.channel().view().phase, Phase::Idle);
    assert_eq!(rig.connections(), 0);
    drop(first);
    let second = rig.join();
    assert!(second.opener);
    until_ring(second.channel(), "a <end> <gap> b <end>").await;
}

#[tokio::test]
async fn an_endless_feed_is_opened_again_after_its_end() {
    let ended = |data: &str| stream(data, [send(LAST_CHUNK)]);
    let live = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![ended("data: a\n\n"), ended("data: b\n\n"), live]).await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.on_end = OnEnd::Reconnect
    });
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b <gap>").await;
    assert_eq!(member.channel().view().phase, Phase::Live);
}

#[tokio::test]
async fn an_app_that_is_busy_on_reconnect_is_asked_again() {
    let cut = stream("data: a\n\n", []);
    let busy = |status: &str| vec![Step::Request, send(format!("HTTP/1.1 {status}\r\n\r\n"))];
    let live = stream("data: b\n\n", [Step::Wait]);
    let answers = [
        "503 Busy",
        "429 Slow down",
        "408 Timeout",
        "425 Early",
        "500 Oh",
    ];
    let mut scripts = vec![cut];
    scripts.extend(answers.map(busy));
    scripts.extend([Vec::new(), live]);
    let app = App::start(scripts).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b").await;
    assert_eq!(rig.connects(ConnectOutcome::Retryable), 5);
    assert_eq!(rig.connects(ConnectOutcome::NoHead), 1);
}

#[tokio::test]
async fn an_app_that_is_busy_on_reconnect_says_when_to_ask_again() {
    let answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n";
    let app = App::answering(answer).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let (mut reader, _) = rig.by_hand();
    let channel = reader.channel.clone();
    assert!(channel.opened(&http::HeaderMap::new(), clock::now()));
    assert_eq!(channel.cut(clock::now()), Next::Retry);
    assert_eq!(reader.attempt().await.err(), Some(Next::Retry));
    assert_eq!(reader.retry.next_delay(0), Duration::from_secs(7));
}

#[tokio::test]
async fn an_app_that_refuses_on_reconnect_ends_the_channel() {
    for answer in [
        "204 No Content",
        "302 Found\r\nLocation: /login",
        "404 Not Found",
        "401 Unauthorized",
        "200 OK\r\nContent-Type: text/html",
        "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip",
    ] {
        let cut = stream("data: a\n\n", []);
        let refusing = vec![Step::Request, send(format!("HTTP/1.1 {answer}\r\n\r\n"))];
        let app = App::start(vec![cut, refusing]).await;
        let rig = Rig::new(app.address.port(), |_| {});
        let member = rig.join();
        until_over(member.channel(), Outcome::Refused).await;
        assert_eq!(
            ring(member.channel()),
            "",
            "dropped with the channel: {answer}"
        );
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_stream_that_nobody_wants() {
    let cut = stream("data: a\n\n", [Step::Wait]);
    let never = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![cut, never]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    let channel = member.channel().clone();
    until_ring(&channel, "a").await;
    drop(member);
    app.go_on();
    until("the end of the reader", || {
        channel.view().phase == Phase::Idle
    })
    .await;
    assert_eq!(rig.connects(ConnectOutcome::Opened), 1);
}

#[tokio::test]
async fn a_channel_that_is_over_lets_go_of_its_connection() {
    let script = stream("data: a\n\n", [Step::Request]);
    let next = vec![Step::Request, send(HEAD), Step::Wait];
    let app = App::start(vec![script, next]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a").await;
    member.channel().finish(Outcome::Retired);
    until("the connection's end", || rig.connections() == 0).await;
    assert_eq!(rig.cuts(CutReason::Closed), 1);
    // The app serves one after the other: the next is served, so the first was closed.
    let next = rig.join();
    assert!(next.opener);
    until("the next stream", || {
        next.channel().view().phase == Phase::Live
    })
    .await;
}

/// A shard that panics once.
struct Panicking(AtomicBool);

impl ShardWake for Panicking {
    fn channel_changed(&self) {
        assert!(
            self.0.swap(true, Ordering::Relaxed),
            "a panic of this test's own"
        );
    }

    fn swept(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_panic_ends_the_channel_and_nothing_else() {
    let first = vec![
        Step::Request,
        send(HEAD),
        Step::Wait,
        send(chunk("data: a\n\n")),
    ];
    let second = stream("data: b\n\n", [Step::Wait]);
    let app = App::start(vec![first, second]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until("the stream", || {
        member.channel().view().phase == Phase::Live
    })
    .await;
    member
        .channel()
        .attach(0, Arc::new(Panicking(AtomicBool::new(false))));
    app.go_on();
    until_over(member.channel(), Outcome::Broken).await;
    assert_eq!(rig.metrics.panics.get(PanicPlace::Upstream), 1);
    assert_eq!(rig.cuts(CutReason::Internal), 1);
    let next = rig.join();
    until_ring(next.channel(), "b").await;
}
