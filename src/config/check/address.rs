//! Addresses of listeners, of the admin service and of apps.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
};

use super::super::model::{ListenAddress, UpstreamAddress};

/// Longest path of a unix socket: `sun_path` with its NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Parses `ip:port` or `unix:/path`.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub(super) fn listen(text: &str, mode: u32) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(ListenAddress::Unix {
            path: socket_path(path)?,
            mode,
        });
    }
    if let Ok(address) = text.parse() {
        return Ok(ListenAddress::Tcp(address));
    }
    let hint = match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => {
            format!("write `0.0.0.0:{port}` for all interfaces, `[::]:{port}` for IPv6 too")
        }
        Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
        Some(("*", port)) => format!("write `0.0.0.0:{port}` for all interfaces"),
        Some(("http:" | "https:", _)) => "leave out the scheme".to_owned(),
        _ if text.parse::<u16>().is_ok() => {
            format!(
                "write `0.0.0.0:{text}` for all interfaces, `127.0.0.1:{text}` for this pod only"
            )
        }
        _ => "write an IP address and a port, as in `0.0.0.0:8080`, or `unix:/path`".to_owned(),
    };
    Err(format!("`{text}` is not an address to listen on; {hint}"))
}

fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!(
            "`unix:{path}` is not an absolute path; write `unix:/path/to.sock`"
        ));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX || path.contains('\0') {
        return Err(format!(
            "the path of a unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes; choose a shorter one"
        ));
    }
    Ok(PathBuf::from(path))
}

/// An app's address with what its scheme says about TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppAddress {
    pub(super) address: UpstreamAddress,
    pub(super) scheme: AppScheme,
}

/// How an app's address begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppScheme {
    Http,
    Https,
    Unix,
}

/// Parses `http://host:port`, `https://host` or `unix:/path`.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub(super) fn app(text: &str) -> Result<AppAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let address = UpstreamAddress::Unix(socket_path(path)?);
        return Ok(AppAddress {
            address,
            scheme: AppScheme::Unix,
        });
    }
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    if authority.is_some_and(|authority| authority.contains('@')) {
        // Not quoted: reports go to logs.
        return Err(
            "an address must not hold a user name or password; leave it out: the app gets the \
             credentials of the clients, and Sidestream has none of its own"
                .to_owned(),
        );
    }
    let (scheme, rest, default_port) = match text.split_once("://") {
        Some(("http", rest)) => (AppScheme::Http, rest, 80),
        Some(("https", rest)) => (AppScheme::Https, rest, 443),
        Some((other, _)) => {
            return Err(format!(
                "scheme `{other}` is not supported; write `http://` or `https://`"
            ));
        }
        None => {
            return Err(format!(
                "`{text}` has no scheme; write `http://{text}`, `https://...` or `unix:/path`"
            ));
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "`{text}` has a path; leave it out: requests keep the path that the client asked for"
        ));
    }
    let (host, port) = host_and_port(authority, default_port).ok_or_else(|| {
        format!("`{text}` is not an address; write it as in `http://127.0.0.1:3000`")
    })?;
    Ok(AppAddress {
        address: UpstreamAddress::Tcp { host, port },
        scheme,
    })
}

fn host_and_port(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, port)) => {
            host.parse::<Ipv6Addr>().ok()?;
            (
                host,
                port.strip_prefix(':')
                    .or(port.is_empty().then_some(""))
                    .map(Some)?,
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => default_port,
    };
    is_host(host).then(|| (host.to_ascii_lowercase(), port))
}

/// A DNS name or an IP address (IPv6 without brackets).
pub(super) fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.parse::<IpAddr>().is_ok()
        || (host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label))
}

/// Whether only this machine (this pod) can reach it.
pub(super) fn is_local(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Tcp(address) => address.ip().is_loopback(),
        ListenAddress::Unix { .. } => true,
    }
}

/// Whether a socket on `all` takes what comes to `one`: `[::]` takes IPv4 as well.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

/// Whether two listeners cannot both have their address.
pub(super) fn collide(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let overlap = a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip());
            a.port() != 0 && a.port() == b.port() && overlap
        }
        (ListenAddress::Unix { path: a, .. }, ListenAddress::Unix { path: b, .. }) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses() {
        for (text, expected) in [
            ("0.0.0.0:8080", Ok("0.0.0.0:8080")),
            ("[::]:8080", Ok("[::]:8080")),
            ("127.0.0.1:0", Ok("127.0.0.1:0")),
            ("unix:/run/a.sock", Ok("/run/a.sock")),
            (":8080", Err("write `0.0.0.0:8080`")),
            ("*:8080", Err("write `0.0.0.0:8080`")),
            ("8080", Err("write `0.0.0.0:8080`")),
            ("localhost:8080", Err("write `127.0.0.1:8080`")),
            ("0.0.0.0", Err("an IP address and a port")),
            ("0.0.0.0:99999", Err("an IP address and a port")),
            ("example.com:80", Err("an IP address and a port")),
            ("unix:run/a.sock", Err("not an absolute path")),
            ("unix:", Err("not an absolute path")),
        ] {
            let shown = match listen(text, 0o660) {
                Ok(ListenAddress::Tcp(address)) => Ok(address.to_string()),
                Ok(ListenAddress::Unix { path, .. }) => Ok(path.display().to_string()),
                Err(error) => Err(error),
            };
            match (shown, expected) {
                (Ok(shown), Ok(expected)) => assert_eq!(shown, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (shown, _) => panic!("{text}: {shown:?}"),
            }
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(listen(&long, 0).unwrap_err().contains("at most 107 bytes"));
    }

    #[test]
    fn app_addresses() {
        use AppScheme::{Http, Https};
        for (text, scheme, host, port) in [
            ("http://127.0.0.1:3000", Http, "127.0.0.1", 3000),
            ("http://127.0.0.1:3000/", Http, "127.0.0.1", 3000),
            ("http://App.local", Http, "app.local", 80),
            ("https://app.example.com", Https, "app.example.com", 443),
            ("https://[::1]:8443", Https, "::1", 8443),
            ("http://[::1]", Http, "::1", 80),
            ("http://my_app:80", Http, "my_app", 80),
        ] {
            let expected = AppAddress {
                address: UpstreamAddress::Tcp {
                    host: host.to_owned(),
                    port,
                },
                scheme,
            };
            assert_eq!(app(text), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("127.0.0.1:3000", "write `http://127.0.0.1:3000`"),
            ("app", "has no scheme"),
            ("ftp://app", "`ftp` is not supported"),
            ("http://app/api", "has a path"),
            ("http://app?x", "has a path"),
            ("http://u:p@app", "user name or password"),
            ("http://u:p@app/api?x", "user name or password"),
            ("https://token@app", "user name or password"),
            ("u:p@app:80", "user name or password"),
            ("http://", "is not an address"),
            ("http://app:0", "is not an address"),
            ("http://app:port", "is not an address"),
            ("http://a b", "is not an address"),
            ("http://::1", "is not an address"),
            ("http://[::1", "is not an address"),
            ("http://[::1]x", "is not an address"),
            ("unix:app.sock", "not an absolute path"),
        ] {
            let error = app(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn listeners_collide_on_one_address_and_port() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::1]:80", "127.0.0.1:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:9901", "127.0.0.1:9901", true),
            ("[::]:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "127.0.0.1:80", false),
        ] {
            let (one, other) = (listen(a, 0).unwrap(), listen(b, 0).unwrap());
            assert_eq!(collide(&one, &other), expected, "{a} {b}");
            assert_eq!(collide(&other, &one), expected, "{b} {a}");
        }
    }
}
