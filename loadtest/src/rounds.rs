//! How many subscribers have each of the last events: what a closed loop waits for.

/// Events that may be on their way at once, at most.
pub const WINDOW_MAX: u32 = 1_024;

/// Places for counting; an event's place is free again long before the next one needs it.
const PLACES: usize = 2 * WINDOW_MAX as usize;

/// Arrivals by event. Events are numbered from 1.
#[derive(Debug)]
pub struct Rounds {
    arrived: Vec<u32>,
    complete: u64,
    subscribers: u32,
}

impl Rounds {
    /// Rounds of so many subscribers.
    #[must_use]
    pub fn new(subscribers: u32) -> Self {
        Self {
            arrived: vec![0; PLACES],
            complete: 0,
            subscribers,
        }
    }

    /// One more subscriber has event `number`.
    pub fn arrive(&mut self, number: u64) {
        if let Some(arrived) = self.arrived.get_mut(place(number)) {
            *arrived += 1;
        }
    }

    /// The event that, with all before it, everybody has.
    pub fn complete(&mut self) -> u64 {
        while let Some(arrived) = self.arrived.get_mut(place(self.complete + 1))
            && *arrived >= self.subscribers
        {
            *arrived = 0;
            self.complete += 1;
        }
        self.complete
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % PLACES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_complete_when_all_have_it_and_all_before_it() {
        let mut rounds = Rounds::new(2);
        // Each arrival, and what is complete after it.
        let steps = [(1, 0), (2, 0), (2, 0), (3, 0), (1, 2), (3, 3)];
        for (number, complete) in steps {
            rounds.arrive(number);
            assert_eq!(rounds.complete(), complete, "{number}");
        }
        for number in 4..=3 * PLACES as u64 {
            rounds.arrive(number);
            assert_eq!(rounds.complete(), number - 1);
            rounds.arrive(number);
            assert_eq!(rounds.complete(), number);
        }
    }
}
