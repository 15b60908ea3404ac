//! One file on its way from text to a checked configuration: its tree, and what was found wrong.
//!
//! A bad value is noted once and then treated as if it were not there, so that one pass shows the
//! problems of the whole file and not just the first.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
};

use super::{
    env::{self, Env, Substituted},
    redact, suggest,
    tree::{Node, Spot, Step},
};

/// More problems than this are not listed: nobody reads them, and each costs a walk of the file.
pub(super) const PROBLEMS_MAX: usize = 50;

/// Something wrong, at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Where.
    pub(super) spot: Spot,
    /// The key is to blame, not its value.
    pub(super) on_key: bool,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
    /// A second place that belongs to it, and what it is.
    pub(super) related: Option<(Spot, &'static str)>,
}

impl Finding {
    /// A problem with the value at `spot`. A hint may follow in `message` after `; `.
    pub(super) fn new(spot: Spot, message: &str) -> Self {
        let (message, hint) = match message.split_once("; ") {
            Some((message, hint)) => (message, Some(hint.to_owned())),
            None => (message, None),
        };
        Self {
            spot,
            on_key: false,
            message: message.to_owned(),
            hint,
            related: None,
        }
    }

    /// The key is to blame.
    pub(super) fn on_key(mut self) -> Self {
        self.on_key = true;
        self
    }

    /// What to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The file's tree and the findings so far.
#[derive(Debug)]
pub(super) struct Document {
    /// The tree, variables filled in.
    pub(super) root: Node,
    findings: RefCell<Vec<Finding>>,
    /// Dropped entries by their container.
    dropped: RefCell<HashMap<Spot, BTreeSet<usize>>>,
    truncated: Cell<bool>,
}

impl Document {
    /// Fills in variables and notes what no later stage can see: duplicate and merge keys, tags.
    pub(super) fn new(root: Node, env: &Env<'_>) -> Self {
        let mut document = Self {
            root: Node::Null,
            findings: RefCell::default(),
            dropped: RefCell::default(),
            truncated: Cell::new(false),
        };
        document.root = document.prepare(root, &Spot::default(), env);
        document
    }

    fn prepare(&self, node: Node, spot: &Spot, env: &Env<'_>) -> Node {
        match node {
            Node::Text { text, .. } => match env::substitute(&text, env) {
                Ok(Substituted::Text(text)) => Node::Text {
                    text,
                    substituted: true,
                },
                Ok(Substituted::Absent) => Node::Null,
                Ok(Substituted::Unchanged) => Node::Text {
                    text,
                    substituted: false,
                },
                Err(message) => {
                    self.drop_with(Finding::new(spot.clone(), &message));
                    Node::Text {
                        text,
                        substituted: false,
                    }
                }
            },
            Node::Sequence(items) => Node::Sequence(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| self.prepare_item(item, &spot.child(index), env))
                    .collect(),
            ),
            Node::Mapping(entries) => {
                self.check_keys(&entries, spot);
                Node::Mapping(
                    entries
                        .into_iter()
                        .enumerate()
                        .map(|(index, (key, value))| {
                            (key, self.prepare(value, &spot.child(index), env))
                        })
                        .collect(),
                )
            }
            Node::Tagged => {
                self.drop_with(
                    Finding::new(spot.clone(), "YAML tags (`!name`) are not supported")
                        .hint("remove the tag; write the value in quotes if it starts with `!`"),
                );
                Node::Tagged
            }
            Node::Null | Node::Bool(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_) => {
                node
            }
        }
    }

    /// An item has no key with which it could stay away.
    fn prepare_item(&self, item: Node, spot: &Spot, env: &Env<'_>) -> Node {
        if let Node::Text { text, .. } = &item
            && env::substitute(text, env) == Ok(Substituted::Absent)
        {
            let message = format!(
                "`{text}` has no value, and an item of a list cannot stay away; set the variable, \
                 or give a default"
            );
            self.drop_with(Finding::new(spot.clone(), &message));
        }
        self.prepare(item, spot, env)
    }

