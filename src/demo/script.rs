//! What the demo app's streams say, and when. Pure: time is an offset from the start of the
//! stream, chance comes from a seed.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

/// Longest prompt that the chat echoes, in characters.
const PROMPT_CHARS_MAX: usize = 160;
/// Symbols of the ticker and their first prices in cents.
const SYMBOLS: [(&str, i64); 6] = [
    ("ACME", 10_420),
    ("BLUE", 4_215),
    ("CRWN", 28_790),
    ("DUNE", 995),
    ("ECHO", 7_340),
    ("FERN", 15_605),
];
/// Requests that the log tells of: method and path, weight of an error in percent.
const REQUESTS: [(&str, u32); 6] = [
    ("GET /products", 1),
    ("GET /products/4711", 2),
    ("POST /cart", 4),
    ("POST /checkout", 9),
    ("GET /orders", 2),
    ("GET /healthz", 0),
];

/// A stream of the demo app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The classic tutorial: `aaa` at once, `bbb` every 2 s, `ccc` every 5 s.
    Tutorial,
    /// Prices, a few a second.
    Ticker,
    /// A log tail.
    Log,
    /// A token-by-token answer; it ends.
    Chat,
}

impl Kind {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Tutorial, Self::Ticker, Self::Log, Self::Chat];

    /// The path that the page asks for. The tutorial answers on any `/{name}/stream`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Tutorial => "/xxx/stream",
            Self::Ticker => "/demo/ticker",
            Self::Log => "/demo/log",
            Self::Chat => "/demo/chat",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tutorial => "Tutorial",
            Self::Ticker => "Ticker",
            Self::Log => "Log tail",
            Self::Chat => "Chat answer",
        }
    }

    /// The stream behind a request path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        if let Some(kind) = Self::ALL.into_iter().find(|kind| kind.path() == path) {
            return Some(kind);
        }
        let name = path.strip_prefix('/')?.strip_suffix("/stream")?;
        (!name.is_empty() && !name.contains('/')).then_some(Self::Tutorial)
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, counted from the start of the stream.
    pub at: Duration,
    /// Event type; none: `message`.
    pub name: Option<&'static str>,
    /// The `data`, on one line.
    pub data: String,
}

/// The events of one connection, in order. Only the chat ends.
#[derive(Debug)]
pub struct Script {
    source: Source,
    random: StdRng,
    /// When the last event was.
    at: Duration,
}

/// What each stream has to remember.
#[derive(Debug)]
enum Source {
    Tutorial {
        given: u64,
    },
    Ticker {
        prices: [i64; SYMBOLS.len()],
    },
    Log,
    Chat {
        words: std::vec::IntoIter<String>,
        given: u64,
        done: bool,
    },
}

