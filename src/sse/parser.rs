//! The incremental parser: bytes of an event stream in, [`Item`]s out (HTML standard, 9.2.5, 9.2.6).
//!
//! Each byte is looked at once and goes straight to the field that it belongs to: there is no line
//! buffer, so that memory is one block's values and no more, and no way of cutting the stream into
//! chunks costs more than another.
//!
//! An event that breaks a limit is left out and costs no memory; what comes after it is not touched.

use bytes::Bytes;

use super::{
    event::{Event, Excess, Item},
    field::{Digits, Field, IdDraft, Name, SCRATCH_BYTES_KEPT, append, clear},
};
use crate::config::model::EventLimits;

/// U+FEFF in UTF-8; one at the very start of a connection is not part of the stream.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Names up to this size are kept, to be shared by the events that repeat them.
const NAME_BYTES_KEPT: usize = 256;

/// Parser of one connection's event stream.
#[derive(Debug)]
pub struct Parser {
    limits: EventLimits,
    /// What is known of the connection's first three bytes.
    bom: Bom,
    /// The last chunk ended in CR, which ended its line; an LF that comes next belongs to it.
    swallow_lf: bool,
    /// How far the current line is understood.
    line: Line,
    /// Bytes of the block's field lines so far, line ends and comments not counted.
    block_bytes: usize,
    /// Field lines of the block so far.
    block_fields: usize,
    /// The block's data lines, an LF after each, as the standard's data buffer.
    data: Vec<u8>,
    /// Value of the block's last `event` field.
    name: Vec<u8>,
    /// The last short name: most streams repeat one, which then costs no allocation.
    name_before: Bytes,
    /// Value of the `id` field that is being read.
    id_draft: IdDraft,
    /// Value of the block's last good `id` field.
    id: Option<Bytes>,
    /// Id of a block without data, waiting for the next event to carry it.
    id_carried: Option<Bytes>,
    /// Value of the `retry` field that is being read.
    retry: Digits,
    /// `id` fields that were ignored, since they were last asked for.
    ids_ignored: u64,
    /// The block broke a limit: its name and data are left out.
    skipping: bool,
}

/// The byte order mark at the start of the connection.
#[derive(Debug, Clone, Copy)]
enum Bom {
    /// So many bytes of it were seen.
    Seen(usize),
    /// It was there and is gone, or was not there.
    Done,
}

/// How far a line is understood. `Start` after a line end means that the line is empty.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// Nothing of it was seen.
    Start,
    /// It starts with a colon.
    Comment,
    /// Inside the field's name.
    Name(Name),
    /// Behind the colon, where one space is no part of the value.
    Colon(Field),
    /// Inside the value.
    Value(Field),
}

impl Parser {
    /// A parser for a new connection.
    #[must_use]
    pub fn new(limits: EventLimits) -> Self {
        Self {
            limits,
            bom: Bom::Seen(0),
            swallow_lf: false,
            line: Line::Start,
            block_bytes: 0,
            block_fields: 0,
            data: Vec::new(),
            name: Vec::new(),
            name_before: Bytes::new(),
            id_draft: IdDraft::default(),
            id: None,
            id_carried: None,
            retry: Digits::None,
            ids_ignored: 0,
            skipping: false,
        }
    }

    /// Limits for what comes next, also of the block that is being read.
    pub fn set_limits(&mut self, limits: EventLimits) {
        self.limits = limits;
    }

    /// Takes the next bytes, as they came from the network, and hands out what they complete.
    pub fn feed(&mut self, chunk: &[u8], out: &mut impl FnMut(Item)) {
        match self.bom {
            Bom::Done => self.feed_lines(chunk, out),
            Bom::Seen(seen) => self.feed_first(seen, chunk, out),
        }
    }

    /// The connection ended. An unfinished block is discarded, as the standard says.
    ///
    /// Returns whether there was one.
    pub fn finish(self) -> bool {
        self.block_fields > 0 || self.block_bytes > 0
    }

