//! Which route takes a request.
//!
//! Hosts are tried from the most to the least exact: the whole name, the longest suffix, any. Within
//! a host the most specific path wins, whatever the order of the routes: segment by segment from the
//! left, text before parameter before catch-all. For one path pattern, a route that names the method
//! wins over one that takes any. A route that does not take the request's method hides nothing.
//!
//! A tree of our own rather than a router crate: those that we know refuse `/{page}` beside
//! `/{*rest}`, and know no methods, so that a miss by method could not fall back.

use std::{borrow::Cow, collections::HashMap, fmt};

use http::Method;

use super::pattern::{self, Segment};

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch {
    /// `None`: any host. Compared without port, in lower case.
    pub host: Option<HostPattern>,
    /// Path pattern: `/prices/{symbol}`, `/files/{name}.json`, `/files/{*rest}` (the rest may be
    /// empty). Compared as sent, without decoding.
    pub path: String,
    /// Empty: any method.
    pub methods: Vec<Method>,
}

/// Host pattern of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// The whole name.
    Exact(String),
    /// `*.example.com` is kept as `.example.com`; one or more labels before it.
    Suffix(String),
}

/// Why a table cannot be built from some routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableError {
    /// The pattern of the route with this index is malformed.
    Pattern {
        /// Which route.
        index: usize,
        /// What is wrong, and after `; ` what to do.
        message: String,
    },
    /// Two routes take the same requests.
    Conflict {
        /// The later one.
        index: usize,
        /// The earlier one.
        with: usize,
    },
}

/// All routes, ready to be searched. `T` is what a route leads to.
#[derive(Clone)]
pub struct Table<T> {
    exact: HashMap<String, Branch<T>>,
    /// Longest first.
    suffixes: Vec<(String, Branch<T>)>,
    any: Branch<T>,
}

/// The patterns that share their first segments.
#[derive(Clone)]
struct Branch<T> {
    texts: HashMap<String, Branch<T>>,
    /// Most specific first.
    parameters: Vec<(Segment, Branch<T>)>,
    /// Patterns with a catch-all here.
    rest: Leaf<T>,
    /// Patterns that end here.
    end: Leaf<T>,
}

/// The routes of one pattern.
#[derive(Clone)]
struct Leaf<T>(Vec<Entry<T>>);

#[derive(Clone)]
struct Entry<T> {
    index: usize,
    methods: Vec<Method>,
    target: T,
}

impl<T: Clone> Table<T> {
    /// Builds the table.
    ///
    /// # Errors
    /// Every pattern that is malformed, and every route that takes requests of an earlier one.
    pub fn new(routes: &[(RouteMatch, T)]) -> Result<Self, Vec<TableError>> {
        let mut errors = Vec::new();
        let mut table = Self::default();
        for (index, (matches, target)) in routes.iter().enumerate() {
            let segments = match pattern::parse(&matches.path) {
                Ok(segments) => segments,
                Err(message) => {
                    errors.push(TableError::Pattern { index, message });
                    continue;
                }
            };
            let methods = matches.methods.clone();
            let entry = Entry {
                index,
                methods,
                target: target.clone(),
            };
            let leaf = table.branch_of(matches.host.as_ref()).leaf_of(segments);
            if let Err(with) = leaf.add(entry) {
                errors.push(TableError::Conflict { index, with });
            }
        }
        table
            .suffixes
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        if errors.is_empty() {
            Ok(table)
        } else {
            Err(errors)
        }
    }
}

impl<T> Table<T> {
    /// The route of a request. `host` as the client sent it (port included, empty if it sent none),
    /// `path` without query.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&T> {
        let path = path.strip_prefix('/')?;
        let host = normal_host(host);
        let exact = self.exact.get(host.as_ref()).into_iter();
        let suffixes = self
            .suffixes
            .iter()
            .filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix.as_str()))
            .map(|(_, branch)| branch);
        exact
            .chain(suffixes)
            .chain(std::iter::once(&self.any))
            .find_map(|branch| branch.find(Some(path), method))
    }

    fn branch_of(&mut self, host: Option<&HostPattern>) -> &mut Branch<T> {
        match host {
            None => &mut self.any,
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(HostPattern::Suffix(suffix)) => {
                entry_of(&mut self.suffixes, |own| own == suffix, || suffix.clone())
            }
        }
    }
}

