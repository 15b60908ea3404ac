//! How long the app may take, and how much it may send.

use socket2::Socket;

use super::*;
use crate::{metrics::labels::ReauthOutcome, upstream::testing::refusing};

/// A reader before an app that is not there yet. A delay of its own would take half an hour.
fn cold(open_wait: Duration) -> (Socket, Rig) {
    let (socket, address) = refusing();
    let rig = Rig::new(address.port(), |settings| {
        settings.open_wait = open_wait;
        let hour = Duration::from_secs(3_600);
        settings.backoff = Backoff {
            min: hour,
            max: hour,
        };
    });
    (socket, rig)
}

#[tokio::test]
async fn a_cold_channel_gives_up_in_time() {
    let (_socket, rig) = cold(Duration::from_millis(100));
    let member = rig.join();
    until_over(member.channel(), Outcome::Unreachable).await;
    assert!(
        rig.connects(ConnectOutcome::Unreachable) >= 2,
        "at once, and when time was up"
    );
}

/// The app comes up while the reader waits: the attempt that falls due when time is up reaches it.
#[tokio::test]
async fn the_last_attempt_of_a_cold_channel_is_a_real_one() {
    let (socket, rig) = cold(Duration::from_millis(300));
    let member = rig.join();
    until("the first attempt", || {
        rig.connects(ConnectOutcome::Unreachable) == 1
    })
    .await;
    // From now on the kernel takes connections; a request waits in one of them.
    socket.listen(8).unwrap();
    until("the request", || {
        member.channel().view().asked_since.is_some()
    })
    .await;
    assert!(!member.channel().is_over());
}

/// A TLS handshake that never gets an answer: connecting takes for ever.
#[tokio::test]
async fn a_cold_channel_gives_up_in_time_however_long_connecting_may_take() {
    let app = App::start(vec![vec![Step::Wait]]).await;
    let mut rig = Rig::new(app.address.port(), |settings| {
        settings.open_wait = Duration::from_millis(100);
    });
    let mut upstream = (*rig.request.route.upstream).clone();
    upstream.connect_timeout = Duration::from_secs(3_600);
    upstream.tls = Some(UpstreamTls {
        server_name: "localhost".to_owned(),
        ca: None,
        verify: false,
    });
    rig.reload_with(upstream, |_| {});
    rig.request.route = rig.config.load().routes[0].clone();
    let member = rig.join();
    until_over(member.channel(), Outcome::Unreachable).await;
    assert!(rig.connects(ConnectOutcome::Unreachable) >= 1);
}

#[tokio::test]
async fn an_app_that_hangs_on_reconnect_is_asked_again() {
    let cut = stream("data: a\n\n", [Step::Wait]);
    // The second request is the end of the first.
    let hung = vec![Step::Request, send("HTTP/1.1 200"), Step::Request];
    let live = stream("data: b\n\n", [Step::Wait]);
    let app = App::start(vec![cut, hung, live]).await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "a").await;
    let mut upstream = (*rig.request.route.upstream).clone();
    upstream.read_timeout = Duration::from_millis(50);
    rig.reload_with(upstream, |_| {});
    app.go_on();
    until_ring(member.channel(), "a <gap> b").await;
    assert_eq!(rig.connects(ConnectOutcome::NoHead), 1);
}

#[test]
fn only_a_reconnect_is_bounded_by_what_the_app_may_take_to_answer() {
    let mut upstream = (*testing::upstream(1)).clone();
    let seconds = Duration::from_secs;
    upstream.read_timeout = seconds(60);
    for (is_cold, silence_max, expected) in [
        (true, None, None),
        (true, Some(90), Some(90)),
        (false, None, Some(60)),
        (false, Some(90), Some(60)),
        (false, Some(30), Some(30)),
    ] {
        let watchdog = silence_max.map_or(Watchdog::Auto, |max| Watchdog::After(seconds(max)));
        let bound = head_max(is_cold, &upstream, watchdog);
        assert_eq!(bound, expected.map(seconds), "{is_cold} {silence_max:?}");
    }
}

