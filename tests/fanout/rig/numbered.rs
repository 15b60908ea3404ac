//! Events that say which one they are, so that none can be missing, doubled, or out of order.

use std::ops::Range;

use super::{
    app::chunk,
    reader::Reader,
    wire::{Event, Item},
};

/// As the app sends them, in one chunk, with so many bytes of filling each.
pub(crate) fn body(numbers: Range<usize>, filling: usize) -> String {
    let filling = "x".repeat(filling);
    let events: String = numbers
        .map(|n| format!("data: {n} {filling}\n\n"))
        .collect();
    chunk(&events)
}

/// The number of an event.
pub(crate) fn number(event: &Event) -> usize {
    event.data.split(' ').next().unwrap().parse().unwrap()
}

/// Reads exactly these.
pub(crate) async fn read(reader: &mut Reader, numbers: Range<usize>) {
    for n in numbers {
        let event = reader.event().await;
        assert!(!event.is_gap(), "a gap before {n}: {}", event.data);
        assert_eq!(number(&event), n);
    }
}

/// The numbers of the events among these.
pub(crate) fn numbers(items: &[Item]) -> Vec<usize> {
    let events = items.iter().filter_map(|item| match item {
        Item::Event(event) => Some(number(event)),
        Item::Comment(_) | Item::Retry(_) | Item::Id(_) => None,
    });
    events.collect()
}
