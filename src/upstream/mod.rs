//! The way to the apps: where they are, one exchange with one, what its answer means, and when to
//! try again.

pub mod exchange;
pub mod peer;
pub mod request;
pub mod retry;
pub mod verdict;

#[cfg(test)]
pub(crate) mod testing;
