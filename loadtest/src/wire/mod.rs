//! The SSE wire as a checking client needs it: one pass, next to no state.

pub mod known;
pub mod resume;
pub mod scanner;
pub mod sequence;
