//! Where a rule looks: a place in the document by path, with the notes that rules make there.

use std::{ops::RangeInclusive, time::Duration};

use super::super::{
    document::{Document, Finding},
    tree::Step,
    units::{Count, Size, Time},
};

/// A place in the document. Cheap to make; resolved only when there is something to say.
#[derive(Debug, Clone)]
pub(super) struct At<'d> {
    document: &'d Document,
    steps: Vec<Step>,
}

impl<'d> At<'d> {
    /// The whole file.
    pub(super) fn root(document: &'d Document) -> Self {
        Self {
            document,
            steps: Vec::new(),
        }
    }

    /// The value of a key below.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The item of a list below.
    pub(super) fn item(&self, index: usize) -> Self {
        self.step(Step::Item(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self {
            document: self.document,
            steps,
        }
    }

    /// It is written down, and not dropped as bad.
    pub(super) fn is_written(&self) -> bool {
        self.document.resolve(&self.steps).1
    }

    /// Something below was bad and dropped, so that what seems missing may just be wrong.
    pub(super) fn is_damaged(&self) -> bool {
        let (spot, _) = self.document.resolve(&self.steps);
        !self.document.dropped(&spot).is_empty()
    }

    /// `key` is written below, even if its value was bad and dropped.
    pub(super) fn mentions(&self, key: &str) -> bool {
        let (spot, exact) = self.document.resolve(&self.steps);
        exact && self.document.mentions(&spot, key)
    }

    fn finding(&self, message: &str) -> Finding {
        let (spot, exact) = self.document.resolve(&self.steps);
        let finding = Finding::new(spot, message);
        // What is not written is told at the key of the mapping where it would be.
        if exact { finding } else { finding.on_key() }
    }

    /// Notes a problem with the value here; a hint may follow after `; `.
    pub(super) fn problem(&self, message: &str) {
        self.document.add(self.finding(message));
    }

    /// Notes a problem with the key here.
    pub(super) fn key_problem(&self, message: &str) {
        self.document.add(self.finding(message).on_key());
    }

    /// Notes that the value here clashes with the one at `other`.
    pub(super) fn clash(&self, other: &Self, label: &'static str, message: &str) {
        let mut finding = self.finding(message);
        finding.related = Some((self.document.resolve(&other.steps).0, label));
        self.document.add(finding);
    }

    /// Notes that `key` is missing below, unless it was there and bad.
    pub(super) fn missing(&self, key: &str, message: &str) {
        let (spot, _) = self.document.resolve(&self.steps);
        if !self.document.excuses(&spot, key) {
            self.problem(message);
        }
    }

    /// A duration within bounds, or its default.
    pub(super) fn time(
        &self,
        value: Option<Time>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(Time(value)) = value else {
            return default;
        };
        if bounds.contains(&value) {
            return value;
        }
        let (min, max) = (Time(*bounds.start()), Time(*bounds.end()));
        self.problem(&format!(
            "{} is out of bounds; allowed: {min} to {max}",
            Time(value)
        ));
        default
    }

    /// A size within bounds, or its default.
    pub(super) fn size(
        &self,
        value: Option<Size>,
        default: usize,
        bounds: RangeInclusive<usize>,
    ) -> usize {
        let Some(Size(value)) = value else {
            return default;
        };
        match usize::try_from(value) {
            Ok(value) if bounds.contains(&value) => value,
            _ => {
                let (min, max) = (Size::from(*bounds.start()), Size::from(*bounds.end()));
                self.problem(&format!(
                    "{} is out of bounds; allowed: {min} to {max}",
                    Size(value)
                ));
                default
            }
        }
    }

    /// A count within bounds, or its default.
    pub(super) fn count(
        &self,
        value: Option<Count>,
        default: usize,
        bounds: RangeInclusive<usize>,
    ) -> usize {
        let Some(Count(value)) = value else {
            return default;
        };
        match usize::try_from(value) {
            Ok(value) if bounds.contains(&value) => value,
            _ => {
                let (min, max) = (bounds.start(), bounds.end());
                self.problem(&format!(
                    "{value} is out of bounds; allowed: {min} to {max}"
                ));
                default
            }
        }
    }
}
