//! File descriptors: every client connection and every upstream connection takes one, and a process
//! without any can do nothing at all. So the caps are fitted to the limit at the start.
//!
//! ```text
//! open files = clients + connections to apps + idle connections to apps + runtimes + spare
//! ```

use std::{collections::BTreeMap, io, sync::Arc};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::close,
};

use crate::config::model::{Config, Limits, Upstream};

/// Connections to the admin service at the same time; more wait in the accept queue.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// The same of the page of metrics alone: who scrapes asks once in seconds.
pub const SCRAPES_MAX: usize = 8;

/// Kept free for these, and for log and configuration files, listeners, name lookups.
const SPARE: usize = ADMIN_CONNECTIONS_MAX + SCRAPES_MAX + 64;

/// What a worker's runtime takes: its selector, its waker, its share of signals.
const RUNTIME: usize = 4;

/// Idle connections to apps that one worker keeps, if there are descriptors to spare.
const IDLE_MAX: usize = 256;

/// Descriptors that the kernel's table is made for at most, at 8 bytes and 3 bits each.
const RESERVED_MAX: usize = 1 << 20;

/// The same where nobody said how many clients there will be: half a megabyte.
const RESERVED_UNASKED_MAX: usize = 1 << 16;

/// The caps in force, fitted to the descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Client connections at most.
    pub connections_max: usize,
    /// Subscribers at most.
    pub subscribers_max: usize,
    /// Connections to each app at most, by the name of the upstream.
    pub upstreams: BTreeMap<String, usize>,
    /// Descriptors to [`reserve`].
    pub reserved: usize,
    /// What could not be granted and what to change; for the log.
    pub warnings: Vec<String>,
}

impl Caps {
    /// Connections to `upstream` at most.
    #[must_use]
    pub fn upstream(&self, upstream: &Upstream) -> usize {
        self.upstreams
            .get(&upstream.name)
            .copied()
            .unwrap_or(upstream.connections_max)
    }
}

/// Raises the soft limit on open files to the hard one and returns it.
///
/// # Errors
/// The text says what the system refused; the old limit then stays, and is read by [`open_files_max`].
pub fn raise_open_files() -> Result<usize, String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| format!("the limit on open files cannot be read: {error}"))?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| {
            format!("the limit on open files stays at {soft}, raising it to {hard} failed: {error}")
        })?;
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// The soft limit on open files; 1,024, the most common default, when it cannot be read.
#[must_use]
pub fn open_files_max() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// Makes the kernel's table of descriptors large enough for `descriptors`; it never shrinks again.
///
/// In a process with threads it grows only when every CPU has passed through the scheduler (an RCU
/// grace period), and the thread that happens to open one descriptor too many waits for that, with
/// all that it serves: for a long time if the machine is busy. So it is done here: before there are
/// workers, and on a reload by the thread that reloads.
///
/// # Errors
/// The text says what the system refused; the table then grows as it is needed.
pub fn reserve(descriptors: usize) -> Result<(), String> {
    let last = i32::try_from(descriptors.saturating_sub(1)).unwrap_or(i32::MAX);
    // Any one that is open will do: the copy is closed at once.
    match fcntl(io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(last)).and_then(close) {
        // All from there on are in use: so large it is already.
        Ok(()) | Err(Errno::EMFILE) => Ok(()),
        Err(error) => Err(format!("no table for {descriptors} open files: {error}")),
    }
}

/// Idle connections to apps that each of `threads` workers keeps: together at most an eighth of the
/// descriptors.
#[must_use]
pub const fn idle_connections_max(open_files_max: usize, threads: usize) -> usize {
    let share = open_files_max / 8 / if threads == 0 { 1 } else { threads };
    if share < IDLE_MAX { share } else { IDLE_MAX }
}

