//! What stands in an event stream, for tests that look at more than events. Lines end with LF, the
//! way that Sidestream writes them; anything else fails the test.

/// One thing in a stream, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A comment, without its colon.
    Comment(String),
    /// A `retry:` line.
    Retry(u64),
    /// A block with an id and no data.
    Id(String),
    /// An event.
    Event(Event),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    /// A notice of missing events.
    pub(crate) fn is_gap(&self) -> bool {
        self.name == "sidestream-gap"
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().expect("an id")
    }
}

/// Splits a stream into items.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    id: Option<String>,
    name: String,
    data: Vec<String>,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut impl FnMut(Item)) {
        for byte in bytes {
            assert_ne!(*byte, b'\r', "lines end with LF");
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
                if let Some(item) = self.line_end(&line) {
                    out(item);
                }
            } else {
                self.line.push(*byte);
            }
        }
    }

    /// Nothing is left over: the stream stands between blocks.
    pub(crate) fn is_between(&self) -> bool {
        self.line.is_empty() && self.id.is_none() && self.name.is_empty() && self.data.is_empty()
    }

    fn line_end(&mut self, line: &str) -> Option<Item> {
        if let Some(comment) = line.strip_prefix(':') {
            return Some(Item::Comment(comment.to_owned()));
        }
        if line.is_empty() {
            return self.block_end();
        }
        let (name, value) = line.split_once(": ").expect("a field");
        match name {
            "retry" => return Some(Item::Retry(value.parse().unwrap())),
            "id" => self.id = Some(value.to_owned()),
            "event" => self.name = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            _ => panic!("unknown field: {line}"),
        }
        None
    }

    fn block_end(&mut self) -> Option<Item> {
        let block = std::mem::take(self);
        if block.data.is_empty() {
            return block.id.map(Item::Id);
        }
        Some(Item::Event(Event {
            id: block.id,
            name: block.name,
            data: block.data.join("\n"),
        }))
    }
}
