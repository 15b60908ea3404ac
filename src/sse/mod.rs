//! The SSE wire: an incremental parser and the one encoder. Sans-io, with hard limits.

pub mod encode;
pub mod event;
mod field;
pub mod parser;
