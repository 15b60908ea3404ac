//! Places by group: a cap for each route, or for each client's address.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use parking_lot::Mutex;

use super::{Permit, Places};

/// So many groups may be remembered without a look at who is still there.
const EMPTY_MAX: usize = 1_024;

/// Groups of places. Which addresses come and go is for strangers to choose, so those that nobody is in
/// are forgotten: never are more remembered than twice as many as had somebody at once.
#[derive(Debug)]
pub(super) struct Groups<K>(Mutex<Table<K>>);

#[derive(Debug)]
struct Table<K> {
    places: HashMap<K, Places>,
    /// At this size the empty ones are forgotten.
    full: usize,
}

impl<K: Eq + Hash> Groups<K> {
    /// No groups yet.
    #[must_use]
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table {
            places: HashMap::new(),
            full: EMPTY_MAX,
        }))
    }

    /// Takes a place in a group of at most `max`, or `None` when all are taken.
    #[must_use]
    pub(super) fn try_take(&self, key: K, max: usize) -> Option<Permit> {
        let mut table = self.0.lock();
        let Table { places, full } = &mut *table;
        if places.len() >= *full {
            places.retain(|_, places| places.taken() > 0);
            *full = (2 * places.len()).max(EMPTY_MAX);
            places.shrink_to(*full);
        }
        let group = places.entry(key).or_insert_with(|| Places::new(max));
        group.set_max(max);
        group.try_take()
    }

    /// Groups that are remembered.
    #[must_use]
    pub(super) fn remembered(&self) -> usize {
        self.0.lock().places.len()
    }
}

impl<K: Eq + Hash> Default for Groups<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The addresses that count as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Block(IpAddr);

impl Block {
    /// An IPv4 address is a block of its own. A network gives a household a whole prefix of IPv6, any
    /// address of which is free for its use.
    #[must_use]
    pub(super) fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128_u32.saturating_sub(ipv6_prefix.into());
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                Self(IpAddr::V6((u128::from(address) & mask).into()))
            }
            four @ IpAddr::V4(_) => Self(four),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_group_has_its_own_places() {
        let groups = Groups::new();
        let first = groups.try_take("a", 1);
        assert!(first.is_some());
        assert!(groups.try_take("a", 1).is_none());
        let other = groups.try_take("b", 1);
        assert!(other.is_some());
        drop(first);
        assert!(groups.try_take("a", 1).is_some());
    }

    #[test]
    fn a_cap_that_changes_counts_those_who_are_in() {
        let groups = Groups::new();
        let _first = groups.try_take("a", 1);
        let _second = groups.try_take("a", 2);
        assert!(groups.try_take("a", 2).is_none());
        assert!(groups.try_take("a", 3).is_some());
    }

    #[test]
    fn addresses_are_counted_by_block() {
        for (prefix, one, other, same) in [
            (64, "192.0.2.1", "192.0.2.2", false),
            (64, "192.0.2.1", "::ffff:192.0.2.1", true),
            (64, "2001:db8::1", "2001:db8::ffff:0:1", true),
            (64, "2001:db8::1", "2001:db8:0:1::1", false),
            (56, "2001:db8::1", "2001:db8:0:ff::1", true),
            (128, "2001:db8::1", "2001:db8::2", false),
            (0, "2001:db8::1", "fd00::1", true),
        ] {
            let block = |text: &str| Block::of(text.parse().unwrap(), prefix);
            assert_eq!(block(one) == block(other), same, "{one} {other} /{prefix}");
        }
    }

    /// As many come as the step says, and a part of them leaves.
    fn churn(steps: &[(u32, usize)]) -> Result<(), TestCaseError> {
        let groups = Groups::new();
        let (mut next, mut inside, mut peak) = (0_u32, Vec::new(), 0);
        for (come, stay) in steps {
            for _ in 0..*come {
                inside.push(groups.try_take(next, 1));
                next += 1;
            }
            peak = peak.max(inside.len());
            let bound = EMPTY_MAX.max(2 * peak);
            prop_assert!(
                groups.remembered() <= bound,
                "{} of {bound}",
                groups.remembered()
            );
            prop_assert!(groups.remembered() >= inside.len());
            inside.truncate(*stay);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever addresses come, memory is bounded by how many were there at once.
        #[test]
        fn groups_without_anybody_are_forgotten(
            steps in prop::collection::vec((0_u32..3_000, 0_usize..2_000), 1..12),
        ) {
            churn(&steps)?;
        }
    }
}
