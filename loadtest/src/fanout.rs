//! `loadtest fanout`: connect everybody, measure for a while, then hold everyone to the same end.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    crew::Crew,
    failure::Result,
    fleet::Snapshot,
    lane::Order,
    plan::Plan,
    proc::{self, MachineTime, Usage},
    report::ServerUsage,
    stats,
    target::Target,
    wire::scanner::Expect,
};

pub use crate::report::Report;

/// How often progress is looked at.
const WATCH: Duration = Duration::from_millis(100);
/// Progress goes to the caller about once a second.
const WATCHES_PER_LINE: u32 = 10;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who connects where.
    pub plan: Plan,
    /// How long to measure once all are connected.
    pub duration: Duration,
    /// How long subscribers may take at the end to reach the last event.
    pub grace: Duration,
    /// `/stats` of the publisher.
    pub stats: Option<Target>,
    /// How many connections the publisher must have seen, all in all.
    pub upstream_connections: Option<u64>,
    /// Announced gaps that pass, all subscribers together.
    pub gaps_max: u64,
    /// Process whose memory and CPU are reported.
    pub server_pid: Option<u32>,
}

/// Runs the test; `progress` gets a line now and then.
///
/// # Errors
/// What kept the test from being run; a server that does badly is no error but a report.
pub async fn run(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    let plan = Arc::new(options.plan.clone());
    let start_ns = clock::now_ns();
    let mut crew = Crew::start(&plan).await?;
    connect(&mut crew, &plan, &mut progress).await?;
    let connect_seconds = since(start_ns);

    let before = options.server_pid.map(proc::usage).transpose()?;
    let machine = MachineTime::now();
    let mark = published(options).await?;
    crew.order(Order::Measure { mark }).await?;
    measure(&mut crew, options.duration, &mut progress).await?;

    let machine_share = MachineTime::now().busy_since(machine);
    let after = options.server_pid.map(proc::usage).transpose()?;
    let upstream = match &options.stats {
        Some(target) => Some(stats::fetch(target).await?),
        None => None,
    };
    let target = match (published(options).await?, options.plan.expect) {
        (_, Expect::Any) => None,
        (Some(seq), _) => Some(seq),
        // Without a publisher to ask: what one subscriber has, all must get.
        (None, _) => Some(crew.watch(Duration::ZERO).await?.highest),
    };
    crew.order(Order::Finish {
        target,
        grace: options.grace,
    })
    .await?;
    let outcome = crew.outcome().await?;
    Ok(Report {
        plan: options.plan.clone(),
        connect_seconds,
        outcome,
        machine_share,
        upstream,
        upstream_connections: options.upstream_connections,
        gaps_max: options.gaps_max,
        server: server_usage(before, after),
    })
}

/// Waits until every connect is decided.
async fn connect(crew: &mut Crew, plan: &Plan, progress: &mut impl FnMut(&str)) -> Result<()> {
    let wanted = plan.subscribers();
    wait_connected(crew, plan, |now, tick| {
        if tick.is_multiple_of(WATCHES_PER_LINE) {
            let Snapshot {
                connected, failed, ..
            } = now;
            progress(&format!(
                "connecting: {connected} of {wanted}, {failed} failed"
            ));
        }
    })
    .await
}

/// Waits until every connect of a crew has succeeded, failed or run out of time.
///
/// # Errors
/// When a client process is gone.
pub async fn wait_connected(
    crew: &mut Crew,
    plan: &Plan,
    mut each: impl FnMut(Snapshot, u32),
) -> Result<()> {
    let wanted = plan.subscribers();
    // The crew's own timeouts decide; this only bounds the wait if a process hangs.
    let spread = Duration::from_secs(wanted / u64::from(plan.connects_per_second.max(1)));
    let deadline_ns = clock::now_ns() + clock::nanos(spread * 2 + plan.connect_timeout * 4);
    for tick in 1.. {
        let now = crew.watch(WATCH).await?;
        each(now, tick);
        if now.connected + now.failed >= wanted || clock::now_ns() > deadline_ns {
            break;
        }
    }
    Ok(())
}

async fn measure(
    crew: &mut Crew,
    duration: Duration,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let start_ns = clock::now_ns();
    let end_ns = start_ns + clock::nanos(duration);
    for tick in 1.. {
        let left = clock::until(end_ns);
        if left.is_zero() {
            break;
        }
        let now = crew.watch(left.min(WATCH)).await?;
        if tick % WATCHES_PER_LINE == 0 {
            let Snapshot {
                connected,
                ended,
                delivered,
                ..
            } = now;
            let seconds = since(start_ns);
            progress(&format!(
                "measuring: {seconds:.0} s, {} streams, {delivered} events",
                connected - ended
            ));
        }
    }
    Ok(())
}

/// The sequence that the publisher has reached on our path.
async fn published(options: &Options) -> Result<Option<u64>> {
    let Some(target) = &options.stats else {
        return Ok(None);
    };
    if options.plan.expect != Expect::Payload {
        return Ok(None);
    }
    let feeds = stats::fetch(target).await?.feeds;
    Ok(feeds.get(&options.plan.h1_target.path).map(|feed| feed.seq))
}

fn since(start_ns: u64) -> f64 {
    Duration::from_nanos(clock::now_ns().saturating_sub(start_ns)).as_secs_f64()
}

fn server_usage(before: Option<Usage>, after: Option<Usage>) -> Option<ServerUsage> {
    let (before, after) = (before?, after?);
    Some(ServerUsage {
        rss_bytes: after.rss_bytes,
        pss_bytes: after.pss_bytes,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
    })
}
