use std::{io, sync::Arc};

use parking_lot::Mutex;
use tracing::{debug, info, subscriber::with_default, warn};

use super::*;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn lines(directives: &str, form: Form, log: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    with_default(subscriber(directives, form, sink.clone()).unwrap(), log);
    let text = String::from_utf8(sink.0.lock().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hostile_paths_make_one_valid_json_line_each() {
    let long = "x".repeat(65_536);
    let hostile = ["a\r\nb", "\u{1b}[2J", "\u{2028}", "\"}", long.as_str()];
    let lines = lines("info", Form::Json, || {
        for path in hostile {
            info!(path = %Clip::new(path), "refused");
        }
    });
    assert_eq!(lines.len(), hostile.len());
    for (line, path) in lines.iter().zip(hostile) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["message"], "refused");
        assert_eq!(json["path"], Clip::new(path).to_string());
        assert!(line.len() < 1_000);
    }
}

#[test]
fn text_lines_stay_lines() {
    let lines = lines("info", Form::Plain, || {
        warn!(path = %Clip::new("a\r\nERROR forged \u{1b}[2J"), "refused");
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains('\u{1b}'), "{lines:?}");
}

#[test]
fn the_crates_below_are_quiet_unless_asked() {
    let log = || {
        debug!(target: "sidestream", "ours");
        warn!(target: "pingora_core::protocols::http::v1::common", "invalid content-length");
        warn!(target: "pingora_proxy", "failed");
        debug!(target: "h2::codec", "frame");
    };
    assert_eq!(lines("debug", Form::Plain, log).len(), 1);
    assert_eq!(
        lines("debug,pingora_proxy=warn,h2=debug", Form::Plain, log).len(),
        3
    );
    assert_eq!(lines("error", Form::Plain, log).len(), 0);
}

#[test]
fn a_filter_is_checked() {
    for good in [
        "info",
        "warn,sidestream=debug",
        "sidestream::egress=trace",
        "off",
    ] {
        assert_eq!(check_filter(good), Ok(()), "{good}");
    }
    for bad in ["sidestream=loud", "a=b=c", "verbose", ""] {
        let problem = check_filter(bad).unwrap_err();
        assert!(problem.contains("is not a log filter"), "{bad}: {problem}");
        assert!(problem.contains("; write a level (off, error"), "{problem}");
    }
}
