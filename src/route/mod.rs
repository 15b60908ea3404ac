//! Request to route, and request to channel key. Pure.

pub mod key;
mod pattern;
pub mod table;
