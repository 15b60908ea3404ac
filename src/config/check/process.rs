//! What belongs to the process as a whole: listeners, limits, drain, log, threads.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{
        defaults,
        model::{Drain, Limits, ListenAddress, Listener, ListenerTls, Log, LogFormat, Secret},
        raw,
        units::{Count, Size, Time},
    },
    address,
    at::At,
    clients,
};
use crate::logging;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const THREADS_MAX: usize = 1_024;
const IDS_KEY_CHARS_MIN: usize = 16;
/// HTTP/2 counts streams in 31 bits.
const STREAMS_MAX: usize = i32::MAX as usize;
const CONNECTS_MAX: usize = 1_000_000;
const CONTROL_FRAMES_MAX: usize = 1_000_000;

pub(super) fn listeners(file: &raw::File, at: &At<'_>) -> Vec<Listener> {
    let raw = &file.listeners;
    if raw.is_empty() && !at.is_damaged() {
        at.problem("there is no listener; add one, as in `listeners: [{address: 0.0.0.0:8080}]`");
    }
    let mut checked: Vec<(usize, Listener)> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let at = |index: usize| at.item(index);
        let here = at(index);
        let name = raw.name.clone().unwrap_or_else(|| raw.address.clone());
        let Some(address) = listen_address(&raw.address, raw.mode.as_ref(), &here) else {
            continue;
        };
        if let Some((first, _)) = checked
            .iter()
            .find(|(_, other)| address::collide(&other.address, &address))
        {
            let message = "two listeners cannot share an address; change the port of one";
            here.key("address")
                .clash(&at(*first).key("address"), "first here", message);
        } else if let Some((first, _)) = checked.iter().find(|(_, other)| other.name == name) {
            let message = format!("listener `{name}` stands twice; give each its own name");
            named_by(&here).clash(&named_by(&at(*first)), "first here", &message);
        }
        let tls = raw
            .tls
            .as_ref()
            .map(|tls| listener_tls(tls, &here.key("tls")));
        let proxy_protocol = raw.proxy_protocol.unwrap_or(false);
        if proxy_protocol {
            clients::may_announce(&address, file, &here.key("proxy_protocol"));
        }
        checked.push((
            index,
            Listener {
                name,
                address,
                tls,
                proxy_protocol,
            },
        ));
    }
    checked.into_iter().map(|(_, listener)| listener).collect()
}

/// Where a listener's name stands.
fn named_by<'d>(at: &At<'d>) -> At<'d> {
    let name = at.key("name");
    if name.is_written() {
        name
    } else {
        at.key("address")
    }
}

fn listener_tls(raw: &raw::ListenerTls, at: &At<'_>) -> ListenerTls {
    ListenerTls {
        certificate: file_path(&raw.certificate, &at.key("certificate")),
        key: file_path(&raw.key, &at.key("key")),
    }
}

/// The path of a file that is read later; here it only must not be empty.
pub(super) fn file_path(text: &str, at: &At<'_>) -> PathBuf {
    if text.is_empty() || text.contains('\0') {
        at.problem("this is not the path of a file; write one, as in `/etc/sidestream/tls.crt`");
    }
    PathBuf::from(text)
}

pub(super) fn listen_address(
    text: &str,
    mode: Option<&raw::Mode>,
    at: &At<'_>,
) -> Option<ListenAddress> {
    let bits = mode.map_or(Some(defaults::LISTENER_MODE), |mode| {
        let digits = mode.0.strip_prefix("0o").unwrap_or(&mode.0);
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|bits| *bits <= 0o777)
    });
    if bits.is_none() {
        at.key("mode")
            .problem("these are not permission bits; write them in octal, as in `\"0660\"`");
    }
    match address::listen(text, bits.unwrap_or(defaults::LISTENER_MODE)) {
        Ok(ListenAddress::Tcp(_)) if mode.is_some() => {
            at.key("mode")
                .key_problem("only a unix socket has a mode; leave it out here");
            None
        }
        Ok(address) => Some(address),
        Err(message) => {
            at.key("address").problem(&message);
            None
        }
    }
}

