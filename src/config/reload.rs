//! What of a new file takes effect in a running process, and what waits for its next start.

use super::{model::Config, print::print_sections};

/// What a file says that a process takes over at its start only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Sections of the file that differ from those in force.
    pub sections: Vec<&'static str>,
    /// The same as the file has them, in YAML.
    yaml: String,
}

impl Waiting {
    /// Nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// For people, as YAML comments; empty when nothing waits.
    #[must_use]
    pub fn comment(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let lines = self.yaml.lines().map(|line| format!("# {line}\n"));
        let title = "\n# The file also says this, which takes effect at the next start:\n#\n";
        title.to_owned() + &lines.collect::<String>()
    }
}

/// Puts together what is in force in a process that started with `started` when its file says
/// `wanted`: all of it, less what takes a restart.
#[must_use]
pub fn merge(started: &Config, wanted: &Config) -> (Config, Waiting) {
    let mut in_force = wanted.clone();
    let mut sections = Vec::new();
    keep(
        "listeners",
        &started.listeners,
        &mut in_force.listeners,
        &mut sections,
    );
    keep("admin", &started.admin, &mut in_force.admin, &mut sections);
    keep("log", &started.log, &mut in_force.log, &mut sections);
    keep(
        "threads",
        &started.threads,
        &mut in_force.threads,
        &mut sections,
    );
    let yaml = print_sections(wanted, &sections);
    (in_force, Waiting { sections, yaml })
}

fn keep<T: Clone + PartialEq>(
    section: &'static str,
    started: &T,
    in_force: &mut T,
    waiting: &mut Vec<&'static str>,
) {
    if started != in_force {
        in_force.clone_from(started);
        waiting.push(section);
    }
}
