//! The way to the apps: where they are, one exchange with one, what its answer means, and when to
//! try again.

pub mod exchange;
pub mod gate;
mod intake;
mod names;
pub mod peer;
pub mod reader;
pub mod refusal;
pub mod request;
pub mod retry;
mod rhythm;
pub mod turns;
pub mod verdict;

#[cfg(test)]
pub(crate) mod testing;
