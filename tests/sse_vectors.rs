//! Runs `tests/data/sse_vectors.txt`: the parser gives the same items however the bytes are cut.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::iter::Peekable;

use bytes::Bytes;
use sidestream::{
    config::model::EventLimits,
    sse::{
        event::{Event, Excess, Item},
        parser::Parser,
    },
};

const VECTORS: &str = include_str!("data/sse_vectors.txt");

struct Vector {
    name: String,
    limits: EventLimits,
    input: Vec<u8>,
    expected: Outcome,
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    items: Vec<Item>,
    unfinished: bool,
}

fn parse<'a>(limits: EventLimits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limits);
    let mut outcome = Outcome::default();
    for chunk in chunks {
        parser.feed(chunk, &mut |item| outcome.items.push(item));
    }
    outcome.unfinished = parser.finish();
    outcome
}

#[test]
fn every_vector_gives_its_items_in_every_cut() {
    let vectors = read_vectors();
    assert!(vectors.len() >= 60, "only {} vectors", vectors.len());
    for Vector {
        name,
        limits,
        input,
        expected,
    } in &vectors
    {
        assert_eq!(&parse(*limits, [&input[..]]), expected, "{name}, whole");
        assert_eq!(
            &parse(*limits, input.chunks(1)),
            expected,
            "{name}, byte by byte"
        );
        let with_empty = input.chunks(1).flat_map(|byte| [&b""[..], byte, b""]);
        assert_eq!(
            &parse(*limits, with_empty),
            expected,
            "{name}, with empty chunks"
        );
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(
                &parse(*limits, [head, tail]),
                expected,
                "{name}, cut at {cut}"
            );
        }
    }
}

#[test]
fn vector_names_are_unique() {
    let mut names: Vec<String> = read_vectors()
        .into_iter()
        .map(|vector| vector.name)
        .collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

fn read_vectors() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for (index, line) in VECTORS.lines().enumerate() {
        let line_number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            vectors.push(Vector {
                name: name.strip_suffix(']').expect("a name ends in ]").to_owned(),
                limits: EventLimits {
                    bytes_max: 4096,
                    fields_max: 64,
                    id_bytes_max: 64,
                },
                input: Vec::new(),
                expected: Outcome::default(),
            });
            continue;
        }
        let vector = vectors.last_mut().expect("a vector starts with its name");
        read_line(vector, line).unwrap_or_else(|problem| panic!("line {line_number}: {problem}"));
    }
    vectors
}

fn read_line(vector: &mut Vector, line: &str) -> Result<(), String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        ">" => vector
            .input
            .extend(quoted(rest)?.first().ok_or("no bytes")?),
        "=" => read_item(vector, rest)?,
        "unfinished" => vector.expected.unfinished = true,
        "limits" => {
            let numbers: Result<Vec<usize>, _> = rest.split(' ').map(str::parse).collect();
            let [bytes_max, fields_max, id_bytes_max] = numbers.unwrap_or_default()[..] else {
                return Err("limits takes three numbers".into());
            };
            vector.limits = EventLimits {
                bytes_max,
                fields_max,
                id_bytes_max,
            };
        }
        _ => return Err(format!("cannot read {line}")),
    }
    Ok(())
}

fn read_item(vector: &mut Vector, text: &str) -> Result<(), String> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let item = match kind {
        "event" => match &quoted(rest)?[..] {
            [name, data, id @ ..] if id.len() < 2 => Item::Event(Event {
                name: name.clone(),
                data: data.clone(),
                id: id.first().cloned(),
            }),
            _ => return Err("event takes NAME DATA and perhaps ID".into()),
        },
        "id" => Item::Id(quoted(rest)?.first().ok_or("no id")?.clone()),
        "retry" => Item::Retry(rest.parse().map_err(|_| "retry takes a number")?),
        "comment" => Item::Comment,
        "skipped" => Item::Skipped(match rest {
            "bytes" => Excess::Bytes,
            "fields" => Excess::Fields,
            _ => return Err(format!("no such limit: {rest}")),
        }),
        _ => return Err(format!("no such item: {kind}")),
    };
    vector.expected.items.push(item);
    Ok(())
}

/// Reads strings in double quotes, set apart by one space.
fn quoted(text: &str) -> Result<Vec<Bytes>, String> {
    let mut strings = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.next_if_eq(&'"').is_some() {
        strings.push(Bytes::from(quoted_rest(&mut chars)?));
        chars.next_if_eq(&' ');
    }
    match chars.next() {
        None => Ok(strings),
        Some(other) => Err(format!("{other:?} outside of quotes")),
    }
}

fn quoted_rest(chars: &mut Peekable<impl Iterator<Item = char>>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let char = match chars.next().ok_or("no closing quote")? {
            '"' => return Ok(bytes),
            '\\' => match chars.next().ok_or("nothing behind a backslash")? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).map_err(|_| "bad \\x")?);
                    continue;
                }
                'u' => {
                    chars.next_if_eq(&'{').ok_or("\\u takes {")?;
                    let digits: String = chars.by_ref().take_while(|char| *char != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).map_err(|_| "bad \\u")?;
                    char::from_u32(code).ok_or("no such character")?
                }
                same @ ('"' | '\\') => same,
                other => return Err(format!("unknown escape {other:?}")),
            },
            plain => plain,
        };
        bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
    }
}