    /// Bytes that the parser holds allocated: at most `bytes_max` for the data and for the name each,
    /// and `id_bytes_max`.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.data.capacity() + self.name.capacity() + self.id_draft.capacity()
    }

    /// How many `id` fields were ignored since the last call: too long, or with bytes that no header
    /// can carry.
    pub fn take_ids_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ids_ignored)
    }

    /// Matches the byte order mark, which may come in pieces.
    fn feed_first(&mut self, seen: usize, chunk: &[u8], out: &mut impl FnMut(Item)) {
        let wanted = BOM.get(seen..).unwrap_or_default();
        let matched = wanted.iter().zip(chunk).take_while(|(a, b)| a == b).count();
        let rest = chunk.get(matched..).unwrap_or_default();
        if matched == wanted.len() {
            self.bom = Bom::Done;
            self.feed_lines(rest, out);
        } else if rest.is_empty() {
            self.bom = Bom::Seen(seen.saturating_add(matched));
        } else {
            // It looked like one but was not: its bytes belong to the stream.
            self.bom = Bom::Done;
            self.feed_lines(BOM.get(..seen).unwrap_or_default(), out);
            self.feed_lines(chunk, out);
        }
    }

    fn feed_lines(&mut self, mut rest: &[u8], out: &mut impl FnMut(Item)) {
        if self.swallow_lf
            && let Some((first, behind)) = rest.split_first()
        {
            self.swallow_lf = false;
            if *first == b'\n' {
                rest = behind;
            }
        }
        while !rest.is_empty() {
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                return self.line_part(rest, out);
            };
            let (line, ending) = rest.split_at(end);
            self.line_part(line, out);
            self.line_end(out);
            rest = match ending {
                [b'\r', b'\n', behind @ ..] => behind,
                [b'\r'] => {
                    self.swallow_lf = true;
                    &[]
                }
                [_, behind @ ..] => behind,
                [] => &[],
            };
        }
    }

    /// Takes a piece of the current line, line end excluded.
    fn line_part(&mut self, part: &[u8], out: &mut impl FnMut(Item)) {
        let Some(first) = part.first() else {
            return;
        };
        if matches!(self.line, Line::Start) {
            self.line = match first {
                b':' => Line::Comment,
                _ => Line::Name(Name::default()),
            };
        }
        if matches!(self.line, Line::Comment) {
            return;
        }
        self.block_bytes = self.block_bytes.saturating_add(part.len());
        if self.block_bytes > self.limits.bytes_max {
            self.skip(Excess::Bytes, out);
        }
        self.field_part(part);
    }

    /// Leaves the block's name and data out. Its `id` and `retry` count all the same, so that the
    /// next event stands where it stood in the app's stream.
    fn skip(&mut self, excess: Excess, out: &mut impl FnMut(Item)) {
        if !self.skipping {
            self.skipping = true;
            self.data = Vec::new();
            self.name = Vec::new();
            out(Item::Skipped(excess));
        }
    }

    /// Takes a piece of a field line.
    fn field_part(&mut self, mut part: &[u8]) {
        if let Line::Name(mut name) = self.line {
            let Some(colon) = memchr::memchr(b':', part) else {
                name.extend(part);
                self.line = Line::Name(name);
                return;
            };
            let (head, value) = part.split_at(colon);
            let field = if name.is_empty() {
                Field::of(head)
            } else {
                name.extend(head);
                name.field()
            };
            self.value_start(field);
            self.line = Line::Colon(field);
            part = value.get(1..).unwrap_or_default();
        }
        if let Line::Colon(field) = self.line
            && let Some(first) = part.first()
        {
            if *first == b' ' {
                part = part.get(1..).unwrap_or_default();
            }
            self.line = Line::Value(field);
        }
        if let Line::Value(field) = self.line {
            self.value_part(field, part);
        }
    }

    fn value_start(&mut self, field: Field) {
        match field {
            Field::Event => self.name.clear(),
            Field::Id => self.id_draft.start(),
            Field::Retry => self.retry = Digits::None,
            Field::Data | Field::Unknown => {}
        }
    }

    fn value_part(&mut self, field: Field, part: &[u8]) {
        let limit = self.limits.bytes_max;
        match field {
            Field::Data | Field::Event if self.skipping => {}
            Field::Data => append(&mut self.data, part, limit),
            Field::Event => append(&mut self.name, part, limit),
            Field::Id => self.id_draft.extend(part, self.limits.id_bytes_max),
            Field::Retry => self.retry.extend(part),
            Field::Unknown => {}
        }
    }

    fn line_end(&mut self, out: &mut impl FnMut(Item)) {
        let field = match std::mem::replace(&mut self.line, Line::Start) {
            Line::Start => return self.block_end(out),
            Line::Comment => return out(Item::Comment),
            Line::Name(name) => {
                let field = name.field();
                self.value_start(field);
                field
            }
            Line::Colon(field) | Line::Value(field) => field,
        };
        self.block_fields = self.block_fields.saturating_add(1);
        if self.block_fields > self.limits.fields_max {
            self.skip(Excess::Fields, out);
        }
        self.field_end(field, out);
    }

    fn field_end(&mut self, field: Field, out: &mut impl FnMut(Item)) {
        match field {
            Field::Data if self.skipping => {}
            Field::Data => append(&mut self.data, b"\n", self.limits.bytes_max),
            Field::Id => match self.id_draft.value() {
                Some(value) => self.id = Some(Bytes::copy_from_slice(value)),
                None => self.ids_ignored = self.ids_ignored.saturating_add(1),
            },
            Field::Retry => {
                if let Digits::Number(milliseconds) = self.retry {
                    out(Item::Retry(milliseconds));
                }
            }
            Field::Event | Field::Unknown => {}
        }
    }

    /// A blank line: dispatches the event, if there is one. One that was skipped has no data left.
    fn block_end(&mut self, out: &mut impl FnMut(Item)) {
        self.block_bytes = 0;
        self.block_fields = 0;
        self.skipping = false;
        let id = self.id.take();
        if self.data.is_empty() {
            self.name.clear();
            if let Some(id) = id {
                self.id_carried = Some(id.clone());
                out(Item::Id(id));
            }
            return;
        }
        let carried = self.id_carried.take();
        let event = Event {
            name: self.take_name(),
            data: self.take_data(),
            id: id.or(carried),
        };
        debug_assert!(!event.data.contains(&b'\r') && !event.name.contains(&b'\n'));
        out(Item::Event(event));
    }

    fn take_name(&mut self) -> Bytes {
        let name = match self.name.as_slice() {
            [] => Bytes::new(),
            name if self.name_before == name => self.name_before.clone(),
            name => Bytes::copy_from_slice(name),
        };
        if !name.is_empty() && name.len() <= NAME_BYTES_KEPT {
            self.name_before = name.clone();
        }
        clear(&mut self.name);
        name
    }

    fn take_data(&mut self) -> Bytes {
        let final_lf = self.data.pop();
        debug_assert_eq!(final_lf, Some(b'\n'), "every data line was ended");
        if self.data.capacity() > SCRATCH_BYTES_KEPT {
            return Bytes::from(std::mem::take(&mut self.data));
        }
        let data = Bytes::copy_from_slice(&self.data);
        self.data.clear();
        data
    }
}
