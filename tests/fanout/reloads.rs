//! A changed configuration file under five hundred clients: what it leaves unchanged is not touched,
//! and what it changes is as it says.

use std::time::Duration;

use crate::rig::{
    Side,
    app::{App, Exchange},
    reader::{End, H2, Reader, event_source, get, h1, h1_pending},
};

/// Clients of the route that no file changes: half of them on connections of their own.
const KEPT: usize = 500;
const STREAMS_PER_CONNECTION: usize = 50;

/// Clients of the route that the files change.
const OTHERS: usize = 6;

/// Clients of a retired channel leave over this time, and those who are to end at once do not.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

const OTHER: &str =
    "{ name: other, path: /feed/other, action: fanout, upstream: app, share: public }";

/// A configuration: its routes are one that no file changes, `other`, and all else.
fn file(app: u16, second: u16, other: &str, more: &str) -> String {
    let other = if other.is_empty() {
        String::new()
    } else {
        format!("\x20 - {other}\n")
    };
    format!(
        "upstreams: {{ app: 'http://127.0.0.1:{app}', second: 'http://127.0.0.1:{second}' }}\n\
         defaults: {{ retry: {{ min: 1s, max: {}s }} }}\n\
         routes:\n\
         \x20 - {{ name: kept, path: /feed/kept, action: fanout, upstream: app }}\n\
         {other}\
         \x20 - {{ name: rest, path: '/{{*rest}}', action: proxy, upstream: app }}\n\
         {more}\n",
        RETRY_MAX.as_secs()
    )
}

/// Sidestream on a file, its apps, and the clients that no file is to touch.
struct Stage {
    side: Side,
    app: App,
    second: App,
    exchange: Exchange,
    kept: Vec<Reader>,
    events: usize,
    files: i64,
}

impl Stage {
    async fn new() -> Self {
        let (app, second) = (App::start().await, App::start().await);
        let side = Side::watching(&file(app.port(), second.port(), OTHER, ""));
        let pending = h1_pending(side.plain(), &event_source("/feed/kept")).await;
        let exchange = app.opens().await;
        let mut kept = vec![pending.head().await];
        while kept.len() < KEPT / 2 {
            kept.push(h1(side.plain(), &event_source("/feed/kept")).await);
        }
        while kept.len() < KEPT {
            let connection = H2::connect(side.plain()).await;
            for _ in 0..STREAMS_PER_CONNECTION {
                kept.push(connection.ask(&get("/feed/kept")).await);
            }
        }
        side.until_members(KEPT).await;
        Self {
            side,
            app,
            second,
            exchange,
            kept,
            events: 0,
            files: 0,
        }
    }

    fn text(&self, other: &str, more: &str) -> String {
        let rest = file(self.app.port(), self.second.port(), other, more);
        self.side.source(&rest)
    }

    async fn reload(&mut self, outcome: &str, other: &str, more: &str) {
        self.put(outcome, &self.text(other, more)).await;
    }

    /// A file with this route that no round before had.
    async fn again(&mut self, other: &str, round: usize) {
        let more = format!("limits: {{ channels_max: {} }}", 100 + round);
        self.reload("applied", other, &more).await;
    }

    /// Puts a file in place and waits until it was looked at.
    async fn put(&mut self, outcome: &str, text: &str) {
        let series = format!("config_reloads_total{{outcome=\"{outcome}\"}}");
        let before = self.side.metric(&series);
        self.side.rewrite(text);
        self.side.until_metric(&series, before + 1).await;
        self.files += 1;
        let good = i64::from(outcome != "rejected");
        assert_eq!(self.side.metric("config_last_reload_successful"), good);
    }

    /// All of the kept clients get an event on the connection that they have, and nothing else.
    async fn nobody_noticed(&mut self) {
        self.events += 1;
        let data = self.events.to_string();
        self.exchange.event(&data).await;
        for reader in &mut self.kept {
            let event = reader.event().await;
            assert_eq!(event.data, data);
        }
        let ended = self.side.metrics().render();
        let ended = ended.lines().filter(|line| {
            line.starts_with("sidestream_subscribers_ended_total{route=\"kept\"")
                && !line.ends_with(" 0")
        });
        assert_eq!(ended.collect::<Vec<_>>(), [] as [&str; 0]);
    }

    /// Clients of the other route, half of them in a browser, and their app.
    async fn others(&self) -> (Vec<Reader>, Exchange) {
        let pending = h1_pending(self.side.plain(), &event_source("/feed/other")).await;
        let exchange = self.app.opens().await;
        let mut readers = vec![pending.head().await];
        while readers.len() < OTHERS {
            let ask = match readers.len() % 2 {
                0 => event_source("/feed/other"),
                _ => get("/feed/other"),
            };
            readers.push(h1(self.side.plain(), &ask).await);
        }
        (readers, exchange)
    }
}

#[tokio::test]
async fn limits_and_rings_change_in_place() {
    let mut stage = Stage::new().await;
    let (mut others, mut exchange) = stage.others().await;
    let roomy = OTHER.replace(" }", ", ring: { events_max: 7 }, heartbeat: 1s }");
    stage
        .reload("applied", &roomy, "limits: { subscribers_max: 506 }")
        .await;
    stage.nobody_noticed().await;
    exchange.event("still here").await;
    for reader in &mut others {
        assert_eq!(reader.data(1).await, ["still here"]);
    }
    assert_eq!(stage.side.metric("subscribers_max"), 506);
    // The cap is in force: one more is one too many.
    assert_eq!(
        h1(stage.side.plain(), &get("/feed/other")).await.status,
        503
    );
    let channels = stage.side.hub().registry.list(9);
    let other = channels.iter().find(|channel| channel.key.route == "other");
    assert_eq!(other.unwrap().settings().ring.events_max, 7);
}