/// An event is no proof: the delays go on to double.
#[tokio::test]
async fn an_app_that_answers_and_dies_at_once_is_not_hammered() {
    let dies = || stream("data: a\n\n", []);
    let mut scripts: Vec<_> = (0..4).map(|_| dies()).collect();
    scripts.push(vec![Step::Request, Step::Wait]);
    let mut app = App::start(scripts).await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.backoff = Backoff {
            min: Duration::from_millis(1),
            max: Duration::from_secs(3_600),
        };
    });
    let (mut reader, _) = rig.by_hand();
    tokio::select! {
        () = reader.work() => panic!("it has a member"),
        () = async { for _ in 0..5 { app.request().await; } } => {}
    }
    assert!(reader.retry.next_delay(u64::MAX) >= Duration::from_millis(16));
}

/// Whoever holds the connections, and however long the wait: it is told from an app that is not there.
#[tokio::test(start_paused = true)]
async fn a_channel_whose_turn_never_came_is_over_because_the_app_is_busy() {
    for open_wait in [1, 500, 1_000, 1_001, 10_000] {
        let mut rig = Rig::new(1, |settings| {
            settings.open_wait = Duration::from_millis(open_wait);
        });
        let route = Arc::make_mut(&mut rig.request.route);
        Arc::make_mut(&mut route.upstream).connections_max = 1;
        let (mut reader, peers) = rig.by_hand();
        let gate = peers.gates.of(&rig.request.route.upstream);
        let _taken = gate.place().expect("the only one");
        reader.work().await;
        let phase = reader.channel.view().phase;
        assert_eq!(phase, Phase::Over(Outcome::Busy), "{open_wait}");
        assert_eq!(rig.connects(ConnectOutcome::Unreachable), 0);
    }
}

/// A long wait in line for an attempt that fails at once: the delays go on to double.
#[tokio::test(start_paused = true)]
async fn the_wait_in_line_is_no_part_of_an_attempt() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let anywhere: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&anywhere.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let mut rig = Rig::new(port, |settings| {
        settings.open_wait = Duration::from_secs(3_600);
        settings.backoff = Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
    });
    let route = Arc::make_mut(&mut rig.request.route);
    Arc::make_mut(&mut route.upstream).connections_max = 1;
    let (mut reader, peers) = rig.by_hand();
    let gate = peers.gates.of(&rig.request.route.upstream);
    let long = async {
        for _ in 0..3 {
            let taken = loop {
                match gate.place() {
                    Some(taken) => break taken,
                    None => tokio::task::yield_now().await,
                }
            };
            let attempts = rig.connects(ConnectOutcome::Unreachable);
            // Far longer than what counts as a sign of calm.
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!(rig.connects(ConnectOutcome::Unreachable), attempts);
            drop(taken);
            while rig.connects(ConnectOutcome::Unreachable) == attempts {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        () = reader.work() => panic!("it has a member"),
        () = long => {}
    }
    assert!(reader.retry.next_delay(u64::MAX) >= Duration::from_secs(4));
}

/// Nobody waits for as long as an app may ask for, and nobody else would ask for who joins meanwhile.
#[tokio::test]
async fn an_app_that_is_busy_for_minutes_is_asked_again_for_the_next_joiner() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 300\r\n\r\n";
    let app = App::start(vec![
        vec![Step::Request, send(busy)],
        vec![Step::Request, send(HEAD)],
    ])
    .await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.open_wait = Duration::from_millis(50);
        settings.reauth = Some(Duration::ZERO);
    });
    let (reader, peers) = rig.by_hand();
    let channel = reader.channel.clone();
    assert!(channel.opened(&http::HeaderMap::new(), clock::now()));
    let dialer = Arc::new(Dialer::new(peers));
    let reauths = &rig.metrics.route("feed").sharing.reauths;
    for outcome in [ReauthOutcome::Failed, ReauthOutcome::Proved] {
        let joined = channel.join(None, clock::now()).unwrap();
        assert!(joined.must_prove, "nobody is at work any more");
        let prover = Prover::new(channel.clone(), dialer.clone());
        tokio::time::timeout(PATIENCE, prover.run(rig.metrics.clone()))
            .await
            .expect("over when nobody waits");
        assert_eq!(reauths.get(outcome), 1);
    }
}

