//! How far a drain is.

use super::{Registrar, cell::Level};

/// Zero until a drain begins.
#[derive(Debug)]
pub struct DrainMetrics {
    /// 1 from the start of a drain on.
    pub underway: Level,
    /// Answers that are not whole yet and may finish, one for each client that reads one.
    pub answers: Level,
}

impl DrainMetrics {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            underway: r.level("draining", "1 from the start of a drain on"),
            answers: r.level(
                "draining_answers",
                "Answers that are not whole yet and that the drain lets finish",
            ),
        }
    }
}
