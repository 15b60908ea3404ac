//! `loadtest bench`: how fast a server fans out, one number that can be held against another server's.
//!
//! Publisher and subscribers share one thread. In a closed loop the next event leaves when every
//! subscriber has the one `window` events before it; nothing travels back over the network for that,
//! and no scheduler stands between the last arrival and the next event. With a window of 1 a server
//! cannot write two events at once: that is the honest figure of fan-out.

pub mod args;
pub mod client;
pub mod link;
pub mod outcome;
pub mod post;
pub mod source;
pub mod upstream;

use std::time::Duration;

use self::{
    client::Client,
    link::Line,
    outcome::{Connects, Outcome, Server},
    source::{Source, Way},
};
use crate::{
    clock,
    failure::{Failure, Result},
    plan::{Dial, Plan},
    poll::{Poll, Ready},
    proc::{self, MachineTime, Usage},
    roster::{Reason, Roster},
    rounds::Rounds,
    tally::Protocol,
};

/// One read takes at most this much; it stays in the processor's cache.
const READ_BYTES: usize = 128 * 1024;
/// Tokens from here on are sockets of the publisher; below, clients by their place.
const SOURCE_TOKEN: u64 = 1 << 32;
/// The longest sleep: how late the end of a phase may be seen.
const TICK: Duration = Duration::from_millis(10);
/// A closed loop in which nobody got anything for so long will not go on.
const STALL: Duration = Duration::from_secs(10);

/// When events leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as all have got the event so many before it.
    Window(u32),
    /// So many a second.
    Rate(f64),
}

/// What a thread does that has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It sleeps, and who sends to it pays for waking it.
    Sleep,
    /// It looks again at once, as a client on another machine costs the server nothing.
    Spin,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who connects where.
    pub plan: Plan,
    /// Where events come from.
    pub way: Way,
    /// When.
    pub pace: Pace,
    /// Bytes of an event from its `id:` to its blank line.
    pub size: usize,
    /// What to do between events.
    pub waiting: Waiting,
    /// How long to run before measuring.
    pub warmup: Duration,
    /// How long to measure; zero measures connects only.
    pub duration: Duration,
    /// How long subscribers may take at the end to reach the last event.
    pub grace: Duration,
    /// Processes of the server; their CPU is added up.
    pub server_pids: Vec<u32>,
}

/// Runs the bench.
///
/// # Errors
/// What kept it from being run. Once everybody has dialled, whatever the server does is no error but
/// an outcome, also when it dies or lets the loop stall.
pub fn run(options: &Options) -> Result<Outcome> {
    let mut bench = Bench::new(options)?;
    let connects = bench.connect()?;
    let mut outcome = Outcome::new(options, connects);
    let run = if options.duration.is_zero() {
        Ok(())
    } else {
        bench.measure(&mut outcome)
    };
    outcome.broken = run.and_then(|()| bench.settle()).err();
    outcome.tally = bench.roster.close(bench.source.last());
    Ok(outcome)
}

