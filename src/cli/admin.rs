//! Speaks to the admin service of a running Sidestream on this machine.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{failure::Failure, file};
use crate::{
    admin::{COMMAND_HEADER, beacon},
    config::{ADMIN_ADDRESS, model::ListenAddress},
};

/// For connecting, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is a line of JSON.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Which Sidestream is meant.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Address of the admin service, HOST:PORT or unix:PATH.
    ///
    /// Default: where the process that runs on the configuration file says that it is, however the
    /// file was edited since it started.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<String>,
    /// Configuration file of the process to ask.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// An admin service.
pub(super) struct Service {
    address: ListenAddress,
    /// Why it may be the wrong place, for when nobody answers there.
    doubt: &'static str,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Service {
    /// As told; else where the running process says that it is; else where it would be if it started
    /// now. What the file says comes last: it may have been edited since the start, and must not make
    /// a healthy process look ill.
    pub(super) fn find(which: &Which) -> Result<Self, Failure> {
        if let Some(admin) = &which.admin {
            let address = parse(admin).ok_or_else(|| {
                Failure::usage(format!(
                    "--admin {admin}: write {ADMIN_ADDRESS} or unix:/path"
                ))
            })?;
            return Ok(Self { address, doubt: "" });
        }
        let candidates = file::candidates(which.config.clone());
        let said = candidates.iter().find_map(|file| beacon::find(file));
        if let Some(address) = said.as_deref().and_then(parse) {
            return Ok(Self { address, doubt: "" });
        }
        let default = ListenAddress::Tcp(ADMIN_ADDRESS);
        let (address, doubt) = match file::find(which.config.clone()).map(|file| file::read(&file))
        {
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
        Ok(Self { address, doubt })
    }

    /// Reads a page.
    pub(super) fn get(&self, page: &str) -> Result<Said, Failure> {
        self.request(&format!("GET {page} HTTP/1.1\r\n"))
    }

    /// Gives the command that a page is.
    pub(super) fn command(&self, command: &str) -> Result<Said, Failure> {
        self.request(&format!(
            "POST /{command} HTTP/1.1\r\n{COMMAND_HEADER}: {command}\r\nContent-Length: 0\r\n"
        ))
    }

    /// Nobody listens there.
    pub(super) fn is_gone(&self) -> bool {
        match &self.address {
            ListenAddress::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).is_err(),
            ListenAddress::Unix { path, .. } => UnixStream::connect(path).is_err(),
        }
    }

    /// An answer that is not as it should be.
    pub(super) fn unexpected(&self, page: &str, said: &Said) -> Failure {
        let Said { status, body } = said;
        let shown = show(&self.address);
        Failure::runtime(format!("{shown}{page} answers {status}: {body}"))
    }

    fn request(&self, head: &str) -> Result<Said, Failure> {
        let said = self
            .exchange(head)
            .map_err(|error| format!("no answer: {error}"));
        let understood = said.and_then(|answer| {
            understand(&answer)
                .ok_or_else(|| "the answer is not HTTP: is this the admin service?".to_owned())
        });
        understood.map_err(|error| {
            let (shown, doubt) = (show(&self.address), self.doubt);
            Failure::runtime(format!("{shown}: {error}{doubt}"))
        })
    }

    fn exchange(&self, head: &str) -> std::io::Result<Vec<u8>> {
        match &self.address {
            ListenAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, head)
            }
            ListenAddress::Unix { path, .. } => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, head)
            }
        }
    }
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

fn exchange(mut stream: impl Read + Write, head: &str) -> std::io::Result<Vec<u8>> {
    let request = format!("{head}Host: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn understand(answer: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = body.trim_end().to_owned();
    Some(Said { status, body })
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
            let expected = expected.map(|(status, body)| Said {
                status,
                body: body.to_owned(),
            });
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
