//! The first bytes of a subscriber's stream: response head and opening block. And the few lines
//! that we write ourselves later on. Pure but for the cached `Date`.

use std::{fmt::Write as _, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};

use super::batch::{Form, Framing, GapForm};
use crate::{
    channel::{
        ring::{gap_comment, gap_event},
        view::Placement,
    },
    config::model::{Fanout, GapNotice, RetryRange},
    decide::Reader,
    sse::encode::Frame,
};

/// Bounds of an app's `retry:` that we believe.
const APP_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// The part of the linger in which readers of one answer come back; the rest is for their way.
const LINGER_USED: f64 = 0.9;

/// How `reader` is told of gaps under `notice`.
#[must_use]
pub const fn gap_form(notice: GapNotice, reader: Reader) -> GapForm {
    match (notice, reader) {
        (GapNotice::Event, _) | (GapNotice::Auto, Reader::EventSource) => GapForm::Event,
        (GapNotice::Comment, _) | (GapNotice::Auto, Reader::Other) => GapForm::Comment,
        (GapNotice::Close, _) => GapForm::Close,
    }
}

/// The reconnect time for one client: uniform in the configured range, or in [R, 1.5 R + 1 s]
/// around the app's own R, so that no crowd comes back in the same second. Who has read one answer
/// comes back while that is kept, whatever the app says: it would have to give it again.
#[must_use]
pub fn retry(settings: &Fanout, app: Option<Duration>, random: f64) -> Duration {
    let (min, max) = match app {
        Some(app) => {
            let app = app.clamp(APP_RETRY.0, APP_RETRY.1);
            (app, app.mul_f64(1.5) + Duration::from_secs(1))
        }
        None => (settings.retry.min, settings.retry.max),
    };
    let latest = if settings.is_one_answer() {
        settings.linger.mul_f64(LINGER_USED)
    } else {
        Duration::MAX
    };
    let range = RetryRange {
        min: min.min(latest),
        max: max.min(latest),
    };
    within(range, random)
}

/// A time in `range`; `random` is uniform in 0..1.
#[must_use]
pub fn within(range: RetryRange, random: f64) -> Duration {
    let width = range.max.saturating_sub(range.min);
    range.min + width.mul_f64(random.clamp(0.0, 1.0))
}

/// The opening block: reconnect time, a comment so that the first body byte is there at once, the
/// position, and the hole that the joiner must know of.
///
/// For native EventSource it ends with a blank line, which commits the id (HTML standard 9.2.6:
/// the last event id is set on dispatch, also of an empty block), so that a cut before the first
/// event is no silent hole. For others there is none: httpx-sse would hand out an empty event.
#[must_use]
pub fn opening_block(
    placement: &Placement,
    retry: Duration,
    reader: Reader,
    gap: GapForm,
) -> Vec<u8> {
    let mut block = format!("retry: {}\n: sidestream\n", retry.as_millis()).into_bytes();
    if let Some(hole) = placement.hole {
        block.extend_from_slice(&match gap {
            GapForm::Event => gap_event(hole, placement.gap_id.as_deref()).payload(),
            // To close here would make the client come back with the same id, for ever.
            GapForm::Comment | GapForm::Close => gap_comment(hole).payload(),
        });
    }
    if reader == Reader::EventSource {
        if let Some(id) = &placement.id {
            block.extend_from_slice(b"id: ");
            block.extend_from_slice(id);
            block.push(b'\n');
        }
        block.push(b'\n');
    }
    block
}

/// The last line of a stream that we end: when to come back. A `retry:` line takes effect without
/// a blank line.
#[must_use]
pub fn parting_line(retry: Duration) -> Vec<u8> {
    format!("retry: {}\n", retry.as_millis()).into_bytes()
}

/// `payload` in the framing of a sink.
#[must_use]
pub fn framed(payload: &[u8], framing: Framing) -> Bytes {
    match framing {
        Framing::Chunked => Frame::raw(payload).chunked().clone(),
        Framing::Plain => Bytes::copy_from_slice(payload),
    }
}

/// The heartbeat: one comment line with one line feed, the form that every library survives.
#[must_use]
pub fn heartbeat(form: Form) -> Bytes {
    match form.framing {
        Framing::Chunked => Bytes::from_static(b"4\r\n:hb\n\r\n"),
        Framing::Plain => Bytes::from_static(b":hb\n"),
    }
}

