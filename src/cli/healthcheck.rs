//! `sidestream healthcheck`: asks the admin service of a running Sidestream, for probes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{failure::Failure, file};
use crate::{
    admin::beacon,
    config::{ADMIN_ADDRESS, model::ListenAddress},
};

/// For connecting, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is a line of JSON.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask.
    #[arg(value_enum, default_value_t = Question::Ready)]
    pub(super) question: Question,
    /// Address of the admin service, HOST:PORT or unix:PATH.
    ///
    /// Default: where the process that runs on the configuration file says that it is, however the
    /// file was edited since it started.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub(super) admin: Option<String>,
    /// Configuration file of the process to ask.
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
    let Place { address, doubt } = place(args)?;
    let page = match args.question {
        Question::Live => "/livez",
        Question::Ready => "/readyz",
    };
    let shown = show(&address);
    let (status, body) = get(&address, page)
        .map_err(|error| Failure::runtime(format!("{shown}: {error}{doubt}")))?;
    if status == 200 {
        Ok(body)
    } else {
        let text = format!("{shown}{page} answers {status}: {body}");
        Err(Failure::runtime(text))
    }
}

/// Where to ask.
struct Place {
    address: ListenAddress,
    /// Why it may be the wrong place, for when nobody answers there.
    doubt: &'static str,
}

/// As told; else where the running process says that it is; else where it would be if it started now.
/// What the file says comes last: it may have been edited since the start, and must not make a healthy
/// process look ill.
fn place(args: &Healthcheck) -> Result<Place, Failure> {
    if let Some(admin) = &args.admin {
        let address = parse(admin).ok_or_else(|| {
            Failure::usage(format!(
                "--admin {admin}: write {ADMIN_ADDRESS} or unix:/path"
            ))
        })?;
        return Ok(Place { address, doubt: "" });
    }
    let candidates = file::candidates(args.config.clone());
    let said = candidates.iter().find_map(|file| beacon::find(file));
    if let Some(address) = said.as_deref().and_then(parse) {
        return Ok(Place { address, doubt: "" });
    }
    let default = ListenAddress::Tcp(ADMIN_ADDRESS);
    let (address, doubt) = match file::find(args.config.clone()).map(|file| file::read(&file)) {
        Ok(Ok(config)) => (
            config.admin.address,
            "; no process runs on this configuration file",
        ),
        Ok(Err(_)) => (
            default,
            "; no process runs on the configuration file, and it is not valid",
        ),
        Err(_) => (
            default,
            "; there is no configuration file that says where else to ask",
        ),
    };
    Ok(Place { address, doubt })
}

fn parse(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(ListenAddress::Unix {
            path: PathBuf::from(path),
            // Of no meaning to those who connect.
            mode: 0,
        });
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address.parse().ok().map(ListenAddress::Tcp)
}

fn show(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("http://{address}"),
        ListenAddress::Unix { .. } => address.to_string(),
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
            let address = parse(text).map(|address| show(&address));
            assert_eq!(address.as_deref(), Some(shown));
        }
        for text in ["", "9901", "http://127.0.0.1:9901", "admin:9901"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