#[tokio::test]
async fn a_removed_route_and_a_changed_app_move_their_clients_away_by_and_by() {
    let mut stage = Stage::new().await;
    let moved = OTHER.replace("upstream: app", "upstream: second");
    for (round, other) in ["", moved.as_str()].into_iter().enumerate() {
        stage.again(OTHER, round).await;
        let (others, mut exchange) = stage.others().await;
        stage.reload("applied", other, "").await;
        // The app is let go at once. Its clients leave over the range of their reconnect times.
        exchange.closed().await;
        stage.nobody_noticed().await;
        let there = "subscribers{route=\"other\",protocol=\"h1\"}";
        assert!(stage.side.metric(there) > 0, "not all at once");
        // Whoever comes now is served by the new file.
        let ask = get("/feed/other");
        let asking = h1(stage.side.plain(), &ask);
        let serving = async {
            let new_app = if other.is_empty() {
                &stage.app
            } else {
                &stage.second
            };
            let mut exchange = new_app.asked().await;
            exchange
                .send_answer("404 Not Found", "", b"of the new app")
                .await;
            exchange
        };
        let (mut answer, _exchange) = tokio::join!(asking, serving);
        assert_eq!(
            (answer.status, answer.body().await),
            (404, b"of the new app".to_vec())
        );
        drop(others);
        stage.side.until_metric(there, 0).await;
        stage.side.until_members(KEPT).await;
    }
}

#[tokio::test]
async fn who_may_no_longer_share_is_parted_at_once() {
    let mut stage = Stage::new().await;
    let by_credentials = OTHER.replace("share: public", "share: credentials");
    let by_session =
        by_credentials.replace(" }", ", identity: { headers: [], cookies: [session] } }");
    let changes = [(OTHER, &by_credentials), (&by_credentials, &by_session)];
    for (round, (before, after)) in changes.into_iter().enumerate() {
        stage.again(before, round).await;
        let (others, mut exchange) = stage.others().await;
        stage.reload("applied", after, "").await;
        exchange.closed().await;
        for (n, mut reader) in others.into_iter().enumerate() {
            let wanted = if n % 2 == 0 { End::Complete } else { End::Cut };
            assert_eq!(
                reader.end().await,
                wanted,
                "within {RETRY_MAX:?}, not over it"
            );
        }
        stage.nobody_noticed().await;
    }
    let series = "subscribers_ended_total{route=\"other\",reason=\"reloaded\"}";
    assert_eq!(stage.side.metric(series), 2 * OTHERS as i64);
}

#[tokio::test]
async fn what_takes_a_restart_is_told_and_the_rest_applies() {
    let mut stage = Stage::new().await;
    for (section, from, to) in [
        ("threads", "threads: 2", "threads: 3"),
        (
            "admin",
            "admin: { address: '127.0.0.1:0'",
            "admin: { address: '127.0.0.1:1'",
        ),
        (
            "listeners",
            "{ name: plain, address: '127.0.0.1:0' }",
            "{ name: plain, address: '127.0.0.1:1' }",
        ),
        ("log", "threads: 2", "threads: 2\nlog: { format: json }"),
    ] {
        let text = stage
            .text(OTHER, "limits: { channels_max: 77 }")
            .replace(from, to);
        stage.put("restart_needed", &text).await;
        assert_eq!(stage.side.metric("config_restart_needed"), 1);
        let page = stage.side.admin("/readyz").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let note = format!("\"notes\":[\"restart needed: {section}\"]");
        assert!(page.contains(&note), "{page}");
    }
    assert_eq!(stage.side.metric("channels_max"), 77);
    stage.nobody_noticed().await;
    stage.reload("applied", OTHER, "").await;
    assert_eq!(stage.side.metric("config_restart_needed"), 0);
    assert!(stage.side.admin("/readyz").await.contains("\"notes\":[]"));
}

#[tokio::test]
async fn a_hundred_files_good_and_bad_cut_nobody() {
    let mut stage = Stage::new().await;
    for n in 0..100 {
        let channels_max = format!("limits: {{ channels_max: {} }}", 100 + n);
        match n % 5 {
            0 => stage.reload("applied", "", &channels_max).await,
            1 => stage.reload("applied", OTHER, &channels_max).await,
            2 => {
                stage
                    .reload("rejected", "{ path: nowhere", &channels_max)
                    .await
            }
            3 => {
                stage
                    .reload("rejected", OTHER, &format!("limts: {n}"))
                    .await
            }
            _ => {
                let text = stage.text(OTHER, &channels_max);
                let text = text.replace("threads: 2", "threads: 3");
                stage.put("restart_needed", &text).await;
            }
        }
        if n % 10 == 9 {
            stage.nobody_noticed().await;
        }
    }
    assert_eq!(stage.files, 100);
    assert_eq!(
        stage.app.requests(),
        1,
        "one stream from the app for all of it"
    );
}
