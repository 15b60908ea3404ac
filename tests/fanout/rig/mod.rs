//! What fan-out tests need beyond the rig of all: readers of event streams, an app that asks the test
//! what to answer, and settings of fan-out routes.

pub(crate) mod app;
mod body;
pub(crate) mod many;
pub(crate) mod numbered;
pub(crate) mod outside;
pub(crate) mod peers;
pub(crate) mod reader;
pub(crate) mod wire;

use std::ops::Deref;

use app::{App, Exchange};
use reader::{Ask, Reader, event_source, h1_pending};

pub(crate) use crate::base::process::make_certificate;
use crate::base::{process::Process, section};
pub(crate) use crate::base::{soon, until};

/// Sidestream before an app on a port of this machine.
pub(crate) struct Side(Process);

/// What stands in the configuration beside the rig's own part.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    /// Settings of all fan-out routes, a line each.
    pub(crate) fanout: &'a str,
    /// Further settings of the upstream, in YAML's flow form.
    pub(crate) upstream: &'a str,
    /// `limits:`, a line each.
    pub(crate) limits: &'a str,
    /// Further routes, a line each in YAML's flow form.
    pub(crate) routes: &'a [&'a str],
    /// `drain:`, in YAML's flow form.
    pub(crate) drain: &'a str,
    /// Lines of the file itself.
    pub(crate) file: &'a str,
}

impl Side {
    /// Before an app on `port`; paths below `/feed/` fan out with these settings, paths below
    /// `/pass/` pass through.
    pub(crate) fn start(port: u16, fanout: &str) -> Self {
        Self::with(
            port,
            &Settings {
                fanout,
                ..Settings::default()
            },
        )
    }

    /// As [`Side::start`], with more to set.
    pub(crate) fn with(port: u16, settings: &Settings<'_>) -> Self {
        Self::on(&format!("http://127.0.0.1:{port}"), settings)
    }

    /// As [`Side::start`], with sockets that soon hold no more for a client that reads nothing.
    pub(crate) fn of_small_buffers(port: u16, fanout: &str) -> Self {
        Self::with(
            port,
            &Settings {
                fanout,
                limits: "tcp_send_buffer_bytes: 4KiB",
                ..Settings::default()
            },
        )
    }

    /// As [`Side::with`], before an app at `address`.
    pub(crate) fn on(address: &str, settings: &Settings<'_>) -> Self {
        let mut yaml = format!(
            "upstreams: {{ app: {{ address: '{address}', {} }} }}\n\
             routes:\n\
             \x20 - {{ name: feed, path: '/feed/{{*rest}}', action: fanout }}\n\
             \x20 - {{ name: pass, path: '/pass/{{*rest}}', action: proxy }}\n",
            settings.upstream,
        );
        for route in settings.routes {
            yaml.push_str(&format!("\x20 - {route}\n"));
        }
        // Reconnects at once.
        let fanout = format!("backoff: {{ min: 10ms, max: 50ms }}\n{}", settings.fanout);
        section(&mut yaml, "defaults", &fanout);
        section(&mut yaml, "limits", settings.limits);
        if !settings.drain.is_empty() {
            yaml.push_str(&format!("drain: {}\n", settings.drain));
        }
        yaml.push_str(settings.file);
        Self(Process::start(&yaml))
    }

    /// On a file that may be rewritten; `rest` is all that is not common to all tests.
    pub(crate) fn watching(rest: &str) -> Self {
        Self(Process::watching(rest))
    }

    /// Clients in all channels, waiting ones included.
    pub(crate) fn members(&self) -> usize {
        let channels = self.hub().registry.list(usize::MAX);
        channels
            .iter()
            .map(|channel| channel.row().subscribers)
            .sum()
    }

    /// Waits until so many clients are in all channels.
    pub(crate) async fn until_members(&self, wanted: usize) {
        until(&format!("{wanted} members"), || self.members() == wanted).await;
    }

    /// Is told to end, and does.
    pub(crate) fn leave_now(self) {
        self.0.leave_now();
    }

    /// Waits until the drain is over, and ends.
    pub(crate) fn leave(self) {
        self.0.leave();
    }

    /// Everything is given back: no client, no place taken, no gauge off its zero.
    pub(crate) async fn until_empty(&self) {
        self.until_members(0).await;
        until("all places free", || {
            self.hub().admission.subscribers.taken() == 0
        })
        .await;
        for gauge in [
            "waiting_joiners",
            "behind_subscribers",
            "subscribers{route=\"feed\",protocol=\"h1\"}",
            "subscribers{route=\"feed\",protocol=\"h2\"}",
        ] {
            self.until_metric(gauge, 0).await;
        }
    }
}

impl Deref for Side {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

/// A page that reads `/feed/a`, and the app's side of it.
pub(crate) async fn opened(side: &Side, app: &App) -> (Exchange, Reader) {
    opened_by(side, app, &event_source("/feed/a")).await
}

/// As [`opened`], by a request of the test's own.
pub(crate) async fn opened_by(side: &Side, app: &App, ask: &Ask) -> (Exchange, Reader) {
    let pending = h1_pending(side.plain(), ask).await;
    let exchange = app.opens().await;
    (exchange, pending.head().await)
}

#[test]
#[should_panic(expected = "no series subscribers{route=\"feed\"}; there are\n\
                           sidestream_subscribers{route=\"feed\",protocol=")]
fn a_series_that_there_is_not_fails_a_test_and_shows_those_alike() {
    Side::start(1, "").metric("subscribers{route=\"feed\"}");
}
