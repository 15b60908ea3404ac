//! Question to page. No sockets here.

use std::{net::IpAddr, str::FromStr};

use http::{Method, StatusCode};
use serde_json::json;

use super::{Sources, channels};
use crate::{clock::Millis, lifecycle::Phase, metrics};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// With this header a command is meant. A page of another site cannot send it: the browser asks us
/// first, by a request with `OPTIONS`, and we never agree.
pub const COMMAND_HEADER: &str = "Sidestream-Command";

const READ: &str = "GET, HEAD";
const COMMAND: &str = "POST";

/// Rows of `/channels` without `limit`.
const ROWS_DEFAULT: usize = 1_000;

/// Rows of `/channels` at most: their text is made in memory.
pub(super) const ROWS_MAX: usize = 10_000;

/// Rows that are made at once: the thread has other work, which must not wait for all of them.
pub(super) const ROWS_AT_ONCE: usize = 100;

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// By TCP: a browser on this machine might be the one who asks.
    Network,
    /// By a unix socket, which no browser opens.
    File,
    /// By the address for metrics, from anywhere, and by any name.
    Scraper,
}

/// The parts of a request that decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) host: Option<&'a [u8]>,
    /// The value of [`COMMAND_HEADER`].
    pub(super) command: Option<&'a [u8]>,
    pub(super) peer: Peer,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    /// The methods that this page has.
    pub(super) allow: &'static str,
}

impl Page {
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{text}\n"),
            allow: READ,
        }
    }

    fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self {
            status,
            content_type: JSON,
            body: format!("{body}\n"),
            allow: READ,
        }
    }

    fn ok(content_type: &'static str, body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body,
            allow: READ,
        }
    }
}

pub(super) async fn answer(question: &Question<'_>, sources: &Sources, now: Millis) -> Page {
    if question.peer == Peer::Network && !question.host.is_none_or(is_loopback) {
        return Page::text(
            StatusCode::MISDIRECTED_REQUEST,
            "the admin service answers to localhost and loopback addresses only",
        );
    }
    if question.peer == Peer::Scraper && question.path != "/metrics" {
        return Page::text(StatusCode::NOT_FOUND, "there is only /metrics here");
    }
    let page = match question.path {
        "/livez" => live(sources, now),
        "/readyz" => ready(sources),
        "/metrics" => Page::ok(metrics::CONTENT_TYPE, sources.metrics.render()),
        "/channels" => list_channels(question.query, sources, now).await,
        "/config" => Page::ok("application/yaml", (sources.config)()),
        "/drain" => return drain(question, sources),
        _ => {
            return Page::text(
                StatusCode::NOT_FOUND,
                "no such page; there are /livez /readyz /metrics /channels /config, and POST /drain",
            );
        }
    };
    if matches!(*question.method, Method::GET | Method::HEAD) {
        page
    } else {
        Page::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered here",
        )
    }
}

/// Begins to drain, as a signal would, but the process stays. Said twice it is the same.
fn drain(question: &Question<'_>, sources: &Sources) -> Page {
    if *question.method != Method::POST {
        let page = Page::text(StatusCode::METHOD_NOT_ALLOWED, "a drain is ordered by POST");
        return Page {
            allow: COMMAND,
            ..page
        };
    }
    if question.command != Some(b"drain") {
        let text = format!("say that you mean it, by a header: {COMMAND_HEADER}: drain");
        return Page::text(StatusCode::FORBIDDEN, &text);
    }
    if sources.lifecycle.advance(Phase::Draining) {
        tracing::info!("told to drain by the admin service");
    }
    let phase = sources.lifecycle.phase();
    Page::json(StatusCode::ACCEPTED, &json!({ "phase": phase.as_str() }))
}

/// A page of another site whose name now points to 127.0.0.1 (DNS rebinding) still sends that name.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || IpAddr::from_str(name).is_ok_and(|address| address.is_loopback())
}

/// `reasons` say what hangs or is down.
fn live(sources: &Sources, now: Millis) -> Page {
    let reasons = sources.lifecycle.ailments(now);
    Page::json(
        health(&reasons),
        &json!({ "live": reasons.is_empty(), "reasons": reasons }),
    )
}

/// Well, unless there are reasons.
const fn health<T>(reasons: &[T]) -> StatusCode {
    if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// `reasons` say why it is not ready; `notes` are for people and change nothing.
fn ready(sources: &Sources) -> Page {
    let phase = sources.lifecycle.phase();
    let reasons = if phase == Phase::Ready {
        vec![]
    } else {
        vec![phase.as_str()]
    };
    let notes = sources.lifecycle.notes();
    Page::json(
        health(&reasons),
        &json!({ "ready": reasons.is_empty(), "reasons": reasons, "notes": notes }),
    )
}

async fn list_channels(query: &str, sources: &Sources, now: Millis) -> Page {
    let limit = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit="));
    let limit = match limit.map(usize::from_str) {
        None => ROWS_DEFAULT,
        Some(Ok(limit)) => limit.min(ROWS_MAX),
        Some(Err(_)) => {
            return Page::text(
                StatusCode::BAD_REQUEST,
                "limit is a number, as in ?limit=100",
            );
        }
    };
    let (rows, total) = sources.channels.channels(limit);
    let mut channels = String::new();
    let mut shown = 0;
    for row in rows.take(limit) {
        if shown > 0 {
            channels.push(',');
            if shown % ROWS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        channels.push_str(&channels::to_json(&row, now).to_string());
        shown += 1;
    }
    let hints = sources.channels.hints();
    let hints: serde_json::Value = hints
        .iter()
        .map(|hint| channels::hint_to_json(hint, now))
        .collect();
    Page::ok(
        JSON,
        format!(
            "{{\"channels\":[{channels}],\"hints\":{hints},\"shown\":{shown},\"total\":{total}}}\n"
        ),
    )
}
