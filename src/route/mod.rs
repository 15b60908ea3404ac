//! Request to route, and request to channel key. Pure.

pub mod key;
pub mod table;
