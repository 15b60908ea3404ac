//! Holes in what a reader gets, and how they are told.

use crate::{error::GapReason, sse::encode::Frame};

/// A hole that a reader must be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Why.
    pub reason: GapReason,
    /// First and last missing sequence, where known; under [`GapReason::Conflated`] those among
    /// which some are missing.
    pub missing: Option<(u64, u64)>,
}

/// A hole that stands in the ring, for all readers.
#[derive(Debug, Clone)]
pub struct Gap {
    /// What it is about.
    pub hole: Hole,
    /// As `event: sidestream-gap`.
    pub event: Frame,
    /// As a comment line.
    pub comment: Frame,
}

impl Gap {
    pub(super) fn new(hole: Hole, id: Option<&str>) -> Self {
        Self {
            hole,
            event: gap_event(hole, id),
            comment: gap_comment(hole),
        }
    }
}

/// A gap as a named event: what a page's `addEventListener("sidestream-gap", ...)` gets.
#[must_use]
pub fn gap_event(hole: Hole, id: Option<&str>) -> Frame {
    Frame::event(
        id.map(str::as_bytes),
        b"sidestream-gap",
        gap_json(hole).as_bytes(),
    )
}

/// A gap as one comment line: for libraries that hand every named event to the main callback.
#[must_use]
pub fn gap_comment(hole: Hole) -> Frame {
    Frame::raw(format!(": sidestream-gap {}\n", gap_json(hole)).as_bytes())
}

fn gap_json(hole: Hole) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let (from, to) = hole.missing.unzip();
    // Which of them something newer has overtaken shows only while they are written.
    let missed = (hole.reason != GapReason::Conflated)
        .then_some(hole.missing)
        .flatten();
    let missed = missed.map(|(from, to)| to.saturating_sub(from) + 1);
    format!(
        r#"{{"reason":"{}","from":{},"to":{},"missed":{}}}"#,
        hole.reason.label(),
        number(from),
        number(to),
        number(missed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_notice_says_what_is_missing() {
        let notice = |hole, id| String::from_utf8(gap_event(hole, id).payload().to_vec()).unwrap();
        let known = Hole {
            reason: GapReason::Evicted,
            missing: Some((3, 9)),
        };
        assert_eq!(
            notice(known, Some("e-9")),
            "event: sidestream-gap\ndata: {\"reason\":\"evicted\",\"from\":3,\"to\":9,\"missed\":7}\nid: e-9\n\n"
        );
        let comment = gap_comment(Hole {
            reason: GapReason::UnknownId,
            missing: None,
        })
        .payload();
        assert_eq!(
            comment,
            "\u{3a} sidestream-gap {\"reason\":\"unknown_id\",\"from\":null,\"to\":null,\"missed\":null}\n"
        );
    }
}
