//! Readers by connection. What a client or a proxy has on one comes back elsewhere together, and not
//! stream by stream over many connections. Pure.

use std::collections::HashMap;

use rand::{Rng, seq::SliceRandom};

use crate::egress::handle::Token;

/// Readers that leave by turns, those of one connection together.
#[derive(Debug, Default)]
pub(super) struct Parties {
    /// The next to leave stands last.
    turns: Vec<Turn>,
    /// Readers that share a connection, by its address; none is empty.
    shared: HashMap<usize, Vec<Token>>,
    /// Of all turns.
    readers: usize,
}

#[derive(Debug)]
enum Turn {
    Alone(Token),
    /// Those of a connection in `shared`.
    Together(usize),
}

/// Who leaves in one turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// A reader with a connection of its own.
    Alone(Token),
    /// All readers of one connection; there are some.
    Together(Vec<Token>),
}

impl Parties {
    /// One more reader, whose connection has that address if others may share it. It leaves with
    /// those, or else next.
    pub(super) fn add(&mut self, token: Token, connection: Option<usize>) {
        self.readers += 1;
        let Some(address) = connection else {
            self.turns.push(Turn::Alone(token));
            return;
        };
        let party = self.shared.entry(address).or_default();
        if party.is_empty() {
            self.turns.push(Turn::Together(address));
        }
        party.push(token);
    }

    /// In random order: not those first who came first.
    pub(super) fn shuffle(&mut self, random: &mut impl Rng) {
        self.turns.shuffle(random);
    }

    /// Readers for whom `stays` is false have left.
    pub(super) fn retain(&mut self, stays: impl Fn(Token) -> bool) {
        let (shared, mut readers) = (&mut self.shared, 0);
        shared.retain(|_, party| {
            party.retain(|token| stays(*token));
            readers += party.len();
            !party.is_empty()
        });
        self.turns.retain(|turn| match turn {
            Turn::Alone(token) => {
                let stays = stays(*token);
                readers += usize::from(stays);
                stays
            }
            Turn::Together(address) => shared.contains_key(address),
        });
        self.readers = readers;
    }

    /// How many readers there are.
    pub(super) const fn len(&self) -> usize {
        self.readers
    }

    /// Some of them have this connection.
    pub(super) fn has(&self, connection: usize) -> bool {
        self.shared.contains_key(&connection)
    }

    /// The next to leave.
    pub(super) fn pop(&mut self) -> Option<Party> {
        let party = match self.turns.pop()? {
            Turn::Alone(token) => {
                self.readers -= 1;
                Party::Alone(token)
            }
            Turn::Together(address) => {
                let party = self.shared.remove(&address).unwrap_or_default();
                self.readers -= party.len();
                Party::Together(party)
            }
        };
        debug_assert!(self.readers >= self.turns.len(), "no turn is nobody's");
        debug_assert!(self.shared.len() <= self.turns.len(), "each has one turn");
        Some(party)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const fn token(index: u32) -> Token {
        Token {
            index,
            generation: 1,
        }
    }

    #[test]
    fn who_shares_a_connection_leaves_together_and_who_is_late_with_them() {
        let mut parties = Parties::default();
        for (index, connection) in [(0, Some(7)), (1, None), (2, Some(8)), (3, Some(7))] {
            parties.add(token(index), connection);
        }
        parties.retain(|token| token.index != 2);
        assert_eq!(
            (parties.len(), parties.has(7), parties.has(8)),
            (3, true, false)
        );
        parties.add(token(4), Some(7));
        parties.add(token(5), Some(8));
        let left: Vec<_> = std::iter::from_fn(|| parties.pop()).collect();
        assert_eq!(
            left,
            [
                Party::Together(vec![token(5)]),
                Party::Alone(token(1)),
                Party::Together(vec![token(0), token(3), token(4)]),
            ]
        );
        assert_eq!((parties.len(), parties.has(7)), (0, false));
    }

    /// Whatever comes in whatever order, each reader leaves once, and those of a connection at once.
    #[test]
    fn nobody_is_lost_or_called_twice() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut parties = Parties::default();
            let mut there: HashMap<u32, Option<usize>> = HashMap::new();
            for index in 0..500 {
                match random.random_range(0..8) {
                    0 => {
                        let gone = random.random_range(0..500);
                        there.remove(&gone);
                        parties.retain(|token| token.index != gone);
                    }
                    1 => parties.shuffle(&mut random),
                    2 => {
                        let left = match parties.pop() {
                            None => Vec::new(),
                            Some(Party::Alone(token)) => vec![token],
                            Some(Party::Together(party)) => party,
                        };
                        let connections: Vec<_> = left
                            .iter()
                            .map(|token| there.remove(&token.index))
                            .collect();
                        assert!(connections.iter().all(Option::is_some), "seed {seed}");
                        assert!(connections.windows(2).all(|pair| pair[0] == pair[1]));
                        let is_left = |connection| there.values().any(|other| *other == connection);
                        let shared = connections.first().copied().flatten().flatten();
                        assert!(
                            shared.is_none() || !is_left(shared),
                            "seed {seed}: all of it"
                        );
                    }
                    _ => {
                        let connection = Some(random.random_range(0..20)).filter(|at| *at < 15);
                        parties.add(token(index), connection);
                        there.insert(index, connection);
                    }
                }
                assert_eq!(parties.len(), there.len(), "seed {seed}");
            }
        }
    }
}
