//! One client connection without a runtime: a socket, and TLS where the target asks for it.

use std::{
    io::{BufRead, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use crate::{
    dial::reason,
    failure::{Doing, Result},
    plan::Plan,
    poll::{self, Backlog, Moved},
    roster::Reason,
    tally::Protocol,
    target::Target,
    tls,
};

/// Where the connections of one protocol go.
pub struct Line {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A connection.
pub struct Link {
    /// Registered with the poll by whoever owns the link.
    pub socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    backlog: Backlog,
}

impl Line {
    /// Resolves the target of a protocol and sets up TLS where it is wanted.
    ///
    /// # Errors
    /// A name that does not resolve, or a TLS set-up that fails.
    pub fn new(plan: &Plan, protocol: Protocol) -> Result<Self> {
        let (target, alpn): (&Target, _) = match protocol {
            Protocol::H1 => (&plan.h1_target, "http/1.1"),
            Protocol::H2 => (&plan.h2_target, "h2"),
        };
        let with_tls = || {
            let name = ServerName::try_from(target.host.clone())
                .doing(format_args!("TLS to {}", target.host))?;
            tls::client_config(&target.host, alpn, plan.insecure).map(|config| (config, name))
        };
        Ok(Self {
            address: target.resolve()?,
            tls: target.tls.then(with_tls).transpose()?,
        })
    }
}

impl Link {
    /// Connects. Over loopback a connect is done when it returns, as long as the caller bounds how
    /// many are not yet answered; the TLS handshake goes on by itself with the reads.
    ///
    /// # Errors
    /// The reason for the report.
    pub fn dial(line: &Line) -> std::result::Result<Self, Reason> {
        let connected = TcpStream::connect(line.address).and_then(|socket| {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = connected.map_err(|error| reason("connect", &error))?;
        let shake = |(config, name): &(Arc<ClientConfig>, ServerName<'static>)| {
            let mut tls = ClientConnection::new(Arc::clone(config), name.clone())
                .map_err(|error| Reason::from(format!("TLS: {error}")))?;
            tls.set_buffer_limit(None);
            Ok::<_, Reason>(Box::new(tls))
        };
        let mut link = Self {
            socket,
            tls: line.tls.as_ref().map(shake).transpose()?,
            backlog: Backlog::default(),
        };
        link.flush()?;
        Ok(link)
    }

    /// Sends bytes; what does not go out now goes out with a later [`Self::flush`].
    ///
    /// # Errors
    /// The reason for the report.
    pub fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), Reason> {
        match &mut self.tls {
            None => self
                .backlog
                .send(&self.socket, bytes)
                .map_err(|error| broken("write", error)),
            Some(tls) => {
                tls.writer()
                    .write_all(bytes)
                    .map_err(|error| reason("write", &error))?;
                self.flush()
            }
        }
    }

    /// Sends what waits, records of TLS included.
    ///
    /// # Errors
    /// The reason for the report.
    pub fn flush(&mut self) -> std::result::Result<(), Reason> {
        let mut records = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut records)
                    .map_err(|error| reason("write", &error))?;
            }
        }
        let sent = if records.is_empty() {
            self.backlog.flush(&self.socket)
        } else {
            self.backlog.send(&self.socket, &records)
        };
        sent.map_err(|error| broken("write", error))
    }

    /// Reads what is there through `scratch`; with `closed`, to the very end.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        closed: bool,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), Reason>,
    ) -> std::result::Result<(), Reason> {
        let room = scratch.len();
        loop {
            let count = match poll::receive(&self.socket, scratch) {
                Moved::Bytes(count) => count,
                Moved::Nothing => return Ok(()),
                Moved::Closed => return Err("cut by the server".into()),
                Moved::Broken(error) => return Err(broken("read", error)),
            };
            let bytes = scratch.get(..count).unwrap_or_default();
            match &mut self.tls {
                None => take(bytes)?,
                Some(tls) => {
                    decrypt(tls, bytes, &mut take)?;
                    self.flush()?;
                }
            }
            if count < room && !closed {
                return Ok(());
            }
        }
    }
}

/// Hands on what encrypted bytes amount to.
fn decrypt(
    tls: &mut ClientConnection,
    mut bytes: &[u8],
    take: &mut impl FnMut(&[u8]) -> std::result::Result<(), Reason>,
) -> std::result::Result<(), Reason> {
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes)
            .map_err(|error| reason("read", &error))?;
        tls.process_new_packets()
            .map_err(|error| Reason::from(format!("TLS: {error}")))?;
        let mut reader = tls.reader();
        // An error means that there is nothing more by now.
        while let Ok(plain) = reader.fill_buf() {
            if plain.is_empty() {
                return Err("closed by the server".into());
            }
            take(plain)?;
            let count = plain.len();
            reader.consume(count);
        }
    }
    Ok(())
}

fn broken(doing: &str, error: Errno) -> Reason {
    reason(doing, &error.into())
}
