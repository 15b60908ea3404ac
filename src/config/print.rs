//! The effective configuration as YAML.

use super::{
    model::{
        Action, Config, CookieIdentity, Cors, Fanout, HostPattern, LateJoin, ListenAddress,
        Listener, Origins, QuerySelection, Route, SlowPolicy, Stream, TrustedProxies, Upstream,
        UpstreamAddress, UpstreamHost, Watchdog,
    },
    raw::{self, AllOr},
    units::{Count, Size},
};

/// Stands for what nobody is shown.
const HIDDEN: &str = "(not shown)";

/// Prints a configuration with every default filled in. Loading it gives an equal one, unless it holds
/// a secret: then that is to be filled in.
///
/// `defaults` is spent on the routes; limits that the machine decides at start stay away.
#[must_use]
pub fn print(config: &Config) -> String {
    text(value(config))
}

/// Prints some of the sections at the top of the file only.
pub(super) fn print_sections(config: &Config, sections: &[&str]) -> String {
    let mut file = value(config);
    if let Some(entries) = file.as_mapping_mut() {
        entries.retain(|key, _| key.as_str().is_some_and(|key| sections.contains(&key)));
    }
    text(file)
}

fn value(config: &Config) -> serde_yaml::Value {
    serde_yaml::to_value(raw_file(config)).unwrap_or_default()
}

fn text(mut file: serde_yaml::Value) -> String {
    escape_dollars(&mut file);
    serde_yaml::to_string(&file).unwrap_or_default()
}