/// The value under a key of a short list, added at its end if it is not there.
fn entry_of<K, V: Default>(
    list: &mut Vec<(K, V)>,
    is_it: impl Fn(&K) -> bool,
    key: impl FnOnce() -> K,
) -> &mut V {
    let index = list
        .iter()
        .position(|(own, _)| is_it(own))
        .unwrap_or_else(|| {
            list.push((key(), V::default()));
            list.len() - 1
        });
    #[expect(clippy::indexing_slicing, reason = "found or pushed right above")]
    &mut list[index].1
}

impl<T> Branch<T> {
    fn leaf_of(&mut self, segments: Vec<Segment>) -> &mut Leaf<T> {
        let mut branch = self;
        for segment in segments {
            branch = match segment {
                Segment::Text(text) => branch.texts.entry(text).or_default(),
                Segment::Rest => return &mut branch.rest,
                segment @ Segment::Parameter { .. } => {
                    // Stable: equal ones keep a fixed order by their text.
                    let known = branch.parameters.iter().any(|(own, _)| *own == segment);
                    if !known {
                        branch.parameters.push((segment.clone(), Self::default()));
                        branch.parameters.sort_by(|(a, _), (b, _)| {
                            b.fixed_bytes().cmp(&a.fixed_bytes()).then_with(|| a.cmp(b))
                        });
                    }
                    entry_of(
                        &mut branch.parameters,
                        |own| *own == segment,
                        || segment.clone(),
                    )
                }
            };
        }
        &mut branch.end
    }

    /// Searches below. `path` is what is left of it: `None` after the last segment. Each branch is
    /// visited once at most, so that a search costs no more than the routes that there are.
    fn find(&self, path: Option<&str>, method: &Method) -> Option<&T> {
        let Some(path) = path else {
            return self.end.find(method);
        };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let text = self.texts.get(segment).into_iter();
        let parameters = self
            .parameters
            .iter()
            .filter(|(parameter, _)| parameter.takes(segment))
            .map(|(_, branch)| branch);
        text.chain(parameters)
            .find_map(|branch| branch.find(below, method))
            .or_else(|| self.rest.find(method))
    }
}

impl<T> Leaf<T> {
    /// Adds a route, or names the earlier one that takes some of its requests.
    fn add(&mut self, entry: Entry<T>) -> Result<(), usize> {
        let clash = self
            .0
            .iter()
            .find(|own| match (&own.methods[..], &entry.methods[..]) {
                ([], []) => true,
                (own, new) => own.iter().any(|method| new.contains(method)),
            });
        match clash {
            Some(own) => Err(own.index),
            None => {
                self.0.push(entry);
                Ok(())
            }
        }
    }

    fn find(&self, method: &Method) -> Option<&T> {
        let named = self.0.iter().find(|entry| entry.methods.contains(method));
        named
            .or_else(|| self.0.iter().find(|entry| entry.methods.is_empty()))
            .map(|entry| &entry.target)
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            suffixes: Vec::new(),
            any: Branch::default(),
        }
    }
}

impl<T> Default for Branch<T> {
    fn default() -> Self {
        let (rest, end) = (Leaf(Vec::new()), Leaf(Vec::new()));
        Self {
            texts: HashMap::new(),
            parameters: Vec::new(),
            rest,
            end,
        }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// A table is made from the routes that stand beside it; it adds nothing to compare.
impl<T> PartialEq for Table<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// A host for comparing: without port, in lower case, without the dot of the root.
#[must_use]
pub fn normal_host(host: &str) -> Cow<'_, str> {
    let name = match (host.starts_with('['), host.find(']')) {
        (true, Some(end)) => host.get(..=end).unwrap_or(host),
        // More than one colon without brackets is a bare IPv6 address.
        _ => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
