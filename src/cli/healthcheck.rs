//! `sidestream healthcheck`: asks the admin service of a running Sidestream, for probes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::file::{self, Failure};
use crate::config::model::ListenAddress;

/// For connecting, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is a line of JSON.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where the admin service is when nothing says otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9901";

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask.
    #[arg(value_enum, default_value_t = Question::Ready)]
    pub(super) question: Question,
    /// Address of the admin service, HOST:PORT or unix:PATH.
    ///
    /// Default: as in the configuration file; without a valid one, 127.0.0.1:9901.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub(super) admin: Option<String>,
    /// Configuration file that says where the admin service is.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Question {
    /// Is it alive, or should it be restarted?
    Live,
    /// Should it get traffic?
    Ready,
}

/// The answer when it is well; otherwise what is not, with exit code 1.
pub(super) fn ask(args: &Healthcheck) -> Result<String, Failure> {
    let address = address(args)?;
    let page = match args.question {
        Question::Live => "/livez",
        Question::Ready => "/readyz",
    };
    let (status, body) = get(&address, page)
        .map_err(|error| Failure::runtime(format!("{}: {error}", show(&address))))?;
    if status == 200 {
        Ok(body)
    } else {
        Err(Failure::runtime(format!(
            "{}{page} answers {status}: {body}",
            show(&address)
        )))
    }
}

fn address(args: &Healthcheck) -> Result<ListenAddress, Failure> {
    if let Some(admin) = &args.admin {
        return parse(admin);
    }
    if let Some(path) = &args.config {
        return Ok(file::read(path)?.admin.address);
    }
    // A file that was broken after the start must not make a healthy process look ill.
    let configured = file::find(None)
        .ok()
        .and_then(|path| file::read(&path).ok());
    configured.map_or_else(|| parse(DEFAULT_ADDRESS), |config| Ok(config.admin.address))
}

fn parse(text: &str) -> Result<ListenAddress, Failure> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(ListenAddress::Unix {
            path: PathBuf::from(path),
            mode: 0o660,
        });
    }
    text.replace("localhost:", "127.0.0.1:")
        .parse::<SocketAddr>()
        .map(ListenAddress::Tcp)
        .map_err(|_| Failure {
            code: 2,
            text: format!("--admin {text}: write {DEFAULT_ADDRESS} or unix:/path"),
        })
}

fn show(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("http://{address}"),
        ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

fn get(address: &ListenAddress, page: &str) -> Result<(u16, String), String> {
    let answer = match address {
        ListenAddress::Tcp(address) => {
            TcpStream::connect_timeout(address, PATIENCE).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, page)
            })
        }
        ListenAddress::Unix { path, .. } => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, page)
        }),
    }
    .map_err(|error| format!("no answer: {error}"))?;
    understand(&answer).ok_or_else(|| "the answer is not HTTP: is this the admin service?".into())
}

fn exchange(mut stream: impl Read + Write, page: &str) -> std::io::Result<Vec<u8>> {
    let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn understand(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood_or_refused() {
        type Case<'a> = (&'a [u8], Option<(u16, &'a str)>);
        let cases: [Case<'_>; 6] = [
            (
                b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{\"ready\":true}\n",
                Some((200, "{\"ready\":true}")),
            ),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Some((503, ""))),
            (b"HTTP/1.1 20", None),
            (b"HTTP/1.1 abc\r\n\r\n", None),
            (b"SSH-2.0-OpenSSH\r\n\r\n", None),
            (b"", None),
        ];
        for (answer, expected) in cases {
            let expected = expected.map(|(status, body)| (status, body.to_owned()));
            assert_eq!(understand(answer), expected);
        }
    }

    #[test]
    fn addresses_are_understood_or_refused() {
        for (text, shown) in [
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("localhost:9901", "http://127.0.0.1:9901"),
            ("[::1]:2", "http://[::1]:2"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(
                parse(text).map(|address| show(&address)),
                Ok(shown.to_owned())
            );
        }
        for text in ["", "9901", "http://127.0.0.1:9901", "admin:9901"] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(
                failure.text.contains("write 127.0.0.1:9901 or unix:/path"),
                "{failure:?}"
            );
        }
    }
}
