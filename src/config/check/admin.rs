//! The admin service, and the page of metrics for those outside.

use std::net::SocketAddr;

use super::{
    super::{
        defaults,
        model::{Admin, ListenAddress, Listener},
        raw,
    },
    address,
    at::At,
    process::listen_address,
};

pub(super) fn admin(raw: &raw::Admin, listeners: &[Listener], at: &At<'_>) -> Admin {
    let address = service(raw, at);
    is_free(&address, "the admin service", listeners, &at.key("address"));
    let metrics_address = raw
        .metrics_address
        .as_deref()
        .and_then(|text| metrics(text, &address, listeners, &at.key("metrics_address")));
    Admin {
        address,
        metrics_address,
    }
}

fn service(raw: &raw::Admin, at: &At<'_>) -> ListenAddress {
    let default = ListenAddress::Tcp(defaults::ADMIN_ADDRESS);
    let address = match &raw.address {
        Some(text) => listen_address(text, raw.mode.as_ref(), at).unwrap_or(default),
        None => {
            if raw.mode.is_some() {
                at.key("mode")
                    .key_problem("only a unix socket has a mode; leave it out here");
            }
            default
        }
    };
    if !address::is_local(&address) {
        at.key("address").problem(
            "the admin service has no login; keep it on loopback, as in `127.0.0.1:9901`, \
             or on a unix socket, and let others read the metrics by `metrics_address`",
        );
    }
    address
}

fn metrics(
    text: &str,
    service: &ListenAddress,
    listeners: &[Listener],
    at: &At<'_>,
) -> Option<SocketAddr> {
    let address = match address::listen(text, defaults::LISTENER_MODE) {
        Ok(ListenAddress::Tcp(address)) => address,
        Ok(ListenAddress::Unix { .. }) => {
            at.problem(
                "metrics are scraped over TCP; write an address, as in `0.0.0.0:9902`, or read \
                 them from the admin service, which can be on a unix socket",
            );
            return None;
        }
        Err(message) => {
            at.problem(&message);
            return None;
        }
    };
    let wanted = ListenAddress::Tcp(address);
    if address::collide(&wanted, service) {
        at.problem(
            "the admin service has this address, and other pages; give the metrics a port of \
             their own",
        );
    }
    is_free(&wanted, "the page of metrics", listeners, at);
    Some(address)
}

/// No client of ours is to be sent there.
fn is_free(address: &ListenAddress, whose: &str, listeners: &[Listener], at: &At<'_>) {
    let taken = |listener: &&Listener| address::collide(&listener.address, address);
    if let Some(listener) = listeners.iter().find(taken) {
        at.problem(&format!(
            "listener `{}` and {whose} cannot share an address; change the port of one",
            listener.name
        ));
    }
}
