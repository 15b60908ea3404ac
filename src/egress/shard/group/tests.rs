use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng, rngs::StdRng};
use tokio::io::duplex;

use super::*;
use crate::{
    config::testing::limits,
    egress::{h2::budget::Budget, handle::ShardHandle},
};

fn group() -> Group {
    let (near, _far) = duplex(1);
    let budget = Budget::new(&limits(), Millis(0));
    let (connection, _io) = Connection::new(Box::new(near), &[], budget);
    let token = GroupToken {
        slot: 0,
        group: 0,
        generation: 0,
    };
    let wake = Arc::new(GroupWake::new(ShardHandle::new(0).0, token));
    Group::new(Arc::new(connection), GapForm::Event, wake)
}

#[test]
fn whoever_leaves_those_who_have_the_batch_stay_before_those_who_have_not() {
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..300 {
        let mut group = group();
        let members = random.random_range(1..12);
        let mut places: BTreeMap<usize, u32> = (0..members)
            .map(|reader| (reader, group.push(Key::default(), reader)))
            .collect();
        let next = random.random_range(0..=members);
        group.behind = Some(Behind {
            batch: Arc::new(Batch::empty()),
            next,
            since: Millis(0),
        });
        while let Some(reader) = places
            .keys()
            .nth(random.random_range(0..places.len()))
            .copied()
        {
            let place = places.remove(&reader).unwrap();
            group.remove(place as usize, |moved, at| {
                assert_ne!(moved, reader, "it has left");
                places.insert(moved, at);
            });
            for (reader, place) in &places {
                assert_eq!(group.readers[*place as usize], *reader);
                let behind = group.behind.as_ref().unwrap();
                assert_eq!((*place as usize) < behind.next, *reader < next, "{reader}");
            }
            if places.is_empty() {
                break;
            }
        }
        assert!(group.readers.is_empty() && group.keys.is_empty());
    }
}
