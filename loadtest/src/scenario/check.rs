//! What must hold of a scenario beyond the form of its file.

use std::time::Duration;

use super::{
    file::{Action, Event, Group, Kind, Scenario},
    units::Time,
};
use crate::failure::{Failure, Result};

impl Scenario {
    /// What the types of a file cannot say.
    ///
    /// # Errors
    /// What is wrong, and of which entry.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Failure::new(what));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return wrong(format!(
                "name `{}`: small letters, digits and dashes, since files are named after it",
                self.name
            ));
        }
        if self.subscribers.is_empty() {
            return wrong("subscribers: there must be at least one group".into());
        }
        if !(0.0..=1_000_000.0).contains(&self.publisher.rate) {
            return wrong("publisher.rate: between 0 and 1,000,000 events per second".into());
        }
        if self.publisher.outstanding == Some(0) {
            return wrong("publisher.outstanding: at least 1".into());
        }
        if self.ramp == 0 || self.hold.0.is_zero() {
            return wrong("ramp and hold must be above 0".into());
        }
        let requests = self.requests.as_ref();
        if requests
            .is_some_and(|r| r.per_second.is_nan() || r.per_second <= 0.0 || r.connections == 0)
        {
            return wrong("requests: per_second and connections must be above 0".into());
        }
        if !(self.server.is_null() || self.server.is_mapping()) {
            return wrong("server: must be a mapping, as in Sidestream's configuration".into());
        }
        for (at, group) in self.subscribers.iter().enumerate() {
            group
                .check(self)
                .map_err(|what| Failure::new(format!("subscribers[{at}]: {what}")))?;
        }
        for (at, event) in self.events.iter().enumerate() {
            event
                .check(self)
                .map_err(|what| Failure::new(format!("events[{at}]: {what}")))?;
        }
        self.check_absences()
    }

    /// Who is away comes back within the hold, and nothing is done to it before.
    fn check_absences(&self) -> Result<()> {
        let times =
            |(number, event)| Event::times(event, self.hold).map(move |at| (at, number, event));
        let mut all: Vec<(Duration, usize, &Event)> =
            self.events.iter().enumerate().flat_map(times).collect();
        all.sort_by_key(|(at, number, _)| (*at, *number));
        let (mut app, mut server) = (None, None);
        for (at, number, event) in all {
            let back = if event.action.is_of_server() {
                &mut server
            } else {
                &mut app
            };
            let name = event.action.name();
            let wrong = |what: String| {
                let at = Time(at);
                Err(Failure::new(format!(
                    "events[{number}]: {name} at {at} {what}"
                )))
            };
            if let Some(back) = back.filter(|back| at <= *back) {
                return wrong(format!("finds it away until {}", Time(back)));
            }
            let Some(down) = event.down else { continue };
            if at + down.0 >= self.hold.0 {
                return wrong(format!(
                    "and down for {down}: not back before the hold is over"
                ));
            }
            *back = Some(at + down.0);
        }
        Ok(())
    }
}

impl Group {
    fn check(&self, scenario: &Scenario) -> std::result::Result<(), String> {
        if self.count == 0 || self.channels == 0 || self.streams_per_connection == 0 {
            return Err("count, channels and streams_per_connection must be above 0".into());
        }
        if self.bytes_per_second.is_some() && self.protocol != Kind::H1 {
            return Err("bytes_per_second: slow readers are h1".into());
        }
        if self.bytes_per_second.is_some() && self.stay.is_some() {
            return Err("bytes_per_second and stay exclude each other".into());
        }
        if self.joins.is_some_and(|at| at >= scenario.hold) {
            return Err("joins: before the hold is over".into());
        }
        Ok(())
    }
}

