//! Who connects how: from a group of the scenario to a plan for a crew.

use super::{
    conductor::Options,
    file::{Group, Scenario},
    stage::Stage,
};
use crate::{
    conduct::Conduct,
    failure::{Failure, Result},
    plan::Plan,
    proc,
    target::Header,
};

/// Connections from one loopback address before another one is used.
const CONNECTIONS_PER_SOURCE: u64 = 20_000;

/// The plan of group number `number`.
///
/// # Errors
/// When there is no address for it.
pub fn plan(
    scenario: &Scenario,
    stage: &Stage,
    options: &Options,
    origin_ns: u64,
    number: usize,
) -> Result<Plan> {
    let group = scenario.subscribers.get(number);
    let group = group.ok_or_else(|| Failure::new("there is no such group"))?;
    let target = stage.target(group.protocol, group.channels)?;
    let mut headers = stage.headers();
    if group.browser {
        headers.push(Header {
            name: "cache-control".to_owned(),
            value: "no-cache".to_owned(),
        });
    }
    let all: u64 = scenario.subscribers.iter().map(connections).sum();
    let processes = match all.div_ceil(proc::connections_max()) {
        // One process has them all.
        0 | 1 => 1,
        // This process keeps its descriptors for itself: all clients are in others.
        _ => connections(group).div_ceil(proc::connections_max()).max(2),
    };
    // Groups that connect at the same time share the ramp.
    let together = scenario
        .subscribers
        .iter()
        .filter(|other| other.joins == group.joins);
    let together: u64 = together.map(|other| u64::from(other.count)).sum();
    let ramp = u64::from(scenario.ramp) * u64::from(group.count) / together.max(1);
    let (h1, h2) = if group.protocol.is_h2() {
        (0, group.count)
    } else {
        (group.count, 0)
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Ok(Plan {
        headers,
        h1,
        h2,
        streams_per_connection: group.streams_per_connection,
        connects_per_second: small(ramp),
        source_addresses: u8::try_from(all.div_ceil(CONNECTIONS_PER_SOURCE)).unwrap_or(250),
        insecure: true,
        threads: options.threads,
        processes: small(processes),
        channels: group.channels,
        conduct: Conduct {
            after_end: group.after_end,
            stay: group.stay.map(|stay| stay.0),
            bytes_per_second: group.bytes_per_second,
            seed: options.seed,
        },
        timeline_origin_ns: Some(origin_ns),
        successor: scenario
            .has_successor()
            .then(|| stage.successor(group.protocol))
            .flatten(),
        ..Plan::new(target)
    })
}

fn connections(group: &Group) -> u64 {
    let each = if group.protocol.is_h2() {
        group.streams_per_connection
    } else {
        1
    };
    u64::from(group.count.div_ceil(each))
}
