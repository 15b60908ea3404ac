//! Free ports: the one that was asked for, or the next one that nobody has.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// How far from the wanted port we look before the kernel chooses.
const TRIES: u16 = 200;

/// Binds `wanted` on loopback, or the next free port after it. The socket keeps the port from
/// others (and from our own next call) until whoever is to use it takes over.
///
/// # Errors
/// Not even the kernel finds a port.
pub(super) fn bind(wanted: u16) -> io::Result<TcpListener> {
    (0..TRIES)
        .filter_map(|offset| wanted.checked_add(offset))
        .find_map(|port| on_loopback(port).ok())
        .map_or_else(|| on_loopback(0), Ok)
}

/// The port of a socket that `bind` gave.
///
/// # Errors
/// The socket has no address, which the kernel does not do.
pub(super) fn port(listener: &TcpListener) -> io::Result<u16> {
    listener.local_addr().map(|address| address.port())
}

fn on_loopback(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_moves_to_the_next_free_one() {
        let taken = bind(0).unwrap();
        let wanted = port(&taken).unwrap();
        let next = bind(wanted).unwrap();
        assert_ne!(port(&next).unwrap(), wanted);
        assert_ne!(port(&next).unwrap(), 0);
    }

    #[test]
    fn the_last_port_does_not_wrap_around() {
        let first = bind(u16::MAX).unwrap();
        let second = bind(u16::MAX).unwrap();
        assert_ne!(port(&first).unwrap(), port(&second).unwrap());
    }
}