struct Bench<'a> {
    options: &'a Options,
    poll: Poll,
    ready: Ready,
    source: Source,
    clients: Vec<Client>,
    roster: Roster,
    scratch: Vec<u8>,
    /// Time in which nothing was ready.
    idle_ns: u64,
    /// When the next paced event is due.
    due_ns: u64,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let poll = Poll::new()?;
        // The limit on descriptors is raised on the way.
        let _ = proc::connections_max();
        Ok(Self {
            source: Source::start(&options.way, options.size, &poll, SOURCE_TOKEN)?,
            poll,
            ready: Ready::default(),
            clients: Vec::new(),
            roster: Roster::new(options.plan.expect),
            scratch: vec![0; READ_BYTES],
            idle_ns: 0,
            due_ns: 0,
            options,
        })
    }

    /// Connects everybody: the first one alone, so that the others find a channel that is live.
    fn connect(&mut self) -> Result<Connects> {
        let plan = &self.options.plan;
        let dials: Vec<(Dial, usize)> = plan
            .dials(0)
            .map(|dial| (dial, self.roster.enter(plan, &dial)))
            .collect();
        let lines = (
            Line::new(plan, Protocol::H1)?,
            Line::new(plan, Protocol::H2)?,
        );
        let mut before = (clock::now_ns(), self.usage()?);
        let deadline_ns = before.0 + clock::nanos(plan.connect_timeout);
        for (number, (dial, place)) in dials.iter().enumerate() {
            let line = match dial.protocol {
                Protocol::H1 => &lines.0,
                Protocol::H2 => &lines.1,
            };
            match Client::dial(plan, line, dial, *place, &self.roster) {
                Ok(client) => {
                    self.poll.add(client.socket(), self.clients.len() as u64)?;
                    self.clients.push(client);
                }
                Err(reason) => self.refuse(dial, *place, &reason),
            }
            let in_flight_max = if number == 0 {
                1
            } else {
                plan.connects_in_flight_max
            };
            self.turn_until(deadline_ns, |bench| bench.in_flight() < in_flight_max)?;
            if number == 0 {
                before = (clock::now_ns(), self.usage()?);
            }
        }
        self.turn_until(deadline_ns, |bench| bench.in_flight() == 0)?;
        for (dial, place) in &dials {
            self.refuse(dial, *place, &"timeout before the head".into());
        }
        let seconds = Duration::from_nanos(clock::now_ns() - before.0).as_secs_f64();
        let later = dials.iter().skip(1);
        Ok(Connects {
            subscribers: later.map(|(dial, _)| u64::from(dial.subscribers)).sum(),
            connections: dials.len().saturating_sub(1) as u64,
            seconds,
            server: Server::between(before.1, self.usage()?),
        })
    }

    /// Those subscribers of a dial that have no answer will get none.
    fn refuse(&mut self, dial: &Dial, place: usize, reason: &Reason) {
        for place in place..place + dial.subscribers as usize {
            if !self.roster.is_streaming(place) {
                self.roster.over(place, reason);
            }
        }
    }

    /// Connections that wait for an answer.
    fn in_flight(&self) -> u32 {
        // Answers come in about the order of the requests, so the newest connections tell.
        let window = self.options.plan.connects_in_flight_max as usize * 2;
        let newest = self.clients.iter().rev().take(window);
        let waiting = newest.filter(|client| !client.is_answered()).count();
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    fn turn_until(&mut self, deadline_ns: u64, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) && clock::now_ns() < deadline_ns {
            self.turn(TICK)?;
        }
        Ok(())
    }

    /// Waits until the server listens to the publisher.
    fn wait_heard(&mut self) -> Result<()> {
        let deadline_ns = clock::now_ns() + clock::nanos(self.options.plan.connect_timeout);
        self.turn_until(deadline_ns, |bench| bench.source.is_heard())?;
        if self.source.is_heard() {
            return Ok(());
        }
        Err(Failure::new(
            "the server does not ask the publisher for events",
        ))
    }

    /// Publishes, to warm up and then to measure. A run that breaks leaves `outcome` as it is: there
    /// is no rate of half a run.
    fn measure(&mut self, outcome: &mut Outcome) -> Result<()> {
        let options = self.options;
        let streaming = self.roster.streaming();
        if streaming == 0 {
            return Err(Failure::new("no subscriber could connect"));
        }
        self.wait_heard()?;
        self.roster.count_rounds(Rounds::new(streaming));
        self.publish_for(options.warmup)?;
        self.roster.measure(Some(0));
        self.idle_ns = 0;
        let (usage, own) = (self.usage()?, proc::own_cpu_seconds());
        let machine = MachineTime::now();
        let (began_ns, events) = (clock::now_ns(), self.source.published());
        self.publish_for(options.duration)?;
        self.roster.pause();
        let nanos = clock::now_ns() - began_ns;
        outcome.server = Server::between(usage, self.usage()?);
        outcome.seconds = Duration::from_nanos(nanos).as_secs_f64();
        outcome.events = self.source.published() - events;
        let own = proc::own_cpu_seconds() - own;
        let idle = Duration::from_nanos(self.idle_ns).as_secs_f64();
        let load = match options.waiting {
            Waiting::Sleep => own,
            Waiting::Spin => outcome.seconds - idle,
        };
        let server = outcome.server.map_or(0.0, |server| server.cpu_seconds);
        let others = MachineTime::now().busy_seconds_since(machine) - own - server;
        outcome.load_share = load / outcome.seconds;
        outcome.others_share = others.max(0.0) / outcome.seconds;
        outcome.upstreams = self.source.streams();
        Ok(())
    }

    /// Publishes for a time.
    fn publish_for(&mut self, duration: Duration) -> Result<()> {
        let end_ns = clock::now_ns() + clock::nanos(duration);
        let mut progress = (0, clock::now_ns());
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            let wait = match self.options.pace {
                Pace::Window(window) => {
                    let complete = self.roster.complete();
                    if complete > progress.0 {
                        progress = (complete, now_ns);
                    } else if now_ns - progress.1 > clock::nanos(STALL) {
                        return Err(Failure::new(stalled(complete)));
                    }
                    let room = complete + u64::from(window) - self.source.published();
                    self.source.publish(room, now_ns)?;
                    TICK
                }
                Pace::Rate(rate) => self.publish_due(now_ns, rate)?,
            };
            self.turn(match self.options.waiting {
                Waiting::Sleep => wait,
                Waiting::Spin => Duration::ZERO,
            })?;
        }
    }

    /// Publishes what is due at a rate; says when the next one will be.
    fn publish_due(&mut self, now_ns: u64, rate: f64) -> Result<Duration> {
        let interval_ns = clock::nanos(Duration::from_secs_f64(1.0 / rate)).max(1);
        if self.due_ns == 0 {
            self.due_ns = now_ns;
        }
        while self.due_ns <= now_ns {
            self.source.publish(1, self.due_ns)?;
            self.due_ns += interval_ns;
        }
        Ok(clock::until(self.due_ns).min(TICK))
    }

    /// Waits until everybody has the last event, or the grace is over.
    fn settle(&mut self) -> Result<()> {
        let deadline_ns = clock::now_ns() + clock::nanos(self.options.grace);
        match self.source.last() {
            Some(last) => self.turn_until(deadline_ns, |bench| bench.roster.has_reached(last)),
            None => Ok(()),
        }
    }

    /// Waits for sockets and serves those that are ready.
    fn turn(&mut self, limit: Duration) -> Result<()> {
        let began_ns = clock::now_ns();
        self.poll.wait(&mut self.ready, limit)?;
        if self.ready.is_empty() {
            self.idle_ns += clock::now_ns() - began_ns;
            return Ok(());
        }
        for (token, closed) in self.ready.iter() {
            if token >= SOURCE_TOKEN {
                self.source.advance(token, closed, &self.poll)?;
            } else if let Some(client) = usize::try_from(token)
                .ok()
                .and_then(|at| self.clients.get_mut(at))
            {
                client.advance(&mut self.scratch, closed, &mut self.roster);
            }
        }
        Ok(())
    }

    /// CPU and memory of all processes of the server.
    fn usage(&self) -> Result<Option<Usage>> {
        let mut sum = None;
        for pid in &self.options.server_pids {
            let usage = proc::usage(*pid)?;
            sum = Some(sum.map_or(usage, |sum: Usage| sum.and(usage)));
        }
        Ok(sum)
    }
}

fn stalled(complete: u64) -> String {
    let seconds = STALL.as_secs();
    format!(
        "stalled: for {seconds} s not everybody got event {}",
        complete + 1
    )
}