    fn check_keys(&self, entries: &[(String, Node)], spot: &Spot) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (index, (key, _)) in entries.iter().enumerate() {
            let here = spot.child(index);
            if key == "<<" {
                self.drop_with(
                    Finding::new(here, "merge keys (`<<`) are not supported")
                        .on_key()
                        .hint(
                            "put shared fan-out settings under `defaults`, or repeat them; \
                         plain anchors and aliases (`&a`, `*a`) do work",
                        ),
                );
            } else if let Some(first) = first.get(key.as_str()) {
                let mut finding =
                    Finding::new(here, &format!("key `{}` stands twice", key.escape_debug()))
                        .on_key()
                        .hint("keep one of them");
                finding.related = Some((spot.child(*first), "first here"));
                self.drop_with(finding);
            } else {
                first.insert(key, index);
            }
        }
    }

    /// Notes a problem.
    pub(super) fn add(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() >= PROBLEMS_MAX {
            self.truncated.set(true);
        } else if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Notes a problem and treats the entry as absent from here on.
    pub(super) fn drop_with(&self, finding: Finding) {
        self.drop_silently(&finding.spot);
        self.add(finding);
    }

    /// Treats the entry as absent from here on, because of a problem noted elsewhere.
    pub(super) fn drop_silently(&self, spot: &Spot) {
        if let Some((parent, index)) = spot.split() {
            self.dropped
                .borrow_mut()
                .entry(parent)
                .or_default()
                .insert(index);
        }
    }

    /// Numbers of the entries right below `spot` that count as absent. Where there are any, what
    /// looks missing there may just be wrong.
    pub(super) fn dropped(&self, spot: &Spot) -> BTreeSet<usize> {
        self.dropped.borrow().get(spot).cloned().unwrap_or_default()
    }

    /// There are more problems than we list.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated.get()
    }

    /// The mapping at `spot` has `key`, but it was bad and dropped; or it has a slip of `key`, or a
    /// merge key that may have brought it. In short: do not tell that it is missing.
    pub(super) fn excuses(&self, spot: &Spot, key: &str) -> bool {
        let children = self.root.at(spot).map(Node::children).unwrap_or_default();
        self.dropped(spot)
            .iter()
            .filter_map(|index| children.get(*index)?.0)
            .any(|name| name == key || name == "<<" || suggest::nearest(name, [key]).is_some())
    }

    /// Nobody is shown the value at `spot`.
    pub(super) fn is_secret(&self, spot: &Spot) -> bool {
        let Some((parent, index)) = spot.split() else {
            return false;
        };
        let children = self
            .root
            .at(&parent)
            .map(Node::children)
            .unwrap_or_default();
        let key = children.get(index).and_then(|(key, _)| *key);
        key.is_some_and(redact::is_secret)
    }

    /// The mapping at `spot` has `key`, dropped or not.
    pub(super) fn mentions(&self, spot: &Spot, key: &str) -> bool {
        self.root
            .at(spot)
            .is_some_and(|node| node.children().iter().any(|(name, _)| *name == Some(key)))
    }

    /// Where `steps` lead, dropped entries not counted; where the path ends early (a setting that
    /// is not written down), the deepest place on the way and `false`.
    pub(super) fn resolve(&self, steps: &[Step]) -> (Spot, bool) {
        let mut spot = Spot::default();
        let mut node = &self.root;
        for step in steps {
            let dropped = self.dropped(&spot);
            let index = match step {
                // Dropped ones are not counted: those before it, and those right at it, move it on.
                Step::Item(number) => Some(
                    dropped
                        .iter()
                        .fold(*number, |at, gone| if *gone <= at { at + 1 } else { at }),
                ),
                Step::Key(key) => {
                    node.children()
                        .iter()
                        .enumerate()
                        .position(|(index, (name, _))| {
                            *name == Some(key.as_str()) && !dropped.contains(&index)
                        })
                }
            };
            let found = index.and_then(|index| Some((index, node.child(index)?)));
            let Some((index, child)) = found else {
                return (spot, false);
            };
            spot = spot.child(index);
            node = child;
        }
        (spot, true)
    }

    /// All that was found, and whether there was more than we list.
    pub(super) fn into_findings(self) -> (Node, Vec<Finding>, bool) {
        (self.root, self.findings.into_inner(), self.truncated.get())
    }

    /// Something was found wrong.
    pub(super) fn has_findings(&self) -> bool {
        !self.findings.borrow().is_empty()
    }
}
