use std::collections::{BTreeSet, VecDeque};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const BOUNDS: Bounds = Bounds {
    connections_max: 100,
    attempts_max: 8,
};

/// Admits all who may go.
fn admitted(turns: &mut Turns<u32>) -> Vec<u32> {
    std::iter::from_fn(|| turns.admit()).collect()
}

fn line(turns: &mut Turns<u32>, who: impl IntoIterator<Item = u32>) {
    for who in who {
        turns.wait(who);
    }
}

#[test]
fn attempts_are_admitted_in_the_order_of_their_coming() {
    let mut turns = Turns::new(BOUNDS);
    line(&mut turns, 0..20);
    assert_eq!(admitted(&mut turns), [0, 1, 2, 3, 4, 5, 6, 7]);
    turns.end(Attempt::Abandoned);
    line(&mut turns, [20]);
    assert_eq!(admitted(&mut turns), [8], "not the newcomer");
}

#[test]
fn who_gives_up_is_passed_over() {
    let mut turns = Turns::new(Bounds {
        attempts_max: 1,
        ..BOUNDS
    });
    let tickets: Vec<Ticket> = (0..3).map(|who| turns.wait(who)).collect();
    assert_eq!(admitted(&mut turns), [0]);
    turns.give_up(tickets[1]);
    turns.give_up(tickets[0]);
    turns.end(Attempt::Abandoned);
    assert_eq!(admitted(&mut turns), [2]);
}

#[test]
fn failures_narrow_the_gate_to_one_and_answers_open_it_round_by_round() {
    let mut turns = Turns::new(Bounds {
        attempts_max: 32,
        ..BOUNDS
    });
    line(&mut turns, 0..1_000);
    let mut in_flight = admitted(&mut turns).len();
    assert_eq!(in_flight, 32);
    for width in [16, 8, 4, 2, 1, 1, 1] {
        turns.end(Attempt::Failed);
        in_flight -= 1;
        assert_eq!(turns.width(), width);
        assert_eq!(admitted(&mut turns), [0; 0], "more are in flight than that");
    }
    while in_flight > 0 {
        turns.end(Attempt::Failed);
        turns.disconnect();
        in_flight -= 1;
    }
    let mut rounds = Vec::new();
    for _ in 0..8 {
        let round = admitted(&mut turns).len();
        rounds.push(round);
        for _ in 0..round {
            turns.end(Attempt::Answered);
            turns.disconnect();
        }
    }
    assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 32, 32]);
}

#[test]
fn one_failure_in_a_while_costs_little() {
    let mut turns = Turns::new(BOUNDS);
    line(&mut turns, 0..10);
    admitted(&mut turns);
    turns.end(Attempt::Failed);
    for _ in 0..4 {
        turns.end(Attempt::Answered);
    }
    assert_eq!(turns.width(), 8);
}

#[test]
fn connections_are_bounded_for_both_ways_in() {
    let mut turns = Turns::new(Bounds {
        connections_max: 3,
        attempts_max: 2,
    });
    assert!(turns.connect());
    line(&mut turns, 0..4);
    assert_eq!(admitted(&mut turns), [0, 1]);
    assert!(!turns.connect());
    turns.end(Attempt::Answered);
    turns.end(Attempt::Answered);
    assert_eq!(admitted(&mut turns), [0; 0], "no connection is free");
    turns.disconnect();
    assert_eq!(admitted(&mut turns), [2]);
    assert!(!turns.connect(), "who waited for it has it");
}

#[test]
fn bounds_change_without_cutting_anybody_off() {
    let wider = Bounds {
        connections_max: 200,
        attempts_max: 16,
    };
    let mut turns = Turns::new(BOUNDS);
    line(&mut turns, 0..40);
    admitted(&mut turns);
    turns.set_bounds(wider);
    assert_eq!(admitted(&mut turns).len(), 8, "an open gate opens wider");
    turns.end(Attempt::Failed);
    turns.set_bounds(Bounds {
        connections_max: 4,
        attempts_max: 2,
    });
    assert_eq!((turns.width(), turns.connections()), (2, 16));
    assert!(!turns.connect());
    assert_eq!(turns.admit(), None);
    turns.set_bounds(wider);
    assert_eq!(turns.width(), 16, "it stood open");
}

