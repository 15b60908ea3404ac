//! Who may connect to one app, and when. Pure: [`super::gate`] makes it a thing to wait for.
//!
//! Two numbers are bounded: connections, and attempts to open a stream, of which the app has seen
//! nothing yet but the request. Attempts wait in line for both; a request that is passed through
//! takes a connection at once or none.
//!
//! How many attempts may be in flight follows the app: a failure halves it, down to one, and an
//! answer adds one, which doubles it with each round, as TCP opens its window. So of two thousand
//! channels that lost an app, one asks until there is an answer, and the app that has just started
//! meets a crowd that grows no faster than it answers.

use std::collections::BTreeMap;

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections in use; at least 1.
    pub connections_max: usize,
    /// Attempts in flight while all is well; at least 1.
    pub attempts_max: usize,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The app answered, or took the request and keeps us waiting: some send no head before their
    /// first event.
    Answered,
    /// It could not be reached, broke off, or answered that it cannot (5xx).
    Failed,
    /// Nobody wanted the answer any more, which says nothing about the app.
    Abandoned,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The connections to one app and the line of those who want one. `W` is whoever waits.
#[derive(Debug)]
pub struct Turns<W> {
    bounds: Bounds,
    /// Taken now; above the bound only after it was lowered.
    connections: usize,
    /// In flight now.
    attempts: usize,
    /// Attempts that may be in flight now: 1 to `bounds.attempts_max`.
    width: usize,
    /// First come, first served: tickets count up.
    line: BTreeMap<Ticket, W>,
    next: Ticket,
}

impl<W> Turns<W> {
    /// Nobody is connected, and all may come.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            connections: 0,
            attempts: 0,
            width: bounds.attempts_max,
            line: BTreeMap::new(),
            next: Ticket(0),
        }
    }

    /// The bounds in force.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Attempts that may be in flight now.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Connections taken now.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// Follows a reload. Nobody is cut; a gate that stood wide open still does.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if self.width == self.bounds.attempts_max {
            self.width = bounds.attempts_max;
        }
        self.width = self.width.min(bounds.attempts_max);
        self.bounds = bounds;
        self.check_invariants();
    }

    /// `who` wants a turn: a connection for an attempt. [`Self::admit`] says when it has one.
    pub fn wait(&mut self, who: W) -> Ticket {
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.line.insert(ticket, who);
        ticket
    }

    /// The bearer of `ticket` waits no longer. Nothing happens when it was admitted before.
    pub fn give_up(&mut self, ticket: Ticket) {
        self.line.remove(&ticket);
    }

    /// The next one in line, if it may go now: it has a connection and an attempt from here on. To
    /// be asked after each change until it says `None`.
    pub fn admit(&mut self) -> Option<W> {
        let is_open = self.attempts < self.width && self.connections < self.bounds.connections_max;
        if !is_open {
            return None;
        }
        let (_, who) = self.line.pop_first()?;
        self.connections += 1;
        self.attempts += 1;
        self.check_invariants();
        Some(who)
    }

    /// Takes a connection without an attempt, past the line. That is fair: whoever is in line while
    /// a connection is free waits for an attempt, not for the connection.
    #[must_use]
    pub fn connect(&mut self) -> bool {
        let is_free = self.connections < self.bounds.connections_max;
        self.connections += usize::from(is_free);
        is_free
    }

    /// A connection is closed.
    pub fn disconnect(&mut self) {
        debug_assert!(
            self.connections > self.attempts,
            "an attempt ends before its connection"
        );
        self.connections = self.connections.saturating_sub(1);
        self.check_invariants();
    }

    /// An attempt is over. Its connection stays taken.
    pub fn end(&mut self, attempt: Attempt) {
        debug_assert!(self.attempts > 0, "an attempt ends once");
        self.attempts = self.attempts.saturating_sub(1);
        self.width = match attempt {
            Attempt::Answered => (self.width + 1).min(self.bounds.attempts_max),
            Attempt::Failed => (self.width / 2).max(1),
            Attempt::Abandoned => self.width,
        };
        self.check_invariants();
    }

    fn check_invariants(&self) {
        debug_assert!(
            (1..=self.bounds.attempts_max).contains(&self.width),
            "never shut, and never wider than configured"
        );
        debug_assert!(
            self.attempts <= self.connections,
            "each attempt has a connection"
        );
    }
}

#[cfg(test)]
mod tests;
