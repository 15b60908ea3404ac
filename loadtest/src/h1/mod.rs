//! HTTP/1.1 subscribers: a response head, then one of three body framings.

pub mod answer;
pub mod body;
pub mod client;
pub mod head;
