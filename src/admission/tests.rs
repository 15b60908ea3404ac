use std::{collections::BTreeMap, sync::Arc};

use super::*;

fn admission(subscribers_max: usize) -> Admission {
    Admission::new(&fd::Caps {
        connections_max: 10,
        subscribers_max,
        upstreams: BTreeMap::new(),
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
    admission.set_caps(&fd::Caps {
        connections_max: 10,
        subscribers_max: 1,
        upstreams: BTreeMap::new(),
        warnings: vec![],
    });
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
    let told = admission.shed_retry(0.5, Millis(0), 100.0);
    assert_eq!(told, Duration::from_secs(10));
}
