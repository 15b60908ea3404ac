//! Who is trusted to say for whom it asks, and what one client may take.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    super::{
        defaults,
        model::{ListenAddress, PerAddress, TrustedProxies},
        raw,
        units::Count,
    },
    at::At,
};

/// Of this machine, or of this pod.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// RFC 1918 and RFC 4193.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

pub(super) fn trusted(file: &raw::File, root: &At<'_>) -> TrustedProxies {
    let at = root.key("trusted_proxies");
    let mut trusted = TrustedProxies {
        header: file.forwarded_header.unwrap_or_default(),
        ..TrustedProxies::default()
    };
    for (index, text) in file.trusted_proxies.iter().enumerate() {
        let named = match text.as_str() {
            "unix" => {
                trusted.unix = true;
                continue;
            }
            "loopback" => networks(&LOOPBACK),
            "private" => networks(&PRIVATE),
            text => match network(text) {
                Ok(network) => vec![network],
                Err(message) => {
                    at.item(index).problem(&message);
                    continue;
                }
            },
        };
        for network in named {
            if !trusted.networks.contains(&network) {
                trusted.networks.push(network);
            }
        }
    }
    trusted
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Parses an address or a network.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(format!(
            "`{}` is not a network; write one as in `10.0.0.0/8`, or `private`, `loopback`, `unix`",
            text.escape_debug()
        ));
    };
    if network.prefix_len() == 0 {
        return Err(format!(
            "`{network}` is everybody, so that any client could say who it is; name the networks of \
             the proxies"
        ));
    }
    let whole = network.trunc();
    if whole != network {
        return Err(format!(
            "`{network}` has bits behind its prefix; write `{whole}`, or `{}` for the one address",
            network.addr()
        ));
    }
    Ok(network)
}

/// Whether clients of this listener may be announced by the PROXY protocol.
pub(super) fn may_announce(address: &ListenAddress, file: &raw::File, at: &At<'_>) {
    if matches!(address, ListenAddress::Unix { .. }) {
        at.key_problem("the PROXY protocol is for TCP listeners; leave it out here");
    } else if file.trusted_proxies.iter().all(|word| word == "unix") {
        at.key_problem(
            "nobody may say who its clients are; name the proxies, as in \
             `trusted_proxies: [10.0.0.0/8]`",
        );
    }
}

pub(super) fn per_address(raw: Option<&raw::PerAddress>, at: &At<'_>) -> PerAddress {
    let default = raw::PerAddress::default();
    let raw = raw.unwrap_or(&default);
    let many = |key: &str, value: Option<Count>| {
        value.map(|value| at.key(key).count(Some(value), usize::MAX, 1..=usize::MAX))
    };
    let prefix = at
        .key("ipv6_prefix")
        .count(raw.ipv6_prefix, defaults::IPV6_PREFIX, 16..=128);
    PerAddress {
        subscribers_max: many("subscribers_max", raw.subscribers_max),
        connections_max: many("connections_max", raw.connections_max),
        ipv6_prefix: u8::try_from(prefix).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        for (text, expected) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("10.1.2.3", Ok("10.1.2.3/32")),
            ("::ffff:10.1.2.3", Ok("10.1.2.3/32")),
            ("fd00::/8", Ok("fd00::/8")),
            ("2001:db8::1", Ok("2001:db8::1/128")),
            ("10.0.0.1/8", Err("write `10.0.0.0/8`, or `10.0.0.1`")),
            ("0.0.0.0/0", Err("is everybody")),
            ("::/0", Err("is everybody")),
            ("10.0.0.0/33", Err("is not a network")),
            ("ingress.local", Err("is not a network")),
            ("", Err("is not a network")),
        ] {
            match (network(text), expected) {
                (Ok(network), Ok(expected)) => assert_eq!(network.to_string(), expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        assert_eq!(networks(&LOOPBACK).len() + networks(&PRIVATE).len(), 6);
    }
}
