use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::config::testing;

fn admission(subscribers_max: usize) -> Admission {
    Admission::new(&fd::Caps {
        connections_max: 10,
        subscribers_max,
        upstreams: BTreeMap::new(),
        reserved: 0,
        warnings: Vec::new(),
    })
}

#[test]
fn a_place_is_free_again_when_its_permit_is_dropped() {
    let places = Places::new(2);
    let first = places.try_take().unwrap();
    let _second = places.try_take().unwrap();
    assert!(places.try_take().is_none());
    drop(first);
    assert_eq!(places.taken(), 1);
    assert!(places.try_take().is_some());
}

#[test]
fn the_cap_holds_against_a_crowd() {
    let places = Places::new(100);
    let kept: Vec<Permit> = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..1_000)
                        .filter_map(|_| places.try_take())
                        .collect::<Vec<Permit>>()
                })
            })
            .collect();
        crowd
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    assert_eq!(kept.len(), 100);
    drop(kept);
    assert_eq!(places.taken(), 0);
}

#[test]
fn a_lower_cap_cuts_nobody_off_but_lets_nobody_in() {
    let admission = admission(3);
    let permits: Vec<Permit> = (0..3)
        .map(|_| admission.subscribers.try_take().unwrap())
        .collect();
    let caps = fd::Caps {
        connections_max: 10,
        subscribers_max: 1,
        upstreams: BTreeMap::new(),
        reserved: 0,
        warnings: vec![],
    };
    admission.configure(&caps, &testing::limits());
    assert_eq!(admission.subscribers.taken(), 3);
    assert!(admission.subscribers.try_take().is_none());
    drop(permits);
    assert!(admission.subscribers.try_take().is_some());
}

#[test]
fn a_permit_is_one_pointer() {
    assert_eq!(size_of::<Permit>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Permit>>(), size_of::<usize>());
}

#[test]
fn verdicts_are_shared_by_all_shards() {
    let admission = Arc::new(admission(0));
    assert!(admission.subscribers.try_take().is_none());
    let told = admission.shed_retry(0.5, Millis(0));
    assert_eq!(told, Duration::from_secs(10));
}

#[test]
fn a_subscriber_needs_a_place_in_the_process_on_its_route_and_at_its_address() {
    let limits = PerAddress {
        subscribers_max: Some(2),
        connections_max: None,
        ipv6_prefix: 64,
    };
    let admission = admission(5);
    let ask = |route: &str, address: &str| {
        let seat = admission.seat((route, 3), address.parse().ok(), &limits);
        seat.map_err(RefuseReason::label)
    };
    let mut seats = vec![
        ask("a", "192.0.2.1").unwrap(),
        ask("a", "192.0.2.1").unwrap(),
    ];
    assert_eq!(ask("a", "192.0.2.1").unwrap_err(), "address_max");
    assert_eq!(ask("b", "192.0.2.1").unwrap_err(), "address_max");
    seats.push(ask("a", "192.0.2.2").unwrap());
    assert_eq!(ask("a", "192.0.2.3").unwrap_err(), "route_max");
    // By a unix socket: nobody can be told apart.
    seats.extend([ask("b", "-").unwrap(), ask("b", "-").unwrap()]);
    assert_eq!(ask("b", "-").unwrap_err(), "subscribers_max");
    // Who was refused holds nothing.
    assert_eq!(admission.subscribers.taken(), 5);
    drop(seats.remove(0));
    seats.push(ask("b", "192.0.2.1").unwrap());
    drop(seats);
    assert_eq!(admission.subscribers.taken(), 0);
    assert!(ask("a", "192.0.2.1").is_ok());
}

#[test]
fn connections_are_counted_by_address_where_there_is_a_cap() {
    let limits = |connections_max| PerAddress {
        subscribers_max: None,
        connections_max,
        ipv6_prefix: 64,
    };
    let admission = admission(1);
    let peer = Some(IpAddr::from([192, 0, 2, 1]));
    assert!(matches!(
        admission.connection(peer, &limits(None)),
        Ok(None)
    ));
    assert_eq!(admission.addresses(), 0);
    let first = admission.connection(peer, &limits(Some(1))).unwrap();
    assert!(first.is_some());
    let second = admission.connection(peer, &limits(Some(1)));
    assert_eq!(second.unwrap_err(), RefuseReason::AddressConnectionsMax);
    drop(first);
    assert!(admission.connection(peer, &limits(Some(1))).is_ok());
    assert_eq!(admission.addresses(), 1);
}

#[test]
fn the_rate_of_connects_is_what_the_configuration_says() {
    let admission = admission(1);
    let caps = fd::caps(&testing::config(Vec::new()), 1_024);
    for (rate, first_to_wait) in [(None, None), (Some(3), Some(3)), (Some(5), Some(5))] {
        let mut limits = testing::limits();
        limits.connects_per_second = rate;
        admission.configure(&caps, &limits);
        let now = Millis(u64::from(rate.unwrap_or(0)) * 60_000);
        let waits = (0..100).position(|_| admission.connect_wait(now) > Duration::ZERO);
        assert_eq!(waits, first_to_wait, "{rate:?}");
    }
}
