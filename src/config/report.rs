//! Everything that is wrong with a file, with places, carets and hints.

use std::fmt;

use serde::Serialize;

use super::{
    document::{Finding, PROBLEMS_MAX},
    locate::{Place, locate, place_of, width},
    redact::{Secrets, redacted, without_secrets},
    tree::{Node, Spot},
};

/// Longest part of a source line that is shown.
const SNIPPET_CHARS_MAX: usize = 120;

/// Why a file was refused: all of it, sorted by line. `Display` is for people, `Serialize` for
/// tools (`check --output json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the file, as given.
    pub file: String,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
    /// There is more than is listed.
    pub truncated: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Path of the key, `routes[1].ring.events_max`; empty for the file as a whole.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A second place that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    /// The source line with its carets.
    #[serde(skip)]
    snippet: Snippet,
}

/// A second place that belongs to a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What it is: `first here`.
    pub label: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    #[serde(skip)]
    snippet: Snippet,
}

/// A source line and what to underline in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Snippet {
    text: String,
    indent: usize,
    width: usize,
}

impl Report {
    /// One problem with the file as a whole.
    pub(super) fn whole_file(file: &str, message: &str, hint: &str) -> Self {
        let problem = Problem {
            path: String::new(),
            line: 1,
            column: 1,
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
            related: None,
            snippet: Snippet::default(),
        };
        Self {
            file: file.to_owned(),
            problems: vec![problem],
            truncated: false,
        }
    }

    /// The file is not YAML.
    pub(super) fn syntax(file: &str, source: &str, error: &serde_yaml::Error) -> Self {
        let place = place_of(error);
        let text = error.to_string();
        // The place stands before the message; where the broken part began stays.
        let message = match text.split_once(" at line ") {
            Some((message, rest)) => match rest.split_once(", ") {
                Some((_, context)) => format!("{message}, {context}"),
                None => message.to_owned(),
            },
            None => text,
        };
        let hint = syntax_hint(source, place, &message);
        let problem = Problem {
            path: String::new(),
            line: place.line,
            column: place.column,
            message: redacted(&format!("this is not valid YAML: {message}")),
            hint,
            related: None,
            snippet: Snippet::new(&without_secrets(source), place),
        };
        Self {
            file: file.to_owned(),
            problems: vec![problem],
            truncated: false,
        }
    }

    /// All findings of a file.
    pub(super) fn new(
        file: &str,
        source: &str,
        root: &Node,
        findings: Vec<Finding>,
        truncated: bool,
    ) -> Self {
        debug_assert!(!findings.is_empty(), "a report without problems");
        debug_assert!(
            findings.len() <= PROBLEMS_MAX,
            "more problems than the bound"
        );
        let shown = without_secrets(source);
        let secrets = Secrets::of(root);
        let mut problems: Vec<Problem> = findings
            .into_iter()
            .map(|finding| Problem::new(source, &shown, root, &secrets, finding))
            .collect();
        problems
            .sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        // An alias shows the same problem of its anchor once for each use.
        problems.dedup_by(|a, b| (a.line, a.column, &a.message) == (b.line, b.column, &b.message));
        Self {
            file: file.to_owned(),
            problems,
            truncated,
        }
    }
}

fn syntax_hint(source: &str, place: Place, message: &str) -> Option<String> {
    let line = source
        .lines()
        .nth(place.line.saturating_sub(1))
        .unwrap_or_default();
    if line.trim_start_matches(' ').starts_with('\t') {
        return Some("indent with spaces; YAML does not allow tabs".to_owned());
    }
    if message.contains("more than one document") {
        return Some("keep one document; remove the `---` line and what follows".to_owned());
    }
    if message.contains("while parsing a flow") {
        return Some(
            "close the bracket; between brackets, quote values that hold one, as in `\"${NAME}\"` \
             or `\"/{*rest}\"`"
                .to_owned(),
        );
    }
    if message.contains("mapping values are not allowed") {
        return Some("check the indentation, or quote a value that contains `: `".to_owned());
    }
    None
}

impl Problem {
    /// `shown` is `source` as it may be shown, character for character in its place.
    fn new(source: &str, shown: &str, root: &Node, secrets: &Secrets, finding: Finding) -> Self {
        let place = place(source, root, &finding.spot, finding.on_key);
        let related = finding.related.map(|(spot, label)| {
            let place = self::place(source, root, &spot, true);
            let snippet = Snippet::new(shown, place);
            Related {
                label,
                line: place.line,
                column: place.column,
                snippet,
            }
        });
        Self {
            path: secrets.masked(&root.path_text(&finding.spot)),
            line: place.line,
            column: place.column,
            message: secrets.masked(&finding.message),
            hint: finding.hint.as_deref().map(|hint| secrets.masked(hint)),
            related,
            snippet: Snippet::new(shown, place),
        }
    }
}

/// Containers and empty values have no text of their own to underline: their key stands for them.
fn place(source: &str, root: &Node, spot: &Spot, on_key: bool) -> Place {
    let has_text = !matches!(
        root.at(spot),
        Some(Node::Mapping(_) | Node::Sequence(_) | Node::Null)
    );
    locate(source, spot, on_key || !has_text)
}

impl Snippet {
    fn new(source: &str, place: Place) -> Self {
        let line = source
            .lines()
            .nth(place.line.saturating_sub(1))
            .unwrap_or_default();
        let shown: Vec<char> = redacted(line)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // A very long line is shown from shortly before the place on.
        let skipped = if shown.len() > SNIPPET_CHARS_MAX {
            place.column.saturating_sub(40)
        } else {
            0
        };
        let text: String = shown.iter().skip(skipped).take(SNIPPET_CHARS_MAX).collect();
        let indent = place.column.saturating_sub(1 + skipped);
        let room = text.chars().count().saturating_sub(indent).max(1);
        Self {
            text: text.trim_end().to_owned(),
            indent,
            width: width(line, place.column).min(room),
        }
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        gutter: usize,
        line: usize,
        label: &str,
    ) -> fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        writeln!(f, " {line:>gutter$} | {}", self.text)?;
        let carets = "^".repeat(self.width);
        let carets = format!("{:indent$}{carets} {label}", "", indent = self.indent);
        writeln!(f, " {:>gutter$} | {}", "", carets.trim_end())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let Problem { line, column, .. } = problem;
            match problem.snippet.text.as_str() {
                // About the file as a whole, there is no line to point at.
                "" => writeln!(f, "{}: {}", self.file, problem.message)?,
                _ => writeln!(f, "{}:{line}:{column}: {}", self.file, problem.message)?,
            }
            let last = problem
                .related
                .as_ref()
                .map_or(problem.line, |other| other.line.max(problem.line));
            let gutter = last.to_string().len();
            if let Some(related) = &problem.related {
                related
                    .snippet
                    .write(f, gutter, related.line, related.label)?;
            }
            problem.snippet.write(f, gutter, problem.line, "")?;
            if let Some(hint) = &problem.hint {
                writeln!(f, " {:>gutter$} = {hint}", "")?;
            }
            writeln!(f)?;
        }
        let more = if self.truncated { "more than " } else { "" };
        match self.problems.len() {
            1 => write!(f, "{more}1 problem in {}", self.file),
            count => write!(f, "{more}{count} problems in {}", self.file),
        }
    }
}

impl std::error::Error for Report {}
