//! x
pub mod head;