/// A dollar sign of a value would be read as the start of a variable.
fn escape_dollars(value: &mut serde_yaml::Value) {
    use serde_yaml::Value;
    match value {
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Sequence(items) => items.iter_mut().for_each(escape_dollars),
        Value::Mapping(entries) => entries
            .iter_mut()
            .for_each(|(_, value)| escape_dollars(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => {}
    }
}

fn raw_file(config: &Config) -> raw::File {
    let (admin_address, admin_mode) = listen_address(&config.admin.address);
    raw::File {
        version: Some(Count(1)),
        listeners: config.listeners.iter().map(listener).collect(),
        trusted_proxies: trusted_proxies(&config.trusted_proxies),
        forwarded_header: Some(config.trusted_proxies.header),
        upstreams: raw::Named(
            config
                .upstreams
                .iter()
                .map(|app| (app.name.clone(), upstream(app)))
                .collect(),
        ),
        defaults: raw::Defaults::default(),
        // Too short to be taken for a key when it is loaded again.
        ids_key: config.ids_key.as_ref().map(|_| HIDDEN.to_owned()),
        routes: config
            .routes
            .iter()
            .map(|route| self::route(route))
            .collect(),
        limits: limits(config),
        drain: raw::Drain {
            window: Some(config.drain.window.into()),
            margin: Some(config.drain.margin.into()),
            listen_min: Some(config.drain.listen_min.into()),
        },
        admin: raw::Admin {
            address: Some(admin_address),
            mode: admin_mode,
            metrics_address: config.admin.metrics_address.map(|at| at.to_string()),
        },
        log: raw::Log {
            filter: Some(config.log.filter.clone()),
            format: Some(config.log.format),
        },
        threads: Some(config.threads.into()),
    }
}

fn trusted_proxies(trusted: &TrustedProxies) -> Vec<String> {
    let networks = trusted.networks.iter().map(ToString::to_string);
    let unix = trusted.unix.then(|| "unix".to_owned());
    networks.chain(unix).collect()
}

fn listen_address(address: &ListenAddress) -> (String, Option<raw::Mode>) {
    let mode = match address {
        ListenAddress::Tcp(_) => None,
        ListenAddress::Unix { mode, .. } => Some(raw::Mode(format!("{mode:04o}"))),
    };
    (address.to_string(), mode)
}

fn listener(listener: &Listener) -> raw::Listener {
    let (address, mode) = listen_address(&listener.address);
    let tls = listener.tls.as_ref().map(|tls| raw::ListenerTls {
        certificate: tls.certificate.display().to_string(),
        key: tls.key.display().to_string(),
    });
    raw::Listener {
        name: Some(listener.name.clone()),
        address,
        mode,
        tls,
        proxy_protocol: listener.proxy_protocol.then_some(true),
    }
}

fn upstream(app: &Upstream) -> raw::Upstream {
    let scheme = if app.tls.is_some() { "https" } else { "http" };
    let address = match &app.address {
        UpstreamAddress::Tcp { .. } => format!("{scheme}://{}", app.address.authority()),
        UpstreamAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    let host = match &app.host {
        UpstreamHost::Preserve => "preserve".to_owned(),
        UpstreamHost::Fixed(name) => name.clone(),
    };
    let tls = app.tls.as_ref().map(|tls| raw::UpstreamTls {
        server_name: Some(tls.server_name.clone()),
        ca: tls.ca.as_ref().map(|path| path.display().to_string()),
        verify: Some(tls.verify),
    });
    raw::Upstream::Settings(Box::new(raw::UpstreamSettings {
        address,
        tls,
        http: Some(app.http),
        host: Some(host),
        connect_timeout: Some(app.connect_timeout.into()),
        read_timeout: Some(app.read_timeout.into()),
        write_timeout: Some(app.write_timeout.into()),
        idle_timeout: Some(app.idle_timeout.into()),
        connections_max: Some(app.connections_max.into()),
        attempts_max: Some(app.attempts_max.into()),
    }))
}

fn limits(config: &Config) -> raw::Limits {
    let limits = &config.limits;
    raw::Limits {
        subscribers_max: limits.subscribers_max.map(Count::from),
        connections_max: limits.connections_max.map(Count::from),
        per_address: Some(raw::PerAddress {
            subscribers_max: limits.per_address.subscribers_max.map(Count::from),
            connections_max: limits.per_address.connections_max.map(Count::from),
            ipv6_prefix: Some(Count(limits.per_address.ipv6_prefix.into())),
        }),
        connects_per_second: limits.connects_per_second.map(|rate| Count(rate.into())),
        channels_max: Some(limits.channels_max.into()),
        streams_per_connection_max: Some(Count(limits.streams_per_connection_max.into())),
        ring_bytes_max: limits.ring_bytes_max.map(Size::from),
        memory_max: limits.memory_max.map(Size::from),
        head_bytes_max: Some(limits.head_bytes_max.into()),
        head_fields_max: Some(limits.head_fields_max.into()),
        head_timeout: Some(limits.head_timeout.into()),
        handshake_timeout: Some(limits.handshake_timeout.into()),
        keepalive_timeout: Some(limits.keepalive_timeout.into()),
        body_timeout: Some(limits.body_timeout.into()),
        body_bytes_per_second_min: Some(limits.body_bytes_per_second_min.into()),
        client_timeout: Some(limits.client_timeout.into()),
        control_frames_per_second_max: Some(Count(limits.control_frames_per_second_max.into())),
        tcp_send_buffer_bytes: Some(limits.tcp_send_buffer_bytes.into()),
    }
}

fn stream(stream: &Stream) -> raw::Defaults {
    raw::Defaults {
        heartbeat: Some(stream.heartbeat.into()),
        slow: Some(raw::Slow {
            stall_max: Some(stream.stall_max.into()),
            ..raw::Slow::default()
        }),
        watchdog: stream
            .silence_max
            .map(|silence_max| raw::Watchdog::After(silence_max.into())),
        retry: Some(raw::RetryRange {
            min: Some(stream.retry.min.into()),
            max: Some(stream.retry.max.into()),
        }),
        ..raw::Defaults::default()
    }
}

fn route(route: &Route) -> raw::Route {
    let (action, settings) = match &route.action {
        Action::Fanout(fanout) => (raw::RouteAction::Fanout, self::fanout(fanout)),
        Action::Stream(stream) => (raw::RouteAction::Stream, self::stream(stream)),
        Action::Proxy => (raw::RouteAction::Proxy, raw::Defaults::default()),
    };
    let host = route.matches.host.as_ref().map(|host| match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    });
    let methods = &route.matches.methods;
    raw::Route::new(
        Some(route.name.clone()),
        host,
        route.matches.path.clone(),
        (!methods.is_empty()).then(|| methods.iter().map(ToString::to_string).collect()),
        Some(route.upstream.name.clone()),
        action,
        settings,
    )
}

fn cors(cors: &Cors) -> raw::Cors {
    raw::Cors {
        origins: Some(match &cors.origins {
            Origins::All => AllOr::All,
            Origins::Listed(list) => AllOr::Names(list.iter().map(ToString::to_string).collect()),
        }),
        credentials: Some(cors.credentials),
        max_age: Some(cors.max_age.into()),
        headers: Some(cors.headers.iter().map(ToString::to_string).collect()),
    }
}

fn fanout(fanout: &Fanout) -> raw::Defaults {
    let names = |headers: &[http::HeaderName]| headers.iter().map(ToString::to_string).collect();
    let cookies = match &fanout.identity.cookies {
        CookieIdentity::All => AllOr::All,
        CookieIdentity::Named(names) => AllOr::Names(names.clone()),
    };
    // Under `share: public` it has no effect, and writing both down is refused.
    let identity = (fanout.share == super::model::Share::Credentials).then(|| raw::Identity {
        headers: Some(names(&fanout.identity.headers)),
        cookies: Some(cookies),
    });
    let unless_any = |max: usize| (max != usize::MAX).then(|| max.into());
    raw::Defaults {
        share: Some(fanout.share),
        identity,
        strict: (fanout.share == super::model::Share::Public).then_some(fanout.strict),
        cors: fanout.cors.as_ref().map(cors),
        reauth: (fanout.share == super::model::Share::Credentials).then(|| fanout.reauth.into()),
        query: Some(match &fanout.query {
            QuerySelection::All => AllOr::All,
            QuerySelection::Only(names) => AllOr::Names(names.clone()),
        }),
        last_event_id_query: Some(fanout.last_event_id_query.clone()),
        ids: Some(fanout.ids),
        resume: Some(fanout.resume),
        resume_wait: Some(fanout.resume_wait.into()),
        late_join: match fanout.late_join {
            LateJoin::Live => Some(raw::LateJoin::Live),
            LateJoin::Last(events) => Some(raw::LateJoin::Last(events)),
            LateJoin::All => Some(raw::LateJoin::All),
            // It goes without saying, and writing it down is refused.
            LateJoin::Whole => None,
        },
        gap_notice: Some(fanout.gap_notice),
        ring: Some(raw::Ring {
            events_max: Some(fanout.ring.events_max.into()),
            bytes_max: Some(fanout.ring.bytes_max.into()),
            age_max: Some(fanout.ring.age_max.into()),
        }),
        event: Some(raw::Event {
            bytes_max: Some(fanout.event.bytes_max.into()),
            fields_max: Some(fanout.event.fields_max.into()),
            id_bytes_max: Some(fanout.event.id_bytes_max.into()),
        }),
        open_wait: Some(fanout.open_wait.into()),
        head_wait: Some(fanout.head_wait.into()),
        on_end: Some(fanout.on_end),
        backoff: Some(raw::Backoff {
            min: Some(fanout.backoff.min.into()),
            max: Some(fanout.backoff.max.into()),
        }),
        watchdog: Some(match fanout.watchdog {
            Watchdog::Auto => raw::Watchdog::Auto,
            Watchdog::Off => raw::Watchdog::Off,
            Watchdog::After(silence_max) => raw::Watchdog::After(silence_max.into()),
        }),
        linger: Some(fanout.linger.into()),
        retry: Some(raw::RetryRange {
            min: Some(fanout.retry.min.into()),
            max: Some(fanout.retry.max.into()),
        }),
        heartbeat: Some(fanout.heartbeat.into()),
        batch_delay: Some(fanout.batch_delay.into()),
        slow: Some(raw::Slow {
            policy: Some(match fanout.slow.policy {
                SlowPolicy::Disconnect => raw::SlowPolicy::Disconnect,
                SlowPolicy::Skip => raw::SlowPolicy::Skip,
                SlowPolicy::Conflate(_) => raw::SlowPolicy::Conflate,
            }),
            conflate_by: fanout.slow.policy.key().map(|by| by.as_ref().clone()),
            events_max: Some(fanout.slow.events_max.into()),
            bytes_max: Some(fanout.slow.bytes_max.into()),
            stall_max: Some(fanout.slow.stall_max.into()),
        }),
        connection_age_max: fanout.connection_age_max.map(Into::into),
        route_subscribers_max: unless_any(fanout.route_subscribers_max),
        channel_subscribers_max: unless_any(fanout.channel_subscribers_max),
        response_headers: Some(names(&fanout.response_headers)),
    }
}
