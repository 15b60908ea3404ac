//! Lean SSE load client.
fn main() {}