/// Fits the configured caps to `open_files_max` descriptors.
///
/// Apps get the connections that they are configured for, but no more than a quarter of the
/// descriptors unless clients leave them more. A channel takes none by itself: beyond the
/// connections of its app it waits for one.
#[must_use]
pub fn caps(config: &Config, open_files_max: usize) -> Caps {
    let limits = &config.limits;
    let own =
        SPARE + config.threads * (RUNTIME + idle_connections_max(open_files_max, config.threads));
    let usable = open_files_max.saturating_sub(own);
    let mut warnings = Vec::new();

    let left_by_clients = usable.saturating_sub(limits.connections_max.unwrap_or(usable));
    let for_apps = left_by_clients.max(usable / 4);
    let upstreams = fitted(&config.upstreams, for_apps, open_files_max, &mut warnings);
    let apps = upstreams.values().sum::<usize>();

    let clients = usable.saturating_sub(apps).max(1);
    let connections_max = limits.connections_max.unwrap_or(clients).min(clients);
    if let Some(wanted) = limits.connections_max.filter(|wanted| *wanted > clients) {
        warnings.push(format!(
            "limits.connections_max is {wanted}, but {open_files_max} open files less {own} of our \
             own less {apps} for upstreams leave {clients}: {clients} it is. {REMEDY} or lower \
             connections_max"
        ));
    }
    let subscribers_max = subscribers_max(limits, connections_max, &mut warnings);
    let reserved_max = match limits.connections_max {
        Some(_) => RESERVED_MAX,
        None => RESERVED_UNASKED_MAX,
    };
    Caps {
        connections_max,
        subscribers_max,
        upstreams,
        reserved: (own + connections_max + apps)
            .min(reserved_max)
            .min(open_files_max),
        warnings,
    }
}

const REMEDY: &str = "Raise the hard limit on open files (ulimit -Hn; LimitNOFILE= in systemd)";