impl Script {
    /// The script of one connection. `prompt` is what the chat answers.
    #[must_use]
    pub fn new(kind: Kind, seed: u64, prompt: &str) -> Self {
        let source = match kind {
            Kind::Tutorial => Source::Tutorial { given: 0 },
            Kind::Ticker => Source::Ticker {
                prices: SYMBOLS.map(|(_, price)| price),
            },
            Kind::Log => Source::Log,
            Kind::Chat => Source::Chat {
                words: answer(prompt).into_iter(),
                given: 0,
                done: false,
            },
        };
        Self {
            source,
            random: StdRng::seed_from_u64(seed),
            at: Duration::ZERO,
        }
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let random = &mut self.random;
        let (at, name, data) = match &mut self.source {
            Source::Tutorial { given } => {
                let (at, msg) = tutorial(*given);
                *given += 1;
                // Written out: these are the tutorial's bytes, whatever a JSON library prefers.
                (at, None, format!(r#"{{"msg":"{msg}"}}"#))
            }
            Source::Ticker { prices } => (
                self.at + pause(random, 120, 380),
                None,
                quote(random, prices),
            ),
            Source::Log => (self.at + pause(random, 150, 1_400), None, log_line(random)),
            Source::Chat { words, given, done } => {
                let at = self.at + pause(random, 30, 110);
                match words.next() {
                    Some(word) => {
                        *given += 1;
                        (at, None, json!({ "token": word }).to_string())
                    }
                    // The closing event tells the reader that the answer is whole: an EventSource
                    // would otherwise come back after the end and ask once more.
                    None if !std::mem::replace(done, true) => {
                        (at, Some("done"), json!({ "tokens": given }).to_string())
                    }
                    None => return None,
                }
            }
        };
        self.at = at;
        Some(Step { at, name, data })
    }
}

/// The nth event of the tutorial: `aaa` at 0, then all multiples of 2 s and of 5 s in order.
fn tutorial(given: u64) -> (Duration, &'static str) {
    let Some(later) = given.checked_sub(1) else {
        return (Duration::ZERO, "aaa");
    };
    let (offset, msg) = match later % 7 {
        0 => (2, "bbb"),
        1 => (4, "bbb"),
        2 => (5, "ccc"),
        3 => (6, "bbb"),
        4 => (8, "bbb"),
        5 => (10, "bbb"),
        _ => (10, "ccc"),
    };
    (Duration::from_secs(later / 7 * 10 + offset), msg)
}

fn pause(random: &mut StdRng, least_ms: u64, most_ms: u64) -> Duration {
    Duration::from_millis(random.random_range(least_ms..=most_ms))
}

fn quote(random: &mut StdRng, prices: &mut [i64; SYMBOLS.len()]) -> String {
    let index = random.random_range(0..SYMBOLS.len());
    let change = random.random_range(-60..=62);
    let quoted = SYMBOLS
        .iter()
        .zip(prices)
        .nth(index)
        .map(|((symbol, _), price)| {
            *price = (*price + change).max(100);
            (*symbol, *price)
        });
    let (symbol, price) = quoted.unwrap_or(("ACME", 0));
    json!({ "symbol": symbol, "price": cents(price), "change": cents(change) }).to_string()
}

fn cents(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", value.abs() / 100, value.abs() % 100)
}

fn log_line(random: &mut StdRng) -> String {
    let index = random.random_range(0..REQUESTS.len());
    let (request, error_percent) = REQUESTS.get(index).copied().unwrap_or(("GET /", 0));
    let failed = random.random_range(0..100) < error_percent;
    let (level, status) = if failed { ("warn", 503) } else { ("info", 200) };
    let took_ms = random.random_range(2..=240);
    json!({ "level": level, "line": format!("{request} {status} {took_ms} ms") }).to_string()
}

/// The chat's answer, cut into tokens that carry their own spaces, as language models do.
fn answer(prompt: &str) -> Vec<String> {
    let prompt: String = prompt.chars().take(PROMPT_CHARS_MAX).collect();
    let asked = match prompt.trim() {
        "" => "You asked nothing in particular.".to_owned(),
        asked => format!("You asked: \u{201c}{asked}\u{201d}."),
    };
    let text = format!("{asked} {ANSWER}");
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// What the chat always has to say.
const ANSWER: &str = "Here is what happens while you read this. The app writes every word of this \
    answer once, to one connection. Sidestream frames it once and hands the same bytes to every \
    reader. However many of you there are, the app counts one.";

#[cfg(test)]
mod tests {
    use super::*;

    fn first(kind: Kind, count: usize) -> Vec<Step> {
        Script::new(kind, 7, "why?").take(count).collect()
    }

    #[test]
    fn the_tutorial_sends_aaa_at_once_bbb_every_2_s_and_ccc_every_5_s() {
        let steps = first(Kind::Tutorial, 15);
        let seen: Vec<(u64, &str)> = steps
            .iter()
            .map(|step| (step.at.as_secs(), &step.data[8..11]))
            .collect();
        assert_eq!(
            seen[..5],
            [(0, "aaa"), (2, "bbb"), (4, "bbb"), (5, "ccc"), (6, "bbb")]
        );
        assert_eq!(seen[6..9], [(10, "bbb"), (10, "ccc"), (12, "bbb")]);
        assert_eq!(seen[13..], [(20, "bbb"), (20, "ccc")]);
        assert_eq!(steps[0].data, r#"{"msg":"aaa"}"#);
    }

    #[test]
    fn every_stream_goes_forward_in_time_and_speaks_json_on_one_line() {
        for kind in Kind::ALL {
            let steps = first(kind, 200);
            assert!(
                steps.windows(2).all(|pair| pair[0].at <= pair[1].at),
                "{kind:?}"
            );
            for step in steps {
                assert!(!step.data.contains(['\r', '\n']), "{kind:?}: {}", step.data);
                serde_json::from_str::<serde_json::Value>(&step.data).unwrap();
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        for kind in Kind::ALL {
            assert_eq!(first(kind, 50), first(kind, 50), "{kind:?}");
        }
    }

    #[test]
    fn the_chat_answers_the_prompt_word_by_word_and_ends_with_done() {
        let steps: Vec<Step> = Script::new(Kind::Chat, 1, "is it \"on\"?").collect();
        let (done, tokens) = steps.split_last().unwrap();
        assert_eq!(done.name, Some("done"));
        assert_eq!(done.data, format!(r#"{{"tokens":{}}}"#, tokens.len()));
        let text: String = tokens
            .iter()
            .map(|step| serde_json::from_str::<serde_json::Value>(&step.data).unwrap())
            .map(|value| value["token"].as_str().unwrap().to_owned())
            .collect();
        assert!(
            text.starts_with("You asked: \u{201c}is it \"on\"?\u{201d}. Here"),
            "{text}"
        );
        assert!(text.ends_with("the app counts one."), "{text}");
    }

    #[test]
    fn a_path_names_its_stream() {
        let check = |path: &str, expected: Option<Kind>| {
            assert_eq!(Kind::of_path(path), expected, "{path}");
        };
        for kind in Kind::ALL {
            check(kind.path(), Some(kind));
        }
        check("/anything/stream", Some(Kind::Tutorial));
        for path in [
            "/",
            "/stream",
            "//stream",
            "/a/b/stream",
            "/xxx/stream/",
            "/demo/other",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn cents_read_like_money() {
        for (value, text) in [(0, "0.00"), (5, "0.05"), (-60, "-0.60"), (12_345, "123.45")] {
            assert_eq!(cents(value), text);
        }
    }
}
