//! Random numbers of shards: what would fall on all readers at once is spread. One generator for each
//! thread, so that a simulation on one has those of its seed.

use std::cell::RefCell;

use rand::{
    Rng as _, RngCore, SeedableRng as _, distr::StandardUniform, prelude::Distribution,
    rngs::StdRng,
};

thread_local! {
    static GENERATOR: RefCell<StdRng> = RefCell::new(StdRng::from_os_rng());
}

/// The generator of this thread.
pub(super) struct Chance;

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        GENERATOR.with_borrow_mut(RngCore::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        GENERATOR.with_borrow_mut(RngCore::next_u64)
    }

    fn fill_bytes(&mut self, space: &mut [u8]) {
        GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(space));
    }
}

/// A number of it.
pub(super) fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    Chance.random()
}

/// What it gives from now on depends on nothing but `seed`.
#[cfg(test)]
pub(super) fn seed(seed: u64) {
    GENERATOR.set(StdRng::seed_from_u64(seed));
}