/// What each app gets of `available` connections: all that it wants, or its share of them.
fn fitted(
    upstreams: &[Arc<Upstream>],
    available: usize,
    open_files_max: usize,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, usize> {
    let wanted: usize = upstreams
        .iter()
        .map(|upstream| upstream.connections_max)
        .sum();
    let mut fitted = BTreeMap::new();
    for Upstream {
        name,
        connections_max,
        ..
    } in upstreams.iter().map(AsRef::as_ref)
    {
        let granted = if wanted <= available {
            *connections_max
        } else {
            let share = *connections_max as u128 * available as u128 / wanted as u128;
            usize::try_from(share).unwrap_or(available).max(1)
        };
        if granted < *connections_max {
            warnings.push(format!(
                "upstreams.{name}.connections_max is {connections_max}, but of {open_files_max} \
                 open files {available} are for upstreams: {granted} it is. {REMEDY} or lower \
                 limits.connections_max"
            ));
        }
        fitted.insert(name.clone(), granted);
    }
    fitted
}

/// Subscribers are more than connections only over HTTP/2.
fn subscribers_max(limits: &Limits, connections_max: usize, warnings: &mut Vec<String>) -> usize {
    let streams = usize::try_from(limits.streams_per_connection_max).unwrap_or(usize::MAX);
    let carried = connections_max.saturating_mul(streams.max(1));
    let Some(wanted) = limits.subscribers_max else {
        return connections_max;
    };
    if wanted > carried {
        warnings.push(format!(
            "limits.subscribers_max is {wanted}, but {connections_max} connections of {streams} \
             streams carry {carried}: {carried} it is. Raise connections_max, \
             streams_per_connection_max or the hard limit on open files, or lower subscribers_max"
        ));
    } else if wanted > connections_max {
        warnings.push(format!(
            "limits.subscribers_max is {wanted}, above the {connections_max} connections: only \
             clients on HTTP/2, which share connections, can fill it"
        ));
    }
    wanted.min(carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Two worker threads; `limits` and the bounds of upstreams `a` and `b` as in a file.
    fn configured(limits: &str, upstreams: [Option<usize>; 2]) -> Config {
        let [a, b] = upstreams.map(|max| {
            max.map_or_else(
                || "http://app".to_owned(),
                |max| format!("{{address: http://app, connections_max: {max}}}"),
            )
        });
        let source = format!(
            "version: 1\nthreads: 2\nlisteners: [{{address: 127.0.0.1:0}}]\n\
             upstreams: {{a: {a}, b: {b}}}\nlimits: {{{limits}}}\n\
             routes: [{{path: /, upstream: a, action: proxy}}]"
        );
        config::load(&source, "test.yaml", &|_| None).unwrap_or_else(|report| panic!("{report}"))
    }

    /// `granted`: client connections, subscribers, connections to `a` and to `b`. `about`: what the
    /// warnings say.
    #[track_caller]
    fn check(open_files: usize, config: &Config, granted: [usize; 4], about: &[&str]) {
        let caps = caps(config, open_files);
        let got = [
            caps.connections_max,
            caps.subscribers_max,
            caps.upstream(&config.upstreams[0]),
            caps.upstream(&config.upstreams[1]),
        ];
        assert_eq!(got, granted, "{caps:?}");
        assert_eq!(caps.warnings.len(), about.len(), "{caps:?}");
        for (warning, text) in caps.warnings.iter().zip(about) {
            assert!(warning.contains(text), "{text}: {caps:?}");
        }
        let own = SPARE + 2 * (RUNTIME + idle_connections_max(open_files, 2));
        let all = own + granted[0] + granted[2] + granted[3];
        assert!(all <= open_files.max(own + 3), "{all} of {open_files}");
    }

    #[test]
    fn caps_fit_the_descriptors() {
        let few = [Some(50), Some(50)];
        check(1_024, &configured("", few), [652, 652, 50, 50], &[]);
        check(
            1_048_576,
            &configured("", [None, None]),
            [1_045_872, 1_045_872, 1_024, 1_024],
            &[],
        );
        check(
            1_024,
            &configured("connections_max: 600, subscribers_max: 500", few),
            [600, 500, 50, 50],
            &[],
        );
        check(
            1_024,
            &configured("connections_max: 5000", few),
            [652, 652, 50, 50],
            &["limits.connections_max is 5000"],
        );
    }

    #[test]
    fn connections_to_apps_are_shared_out_when_they_do_not_fit() {
        check(
            1_024,
            &configured("", [Some(900), Some(100)]),
            [565, 565, 169, 18],
            &[
                "upstreams.a.connections_max is 900, but of 1024 open files 188 are",
                "upstreams.b.connections_max is 100",
            ],
        );
        check(
            1_024,
            &configured("connections_max: 24", [Some(900), Some(100)]),
            [24, 24, 655, 72],
            &["655 it is", "it is"],
        );
        check(
            10,
            &configured("", [None, None]),
            [1, 1, 1, 1],
            &["upstreams.a", "upstreams.b"],
        );
    }

    #[test]
    fn subscribers_fit_their_connections() {
        let few = [Some(50), Some(50)];
        for (limits, connections, subscribers, about) in [
            ("subscribers_max: 5000", 652, 5_000, "5000, above the 652"),
            (
                "connections_max: 2, subscribers_max: 5000",
                2,
                2_000,
                "subscribers_max is 5000, but 2 connections",
            ),
        ] {
            let granted = [connections, subscribers, 50, 50];
            check(1_024, &configured(limits, few), granted, &[about]);
        }
    }

    #[test]
    fn idle_connections_take_an_eighth_at_most() {
        for (open_files, threads, expected) in
            [(1_024, 2, 64), (65_536, 2, 256), (1_024, 0, 128), (7, 1, 0)]
        {
            let idle = idle_connections_max(open_files, threads);
            assert_eq!(idle, expected, "{open_files} {threads}");
        }
    }

    #[test]
    fn the_table_is_made_for_what_is_asked_for_and_bounded() {
        let own = |open_files| SPARE + 2 * (RUNTIME + idle_connections_max(open_files, 2));
        let many = Some(1 << 30);
        for (open_files, limits, upstreams, expected) in [
            (1 << 20, "", [None, None], RESERVED_UNASKED_MAX),
            (1 << 30, "", [many, None], RESERVED_UNASKED_MAX),
            (1_024, "", [None, None], 1_024),
            (10, "", [None, None], 10),
            (
                1 << 20,
                "connections_max: 100000",
                [Some(50), Some(50)],
                own(1 << 20) + 100_100,
            ),
            (
                1 << 30,
                "connections_max: 100000000",
                [None, None],
                RESERVED_MAX,
            ),
        ] {
            let caps = caps(&configured(limits, upstreams), open_files);
            assert_eq!(caps.reserved, expected, "{open_files} {limits}");
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise_open_files().unwrap();
        assert_eq!(open_files_max(), raised);
        assert!(raised > SPARE);
    }
}
