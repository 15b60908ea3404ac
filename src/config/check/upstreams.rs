//! The apps behind us.

use std::{path::PathBuf, str::FromStr as _, sync::Arc, time::Duration};

use http::uri::Authority;

use super::{
    super::{
        defaults,
        model::{AppHttp, Upstream, UpstreamAddress, UpstreamHost, UpstreamTls},
        raw,
    },
    address::{self, AppScheme},
    at::At,
    process::file_path,
};

const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// More than a process may have descriptors, whatever the system.
const CONNECTIONS_MAX: usize = 1 << 30;

pub(super) fn upstreams(raw: &raw::Named<raw::Upstream>, at: &At<'_>) -> Vec<Arc<Upstream>> {
    if raw.0.is_empty() && !at.is_damaged() {
        at.problem(
            "there is no upstream; add one, as in `upstreams: {app: http://127.0.0.1:3000}`",
        );
    }
    raw.0
        .iter()
        .map(|(name, upstream)| {
            let here = at.key(name);
            if name.is_empty() {
                here.key_problem("an upstream needs a name; write one before the colon");
            }
            Arc::new(match upstream {
                raw::Upstream::Address(address) => {
                    self::upstream(name, &plain(address), &here, &here)
                }
                raw::Upstream::Settings(settings) => {
                    self::upstream(name, settings, &here, &here.key("address"))
                }
            })
        })
        .collect()
}

/// An upstream that is just an address.
fn plain(address: &str) -> raw::UpstreamSettings {
    raw::UpstreamSettings {
        address: address.to_owned(),
        tls: None,
        http: None,
        host: None,
        connect_timeout: None,
        read_timeout: None,
        write_timeout: None,
        idle_timeout: None,
        connections_max: None,
        attempts_max: None,
    }
}

fn upstream(name: &str, raw: &raw::UpstreamSettings, at: &At<'_>, address_at: &At<'_>) -> Upstream {
    let (address, tls, http) = match address::app(&raw.address) {
        Ok(app) => {
            let tls = tls(raw.tls.as_ref(), &app, &at.key("tls"));
            let has_tls = tls.is_some() || raw.tls.is_some();
            (app.address, tls, http(raw.http, has_tls, &at.key("http")))
        }
        Err(message) => {
            address_at.problem(&message);
            // A stand-in: a configuration with a problem never leaves the check.
            (UpstreamAddress::Unix(PathBuf::new()), None, AppHttp::One)
        }
    };
    let time =
        |key: &str, value, default| at.key(key).time(value, default, TIMEOUT_MIN..=TIMEOUT_MAX);
    Upstream {
        name: name.to_owned(),
        address,
        tls,
        http,
        host: host(raw.host.as_deref(), &at.key("host")),
        connect_timeout: time(
            "connect_timeout",
            raw.connect_timeout,
            defaults::CONNECT_TIMEOUT,
        ),
        read_timeout: time("read_timeout", raw.read_timeout, defaults::READ_TIMEOUT),
        write_timeout: time("write_timeout", raw.write_timeout, defaults::WRITE_TIMEOUT),
        idle_timeout: time("idle_timeout", raw.idle_timeout, defaults::IDLE_TIMEOUT),
        connections_max: at.key("connections_max").count(
            raw.connections_max,
            defaults::UPSTREAM_CONNECTIONS_MAX,
            1..=CONNECTIONS_MAX,
        ),
        attempts_max: at.key("attempts_max").count(
            raw.attempts_max,
            defaults::UPSTREAM_ATTEMPTS_MAX,
            1..=CONNECTIONS_MAX,
        ),
    }
}

/// HTTP/1.1 unless the file says otherwise, over TLS as well: a stream gains nothing by HTTP/2, and
/// those that share a connection share its end.
fn http(raw: Option<AppHttp>, has_tls: bool, at: &At<'_>) -> AppHttp {
    if raw == Some(AppHttp::Auto) && !has_tls {
        at.problem(
            "`auto` asks the app by ALPN, which is a part of TLS; without TLS write `2` for an app \
             that takes HTTP/2 by prior knowledge (h2c), or else leave `http` out",
        );
    }
    raw.unwrap_or(AppHttp::One)
}

fn tls(
    raw: Option<&raw::UpstreamTls>,
    app: &address::AppAddress,
    at: &At<'_>,
) -> Option<UpstreamTls> {
    match (app.scheme, raw) {
        (AppScheme::Http, Some(_)) => {
            at.key_problem("`tls` is set, but the address begins with `http://`; write `https://`");
            return None;
        }
        (AppScheme::Http | AppScheme::Unix, None) => return None,
        (AppScheme::Https, _) | (AppScheme::Unix, Some(_)) => {}
    }
    let raw = raw.cloned().unwrap_or_default();
    let default_name = match &app.address {
        UpstreamAddress::Tcp { host, .. } => Some(host.clone()),
        UpstreamAddress::Unix(_) => None,
    };
    if raw
        .server_name
        .as_deref()
        .is_some_and(|name| !address::is_host(name))
    {
        at.key("server_name")
            .problem("this is not a host name; write the name in the certificate");
    }
    let server_name = raw.server_name.or(default_name).unwrap_or_else(|| {
        at.missing(
            "server_name",
            "TLS over a unix socket needs a name; set `server_name`",
        );
        String::new()
    });
    let ca = raw.ca.map(|path| file_path(&path, &at.key("ca")));
    Some(UpstreamTls {
        server_name,
        ca,
        verify: raw.verify.unwrap_or(true),
    })
}

fn host(raw: Option<&str>, at: &At<'_>) -> UpstreamHost {
    match raw {
        None | Some("preserve") => UpstreamHost::Preserve,
        Some(name) => {
            if Authority::from_str(name).is_err() || name.contains('@') {
                at.problem(&format!(
                    "`{}` is not a host; write a name as in `app.example.com`, or `preserve`",
                    name.escape_debug()
                ));
            }
            UpstreamHost::Fixed(name.to_owned())
        }
    }
}