/// Head of a stream over HTTP/1. The connection is closed at its end, so it says so.
#[must_use]
pub fn h1_head<'a>(
    status: StatusCode,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    date: &HeaderValue,
    framing: Framing,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    // Writing to a BytesMut does not fail: it grows.
    let _grown = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    header(&mut out, "Date", date.as_bytes());
    for (name, value) in fields {
        header(&mut out, name.as_str(), value.as_bytes());
    }
    header(&mut out, "Connection", b"close");
    if framing == Framing::Chunked {
        header(&mut out, "Transfer-Encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn header(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, SET_COOKIE};

    use super::*;
    use crate::{
        channel::ring::Hole,
        config::{model::OnEnd, testing::fanout},
        error::GapReason,
    };

    fn placement(hole: Option<Hole>) -> Placement {
        Placement {
            cursor: 9,
            hole,
            id: Some(Bytes::from_static(b"e-9")),
            gap_id: Some("e-9".to_owned()),
            app_retry: None,
            head: 9,
            is_done: false,
        }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_opening_block_suits_the_reader() {
        let block = |reader, gap, hole| {
            opening_block(&placement(hole), Duration::from_millis(1500), reader, gap)
        };
        assert_eq!(
            text(&block(Reader::EventSource, GapForm::Event, None)),
            "retry: 1500\n: sidestream\nid: e-9\n\n"
        );
        assert_eq!(
            text(&block(Reader::Other, GapForm::Comment, None)),
            "retry: 1500\n: sidestream\n"
        );
        let hole = Some(Hole {
            reason: GapReason::UnknownId,
            missing: None,
        });
        let notice = r#"{"reason":"unknown_id","from":null,"to":null,"missed":null}"#;
        assert_eq!(
            text(&block(Reader::EventSource, GapForm::Event, hole)),
            format!(
                "retry: 1500\n: sidestream\nevent: sidestream-gap\ndata: {notice}\nid: e-9\n\nid: e-9\n\n"
            )
        );
        assert_eq!(
            text(&block(Reader::Other, GapForm::Comment, hole)),
            format!("retry: 1500\n: sidestream\n: sidestream-gap {notice}\n")
        );
    }

    #[test]
    fn reconnect_times_spread() {
        let mut settings = fanout();
        let ms = |settings: &Fanout, app: Option<u64>, random| {
            retry(settings, app.map(Duration::from_millis), random).as_millis()
        };
        assert_eq!(
            [0.0, 0.5, 1.0].map(|random| ms(&settings, None, random)),
            [1_000, 3_000, 5_000]
        );
        let by_the_app = |app| [0.0, 1.0].map(|random| ms(&settings, Some(app), random));
        assert_eq!(by_the_app(2_000), [2_000, 4_000]);
        assert_eq!(by_the_app(0)[0], 100, "an app's zero would be a storm");
        assert_eq!(by_the_app(u64::MAX)[0], 3_600_000);
        settings.on_end = OnEnd::Final;
        settings.linger = Duration::from_secs(60);
        assert_eq!(ms(&settings, Some(2_000), 1.0), 4_000);
        assert_eq!(ms(&settings, Some(3_600_000), 0.0), 54_000, "it is kept");
    }

    #[test]
    fn a_stream_head_frames_by_version() {
        let date = HeaderValue::from_static("D");
        let fields = [
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (SET_COOKIE, HeaderValue::from_static("a=1")),
        ];
        let head = |framing| {
            let fields = fields.iter().map(|(name, value)| (name, value));
            let head = h1_head(StatusCode::OK, fields, &date, framing);
            text(&head).to_owned()
        };
        let plain = "HTTP/1.1 200 OK\r\nDate: D\r\ncontent-type: text/event-stream\r\n\
                     set-cookie: a=1\r\nConnection: close\r\n";
        assert_eq!(head(Framing::Plain), format!("{plain}\r\n"));
        let chunked = format!("{plain}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(head(Framing::Chunked), chunked);
    }

    #[test]
    fn heartbeats_are_one_comment_line() {
        let form = |framing| Form {
            framing,
            gap: GapForm::Comment,
        };
        let plain = heartbeat(form(Framing::Plain));
        assert_eq!(text(&plain), ":hb\n");
        assert_eq!(
            heartbeat(form(Framing::Chunked)),
            framed(&plain, Framing::Chunked)
        );
    }
}