#[tokio::test]
async fn silence_is_a_cut_where_it_is_configured() {
    let silent = stream("data: a\n\n", [Step::Request]);
    let live = stream("data: b\n\n", [Step::Request]);
    let app = App::start(vec![silent, live]).await;
    let rig = Rig::new(app.address.port(), |settings| {
        settings.watchdog = Watchdog::After(Duration::from_millis(200));
    });
    let member = rig.join();
    until_ring(member.channel(), "a <gap> b").await;
    assert_eq!(rig.cuts(CutReason::Silence), 1);
}

#[tokio::test]
async fn events_over_a_limit_are_gaps_in_their_places_and_the_stream_goes_on() {
    use crate::{error::GapReason, metrics::labels::ParseError};
    let large = format!("data: {}\n\n", "x".repeat(600));
    let long = "data\n".repeat(20);
    let id = "i".repeat(300);
    let body = format!(
        "id: {id}\ndata: a\n\n{large}{large}data: b\n\ndata: c\n\n{long}\ndata: d\n\n{large}"
    );
    for step in [send(chunk(&body)), Step::Drip(chunk(&body).into_bytes())] {
        let app = App::start(vec![vec![Step::Request, send(HEAD), step, Step::Wait]]).await;
        let rig = Rig::new(app.address.port(), |settings| {
            settings.event.bytes_max = 500;
            settings.event.fields_max = 19;
        });
        let member = rig.join();
        let metrics = rig.metrics.route("feed");
        until("the last event", || {
            metrics.parse_errors.get(ParseError::EventBytes) == 3
        })
        .await;
        let seen = ring(member.channel()).replace("<gap> <gap>", "<gap>");
        assert_eq!(seen, "a <gap> b c <gap> d <gap>");
        assert!(metrics.gaps.get(GapReason::Oversized) >= 3);
        assert_eq!(metrics.parse_errors.get(ParseError::EventFields), 1);
        assert_eq!(metrics.parse_errors.get(ParseError::Id), 1);
        assert_eq!(rig.connections(), 1);
    }
}

#[tokio::test]
async fn limits_of_a_reload_hold_for_the_open_stream() {
    let app = App::start(vec![
        stream(
            "data: 123456789\n\n",
            [
                Step::Wait,
                send(chunk("data: 123456789\n\ndata: a\n\n")),
                Step::Request,
            ],
        ),
        stream("data: b\n\n", [Step::Wait]),
    ])
    .await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    until_ring(member.channel(), "123456789").await;
    rig.reload(|settings| settings.event.bytes_max = 10);
    app.go_on();
    until_ring(member.channel(), "123456789 <gap> a").await;
    // The app is silent by now: a read that waits already gets its bound.
    rig.reload(|settings| settings.watchdog = Watchdog::After(Duration::from_millis(20)));
    until_ring(member.channel(), "123456789 <gap> a <gap> b").await;
    assert_eq!(rig.cuts(CutReason::Silence), 1);
}

#[tokio::test]
async fn who_waits_counts_from_when_the_app_was_asked() {
    let app = App::start(vec![vec![
        Step::Request,
        Step::Wait,
        send(HEAD),
        Step::Wait,
    ]])
    .await;
    let rig = Rig::new(app.address.port(), |_| {});
    let member = rig.join();
    assert_eq!(member.channel().view().asked_since, None);
    until("the request", || {
        member.channel().view().asked_since.is_some()
    })
    .await;
    app.go_on();
    until("the head", || member.channel().view().phase == Phase::Live).await;
    assert_eq!(member.channel().view().asked_since, None);
}