/// A crowd before an app that comes and goes, step by step from a seed.
struct Simulation {
    random: StdRng,
    turns: Turns<u32>,
    bounds: Bounds,
    /// In line, with their tickets.
    waiting: VecDeque<(u32, Ticket)>,
    in_flight: Vec<u32>,
    /// Streams and passed requests.
    connected: usize,
    next: u32,
    is_up: bool,
    admitted: BTreeSet<u32>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let bounds = Bounds {
            connections_max: random.random_range(1..40),
            attempts_max: random.random_range(1..12),
        };
        Self {
            random,
            turns: Turns::new(bounds),
            bounds,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            connected: 0,
            next: 0,
            is_up: true,
            admitted: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        let width_before = self.turns.width();
        match self.random.random_range(0..100) {
            0..40 => {
                let ticket = self.turns.wait(self.next);
                self.waiting.push_back((self.next, ticket));
                self.next += 1;
            }
            40..45 if !self.waiting.is_empty() => {
                let index = self.random.random_range(0..self.waiting.len());
                let (_, ticket) = self.waiting.remove(index).unwrap();
                self.turns.give_up(ticket);
            }
            45..75 if !self.in_flight.is_empty() => self.end_one(width_before),
            75..90 if self.connected > 0 => {
                self.connected -= 1;
                self.turns.disconnect();
            }
            90..98 => {
                let is_free = self.connected + self.in_flight.len() < self.bounds.connections_max;
                assert_eq!(self.turns.connect(), is_free, "503 only when all are taken");
                self.connected += usize::from(is_free);
            }
            98 => self.is_up = !self.is_up,
            _ => {}
        }
        while let Some(who) = self.turns.admit() {
            let (first, _) = self
                .waiting
                .pop_front()
                .expect("only who waits is admitted");
            assert_eq!(who, first, "first come, first served");
            assert!(self.admitted.insert(who), "admitted once");
            self.in_flight.push(who);
        }
        self.check();
    }

    fn end_one(&mut self, width_before: usize) {
        let index = self.random.random_range(0..self.in_flight.len());
        self.in_flight.swap_remove(index);
        let attempt = match self.random.random_range(0..10) {
            0 => Attempt::Abandoned,
            _ if self.is_up => Attempt::Answered,
            _ => Attempt::Failed,
        };
        self.turns.end(attempt);
        if attempt == Attempt::Answered && self.random.random() {
            self.connected += 1;
        } else {
            self.turns.disconnect();
        }
        let width = self.turns.width();
        match attempt {
            Attempt::Answered => assert!(width <= width_before + 1, "opens by one at a time"),
            Attempt::Failed => assert!(width == 1 || width < width_before, "a failure narrows"),
            Attempt::Abandoned => assert_eq!(width, width_before),
        }
    }

    fn check(&self) {
        let Bounds {
            connections_max,
            attempts_max,
        } = self.bounds;
        assert!(self.in_flight.len() <= attempts_max);
        assert!(self.connected + self.in_flight.len() <= connections_max);
        assert_eq!(
            self.turns.connections(),
            self.connected + self.in_flight.len()
        );
        let nothing_free = self.turns.connections() == connections_max
            || self.in_flight.len() >= self.turns.width();
        assert!(
            self.waiting.is_empty() || nothing_free,
            "nobody waits for what is free"
        );
    }
}

#[test]
fn a_crowd_is_let_in_within_bounds_and_in_order() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        for step in 0..1_000 {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                simulation.step();
            }));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        assert!(
            simulation.admitted.len() > 20,
            "seed {seed}: somebody got in"
        );
    }
}
