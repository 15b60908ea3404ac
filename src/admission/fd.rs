//! File descriptors: every client connection and every upstream connection takes one, and a process
//! without any can do nothing at all. So the caps are fitted to the limit at the start.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::model::Limits;

/// Kept free for the admin service, log and configuration files, runtimes, name lookups.
const SPARE: usize = 64;

/// The caps in force, fitted to the descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Client connections at most.
    pub connections_max: usize,
    /// Subscribers at most.
    pub subscribers_max: usize,
    /// What could not be granted and what to change; for the log.
    pub warnings: Vec<String>,
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

/// Fits the configured caps to `open_files_max` descriptors.
///
/// Upstreams get a descriptor for each possible channel, but at most a quarter: many channels with
/// few clients each are as legitimate as one with many. Subscribers are more than connections only
/// over HTTP/2.
#[must_use]
pub fn caps(limits: &Limits, open_files_max: usize) -> Caps {
    let usable = open_files_max.saturating_sub(SPARE);
    let upstreams = limits.channels_max.min(usable / 4);
    let clients = usable.saturating_sub(upstreams).max(1);
    let mut warnings = Vec::new();

    let connections_max = limits.connections_max.unwrap_or(clients).min(clients);
    if let Some(wanted) = limits.connections_max.filter(|wanted| *wanted > clients) {
        warnings.push(format!(
            "limits.connections_max is {wanted}, but {open_files_max} open files less {SPARE} spare \
             less {upstreams} for upstreams leave {clients}: {clients} it is. Raise the hard limit \
             on open files (ulimit -Hn; LimitNOFILE= in systemd) or lower connections_max"
        ));
    }

    let streams = usize::try_from(limits.streams_per_connection_max).unwrap_or(usize::MAX);
    let carried = connections_max.saturating_mul(streams.max(1));
    let subscribers_max = limits
        .subscribers_max
        .unwrap_or(connections_max)
        .min(carried);
    if let Some(wanted) = limits.subscribers_max.filter(|wanted| *wanted > carried) {
        warnings.push(format!(
            "limits.subscribers_max is {wanted}, but {connections_max} connections of {streams} \
             streams carry {carried}: {carried} it is. Raise connections_max, \
             streams_per_connection_max or the hard limit on open files, or lower subscribers_max"
        ));
    } else if let Some(wanted) = limits
        .subscribers_max
        .filter(|wanted| *wanted > connections_max)
    {
        warnings.push(format!(
            "limits.subscribers_max is {wanted}, above the {connections_max} connections: only \
             clients on HTTP/2, which share connections, can fill it"
        ));
    }
    Caps {
        connections_max,
        subscribers_max,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(connections: Option<usize>, subscribers: Option<usize>) -> Limits {
        Limits {
            subscribers_max: subscribers,
            connections_max: connections,
            channels_max: 10_000,
            streams_per_connection_max: 1_000,
            ring_bytes_max: None,
            head_bytes_max: 32 << 10,
            head_fields_max: 100,
            head_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            body_bytes_per_second_min: 240,
            client_timeout: Duration::from_secs(60),
            control_frames_per_second_max: 200,
            tcp_send_buffer_bytes: 64 << 10,
        }
    }

    #[test]
    fn caps_fit_the_descriptors() {
        // open files, configured connections and subscribers -> granted, warnings about
        type Case = (
            usize,
            [Option<usize>; 2],
            [usize; 2],
            &'static [&'static str],
        );
        let cases: [Case; 8] = [
            (1_024, [None, None], [720, 720], &[]),
            (1_048_576, [None, None], [1_038_512, 1_038_512], &[]),
            (1_024, [Some(700), Some(500)], [700, 500], &[]),
            (
                1_024,
                [Some(5_000), None],
                [720, 720],
                &["connections_max is 5000"],
            ),
            (
                1_024,
                [None, Some(5_000)],
                [720, 5_000],
                &["subscribers_max is 5000, above"],
            ),
            (
                1_024,
                [Some(2), Some(5_000)],
                [2, 2_000],
                &["subscribers_max is 5000, but 2 conn"],
            ),
            (
                1_024,
                [Some(5_000), Some(5_000)],
                [720, 5_000],
                &["connections_max is 5000", "subscribers_max is 5000, above"],
            ),
            (10, [None, None], [1, 1], &[]),
        ];
        for (open_files, [connections, subscribers], granted, about) in cases {
            let caps = caps(&limits(connections, subscribers), open_files);
            let case = format!("{open_files} {connections:?} {subscribers:?}: {caps:?}");
            assert_eq!(
                [caps.connections_max, caps.subscribers_max],
                granted,
                "{case}"
            );
            assert_eq!(caps.warnings.len(), about.len(), "{case}");
            for (warning, text) in caps.warnings.iter().zip(about) {
                assert!(warning.contains(text), "{text}: {case}");
            }
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise_open_files().unwrap();
        assert_eq!(open_files_max(), raised);
        assert!(raised > SPARE);
    }
}