impl Event {
    fn check(&self, scenario: &Scenario) -> std::result::Result<(), String> {
        if self.at >= scenario.hold {
            return Err(format!("at {} is not before the end of the hold", self.at));
        }
        if self.every.is_some_and(|every| every.0.is_zero()) {
            return Err("every: must be above 0".into());
        }
        let belongs = [
            (
                "down",
                self.down.is_some(),
                matches!(self.action, Action::RestartApp | Action::RestartServer),
            ),
            (
                "events",
                self.events.is_some(),
                self.action == Action::Burst,
            ),
            (
                "server",
                self.server.is_some(),
                self.action == Action::Reload,
            ),
            (
                "successor",
                self.successor.is_some(),
                self.action == Action::Drain,
            ),
        ];
        let name = self.action.name();
        for (key, given, known) in belongs {
            match (given, known) {
                (true, false) => return Err(format!("{name} has no `{key}`")),
                (false, true) if key != "successor" => return Err(format!("{name} needs `{key}`")),
                _ => {}
            }
        }
        if self.action == Action::RestartApp && scenario.publisher.outstanding.is_some() {
            // Where the next publisher is to go on is known by the rate.
            return Err(format!("{name} needs `publisher.rate`, not `outstanding`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::scenario::file::Publisher;

    const SMALL: &str = "name: small
about: it is small
subscribers:
  - {protocol: h1, count: 10, channels: 4}
hold: 5s
thresholds:
  - lost <= 0
";

    #[test]
    fn what_is_left_out_has_a_default() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!(
            (scenario.ramp, scenario.grace),
            (4_000, "10s".parse().unwrap())
        );
        assert_eq!(scenario.publisher, Publisher::default());
        let group = &scenario.subscribers[0];
        assert_eq!((group.name(), group.streams_per_connection), ("h1", 100));
        let again = serde_yaml::to_string(&scenario).unwrap();
        assert_eq!(Scenario::parse(&again).unwrap(), scenario);
    }

    #[test]
    fn a_scale_leaves_at_least_one() {
        let scaled = |factor| {
            let scenario = Scenario::parse(SMALL).unwrap().scaled(factor);
            let group = &scenario.subscribers[0];
            (group.count, group.channels, scenario.ramp)
        };
        assert_eq!(scaled(0.1), (1, 1, 400));
        assert_eq!(scaled(2.5), (25, 10, 10_000));
    }

    /// For each line that is right, mistakes in its place, and what is said of them.
    #[test]
    fn mistakes_are_told_with_their_place() {
        let cases: [(&str, &[(&str, &str)]); 6] = [
            (
                "name: small",
                &[
                    ("name: Small", "name `Small`: small letters"),
                    ("name: [", "line"),
                ],
            ),
            ("about: it is small\n", &[("", "missing field `about`")]),
            (
                "protocol: h1",
                &[
                    (
                        "protocol: h3",
                        "unknown variant `h3`, expected one of `h1`, `h1-tls`",
                    ),
                    ("protocol: h2, bytes_per_second: 5", "slow readers are h1"),
                ],
            ),
            (
                "count: 10",
                &[
                    ("count: -1", "line 4"),
                    ("count: 0", "subscribers[0]: count, channels and"),
                    (
                        "count: 10, bytes_per_second: 5, stay: 2s",
                        "exclude each other",
                    ),
                    ("count: 10, joins: 5s", "joins: before the hold is over"),
                ],
            ),
            (
                "hold: 5s",
                &[
                    (
                        "hold: 5",
                        "hold: `5` is no time; write 250ms, 30s, 10m or 1h at line 5",
                    ),
                    ("holds: 5s", "unknown field `holds`"),
                    (
                        "hold: 5s\nevents: [{at: 9s, do: cut-app}]",
                        "events[0]: at 9s is not before",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 1s, do: burst}]",
                        "burst needs `events`",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 1s, do: cut-app, down: 1s}]",
                        "cut-app has no `down`",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 1s, do: explode}]",
                        "unknown variant `explode`",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 3s, do: restart-app, down: 2s}]",
                        "events[0]: restart-app at 3s and down for 2s: not back before",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 1s, do: restart-server, down: 1s, every: 1s}]",
                        "events[0]: restart-server at 2s finds it away until 2s",
                    ),
                    (
                        "hold: 5s\nevents: [{at: 1s, do: restart-app, down: 2s}, {at: 2s, do: cut-app}]",
                        "events[1]: cut-app at 2s finds it away until 3s",
                    ),
                    (
                        "hold: 5s\npublisher: {outstanding: 9}\nevents: [{at: 1s, do: restart-app, down: 1s}]",
                        "restart-app needs `publisher.rate`",
                    ),
                    ("hold: 5s\npublisher: {rate: -1}", "publisher.rate: between"),
                    ("hold: 5s\nserver: [1]", "server: must be a mapping"),
                    (
                        "hold: 5s\nrequests: {per_second: 0}",
                        "requests: per_second",
                    ),
                ],
            ),
            (
                "lost <= 0",
                &[
                    ("losses <= 0", "no figure `losses`; there are lost, doubled"),
                    ("losses <= 0", "at line 7"),
                ],
            ),
        ];
        for (right, mistakes) in cases {
            for (wrong, expected) in mistakes {
                let text = SMALL.replace(right, wrong);
                let failure = Scenario::parse(&text).unwrap_err().to_string();
                assert!(failure.contains(expected), "{wrong:?}: {failure}");
            }
        }
    }

    #[test]
    fn shipped_scenarios_are_right_and_described() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = fs::read_to_string(root.join("README.md")).unwrap();
        let example = readme.split("```yaml\n").nth(1).unwrap();
        Scenario::parse(example.split("```").next().unwrap()).unwrap();
        let mut count = 0;
        for entry in fs::read_dir(root.join("scenarios")).unwrap() {
            let path = entry.unwrap().path();
            let scenario = Scenario::load(&path).unwrap();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(scenario.name, stem, "{}", path.display());
            assert!(
                readme.contains(&format!("| `{stem}` |")),
                "README.md lacks {stem}"
            );
            count += 1;
        }
        assert_eq!(count, 13);
    }
}
