//! What is to happen while a run holds, and when.

use std::collections::VecDeque;

use super::file::Scenario;

/// What is to happen, by seconds since the hold began, the next thing first.
pub struct Agenda(VecDeque<(f64, Due)>);

/// Something that is to happen. Groups and events are told by their numbers in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A group joins.
    Join(usize),
    /// An event.
    Event(usize),
    /// The publisher comes back, and goes on from this number.
    ReviveApp(u64),
    /// The server comes back.
    ReviveServer,
}

impl Agenda {
    /// Everything that a scenario says, repetitions included.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        let groups = scenario.subscribers.iter().enumerate();
        let joins = groups.filter_map(|(number, group)| {
            let at = group.joins?.0.as_secs_f64();
            Some((at, Due::Join(number)))
        });
        let events = scenario.events.iter().enumerate();
        let events = events.flat_map(|(number, event)| {
            let times = event.times(scenario.hold);
            times.map(move |at| (at.as_secs_f64(), Due::Event(number)))
        });
        let mut all: Vec<_> = joins.chain(events).collect();
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Self(all.into())
    }

    /// Something more, behind what is to happen at the same time.
    pub fn add(&mut self, at: f64, due: Due) {
        let place = self.0.partition_point(|(other, _)| *other <= at);
        self.0.insert(place, (at, due));
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next thing that is due after so many seconds.
    pub fn next(&mut self, elapsed: f64) -> Option<Due> {
        let (at, _) = self.0.front()?;
        if *at > elapsed {
            return None;
        }
        self.0.pop_front().map(|(_, due)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(agenda: &mut Agenda, elapsed: f64) -> Vec<Due> {
        std::iter::from_fn(|| agenda.next(elapsed)).collect()
    }

    #[test]
    fn things_happen_in_order_and_those_of_one_time_as_they_stand() {
        let scenario = Scenario::parse(
            "name: small
about: it is small
subscribers:
  - {protocol: h1, count: 1, channels: 1}
  - {protocol: h2, count: 1, channels: 1, joins: 2s}
hold: 5s
events:
  - {at: 2s, do: cut-app, every: 2s}
  - {at: 2s, do: restart-app, down: 1s}
thresholds:
  - lost <= 0
",
        );
        let mut agenda = Agenda::of(&scenario.unwrap());
        assert_eq!(due(&mut agenda, 1.9), []);
        let at_once = [Due::Join(1), Due::Event(0), Due::Event(1)];
        assert_eq!(due(&mut agenda, 2.0), at_once);
        agenda.add(4.0, Due::ReviveApp(7));
        agenda.add(3.0, Due::ReviveServer);
        let rest = [Due::ReviveServer, Due::Event(0), Due::ReviveApp(7)];
        assert_eq!(due(&mut agenda, 9.0), rest, "none after the hold");
    }
}