pub(super) fn limits(raw: &raw::Limits, at: &At<'_>) -> Limits {
    let many = |key: &str, value: Option<Count>| {
        value.map(|value| at.key(key).count(Some(value), usize::MAX, 1..=usize::MAX))
    };
    let budget = |key: &str, value: Option<Size>| {
        value.map(|value| {
            at.key(key)
                .size(Some(value), usize::MAX, 1 << 20..=usize::MAX)
        })
    };
    let time = |key: &str, value, default| at.key(key).time(value, default, 100 * MS..=HOUR);
    let streams = at.key("streams_per_connection_max").count(
        raw.streams_per_connection_max,
        defaults::STREAMS_PER_CONNECTION_MAX as usize,
        1..=STREAMS_MAX,
    );
    let control_frames = at.key("control_frames_per_second_max").count(
        raw.control_frames_per_second_max,
        defaults::CONTROL_FRAMES_PER_SECOND_MAX,
        1..=CONTROL_FRAMES_MAX,
    );
    Limits {
        subscribers_max: many("subscribers_max", raw.subscribers_max),
        connections_max: many("connections_max", raw.connections_max),
        per_address: clients::per_address(raw.per_address.as_ref(), &at.key("per_address")),
        connects_per_second: raw.connects_per_second.map(|value| {
            let at = at.key("connects_per_second");
            let rate = at.count(Some(value), CONNECTS_MAX, 1..=CONNECTS_MAX);
            u32::try_from(rate).unwrap_or(u32::MAX)
        }),
        channels_max: many("channels_max", raw.channels_max).unwrap_or(defaults::CHANNELS_MAX),
        streams_per_connection_max: u32::try_from(streams).unwrap_or(u32::MAX),
        ring_bytes_max: budget("ring_bytes_max", raw.ring_bytes_max),
        memory_max: budget("memory_max", raw.memory_max),
        head_bytes_max: at.key("head_bytes_max").size(
            raw.head_bytes_max,
            defaults::HEAD_BYTES_MAX,
            1 << 10..=1 << 20,
        ),
        head_fields_max: at.key("head_fields_max").count(
            raw.head_fields_max,
            defaults::HEAD_FIELDS_MAX,
            8..=1_000,
        ),
        head_timeout: time("head_timeout", raw.head_timeout, defaults::HEAD_TIMEOUT),
        handshake_timeout: time(
            "handshake_timeout",
            raw.handshake_timeout,
            defaults::HANDSHAKE_TIMEOUT,
        ),
        keepalive_timeout: time(
            "keepalive_timeout",
            raw.keepalive_timeout,
            defaults::KEEPALIVE_TIMEOUT,
        ),
        body_timeout: time("body_timeout", raw.body_timeout, defaults::BODY_TIMEOUT),
        body_bytes_per_second_min: at.key("body_bytes_per_second_min").size(
            raw.body_bytes_per_second_min,
            defaults::BODY_BYTES_PER_SECOND_MIN,
            0..=1 << 20,
        ),
        client_timeout: at.key("client_timeout").time(
            raw.client_timeout,
            defaults::CLIENT_TIMEOUT,
            Duration::from_secs(1)..=HOUR,
        ),
        control_frames_per_second_max: u32::try_from(control_frames).unwrap_or(u32::MAX),
        tcp_send_buffer_bytes: at.key("tcp_send_buffer_bytes").size(
            raw.tcp_send_buffer_bytes,
            defaults::TCP_SEND_BUFFER_BYTES,
            4 << 10..=16 << 20,
        ),
    }
}

pub(super) fn drain(raw: &raw::Drain, at: &At<'_>) -> Drain {
    let time = |key: &str, value, default| at.key(key).time(value, default, Duration::ZERO..=HOUR);
    let window = time("window", raw.window, defaults::DRAIN_WINDOW);
    let margin = time("margin", raw.margin, defaults::DRAIN_MARGIN);
    let listen_min = time(
        "listen_min",
        raw.listen_min,
        defaults::DRAIN_LISTEN_MIN.min(window),
    );
    if listen_min > window + margin {
        at.key("listen_min").problem(&format!(
            "the process ends {} after the signal, which is `window` and `margin` together; \
             lower it, or raise `window`",
            Time(window + margin)
        ));
    }
    Drain {
        window,
        margin,
        listen_min,
    }
}

pub(super) fn log(raw: &raw::Log, at: &At<'_>) -> Log {
    let filter = raw
        .filter
        .clone()
        .unwrap_or_else(|| defaults::LOG_FILTER.to_owned());
    if let Err(message) = logging::check_filter(&filter) {
        at.key("filter").problem(&message);
    }
    Log {
        filter,
        format: raw.format.unwrap_or(LogFormat::Auto),
    }
}

/// As long as a key must be that nobody guesses.
pub(super) fn ids_key(raw: Option<&str>, at: &At<'_>) -> Option<Secret> {
    let key = raw?;
    if key.chars().count() < IDS_KEY_CHARS_MIN {
        at.problem(&format!(
            "a key of fewer than {IDS_KEY_CHARS_MIN} characters can be guessed; take a random one, as \
             of `openssl rand -hex 32`"
        ));
    }
    Some(Secret::new(key))
}

/// Unless set, the CPUs that this process may use: the one thing here that is asked of the machine.
pub(super) fn threads(raw: Option<Count>, at: &At<'_>) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    at.count(raw, cpus.min(THREADS_MAX), 1..=THREADS_MAX)
}
