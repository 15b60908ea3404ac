//! Runs a scenario once: connects, measures, makes things happen, and holds everyone to one end.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    agenda::{Agenda, Due},
    cast,
    file::{Action, Event, Group, Scenario},
    measure::{self, Measured},
    record::{GroupResult, Moment, Run},
    requests::Clients,
    sampler::{Sample, Sampler},
    server::Drained,
    stage::{Site, Stage},
};
use crate::{
    clock,
    crew::Crew,
    failure::{Failure, Result},
    fleet::{Outcome, Snapshot},
    lane::Order,
    plan::Plan,
    report::grouped,
    tally::Counts,
};

/// How often the conductor looks around.
const WATCH: Duration = Duration::from_millis(100);
/// How often under `outstanding`, where it is the one who publishes.
const WATCH_CLOSELY: Duration = Duration::from_millis(20);
/// How long an ended drain is waited for after the hold.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// How to run it, beyond what the scenario says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Against what.
    pub site: Site,
    /// Random times follow from it.
    pub seed: u64,
    /// Threads of each group in each process.
    pub threads: u32,
    /// How large the scenario is, of what its file says.
    pub scale: f64,
}

/// A run under way.
struct Conductor<'a, P> {
    scenario: &'a Scenario,
    options: &'a Options,
    stage: Stage,
    origin_ns: u64,
    crews: Vec<Member>,
    agenda: Agenda,
    sampler: Sampler,
    run: Run,
    /// Events asked for by bursts, under `outstanding`.
    asked: u64,
    drained: Option<Drained>,
    progress: P,
}

struct Member {
    group: usize,
    plan: Plan,
    crew: Crew,
    now: Snapshot,
}

/// Runs the scenario; `progress` gets a line about once a second.
///
/// # Errors
/// What kept it from being run; whatever the server does is no error but in the figures.
pub async fn run(
    scenario: &Scenario,
    options: &Options,
    folder: &Path,
    progress: impl FnMut(&str),
) -> Result<Run> {
    let stage = Stage::start(&options.site, scenario, folder).await?;
    let conductor = Conductor {
        scenario,
        options,
        stage,
        origin_ns: clock::now_ns(),
        crews: Vec::new(),
        agenda: Agenda::of(scenario),
        sampler: Sampler::default(),
        run: Run::default(),
        asked: 0,
        drained: None,
        progress,
    };
    conductor.perform().await
}

impl<P: FnMut(&str)> Conductor<'_, P> {
    async fn perform(mut self) -> Result<Run> {
        self.sample();
        let began = self.now();
        for (number, group) in self.scenario.subscribers.iter().enumerate() {
            if group.joins.is_none() {
                self.join(number).await?;
            }
        }
        self.connect().await?;
        let connect_seconds = self.now() - began;

        self.run.hold_from = self.now();
        self.sample();
        let mark = self.stage.published().await?;
        for member in &mut self.crews {
            member.crew.order(Order::Measure { mark }).await?;
        }
        let clients = self.start_requests()?;
        self.hold().await?;
        self.run.answers = match clients {
            Some(clients) => Some(clients.stop().await),
            None => None,
        };
        self.sample();
        self.run.hold_to = self.now();

        let stats = self.stage.stats().await?;
        let published = stats.as_ref().map(super::publisher::published);
        let target = match published {
            // Nobody can be held to what was never published.
            Some(seq) => Some(seq).filter(|seq| Some(*seq) > mark),
            None => self.crews.iter().map(|member| member.now.highest).max(),
        };
        let outcomes = self.finish(target).await?;
        self.need_events(&outcomes)?;
        self.await_drain().await?;
        self.run.metrics = self.stage.metrics().await;
        let measured = Measured {
            outcomes: &outcomes,
            groups: &self.scenario.subscribers,
            connect_seconds,
            published: published
                .zip(mark)
                .map(|(end, mark)| end.saturating_sub(mark)),
            stats: stats.as_ref(),
            drained: self.drained,
            cores: super::setup::cores(),
        };
        measure::complete(&mut self.run, &measured);
        if self.options.scale < 1.0 {
            let scale = self.options.scale;
            let warning = format!("run at a scale of {scale}: the thresholds are for full size");
            self.run.warnings.push(warning);
        }
        for (group, outcome) in self.scenario.subscribers.iter().zip(&outcomes) {
            let counts = outcome.tally.total();
            let name = group.name().to_owned();
            self.run.groups.push(GroupResult { name, counts });
        }
        self.run.judge(&self.scenario.thresholds);
        Ok(self.run)
    }

    /// Seconds since the run began.
    fn now(&self) -> f64 {
        Duration::from_nanos(clock::now_ns().saturating_sub(self.origin_ns)).as_secs_f64()
    }

    async fn join(&mut self, group: usize) -> Result<()> {
        let plan = cast::plan(
            self.scenario,
            &self.stage,
            self.options,
            self.origin_ns,
            group,
        )?;
        let crew = Crew::start(&Arc::new(plan.clone())).await?;
        self.crews.push(Member {
            group,
            plan,
            crew,
            now: Snapshot::default(),
        });
        Ok(())
    }

    /// Waits until every connect has succeeded, failed or run out of time.
    async fn connect(&mut self) -> Result<()> {
        let wanted: u64 = self
            .crews
            .iter()
            .map(|member| member.plan.subscribers())
            .sum();
        let timeout = self
            .crews
            .iter()
            .map(|member| member.plan.connect_timeout)
            .max();
        let spread = Duration::from_secs(wanted / u64::from(self.scenario.ramp.max(1)));
        let limit = spread * 2 + timeout.unwrap_or_default() * 4;
        let deadline_ns = clock::now_ns() + clock::nanos(limit);
        loop {
            let now = self.look(WATCH).await?;
            let said = format!(
                "connecting: {} of {}",
                grouped(now.connected),
                grouped(wanted)
            );
            self.each_second(&said);
            if now.connected + now.failed >= wanted || clock::now_ns() > deadline_ns {
                return match now.connected {
                    0 if wanted > 0 => Err(self.alone().await?),
                    _ => Ok(()),
                };
            }
        }
    }

    /// Of a server that let nobody in there is nothing to measure, and every count of faults is zero.
    async fn alone(&mut self) -> Result<Failure> {
        let mut all = Counts::default();
        for outcome in self.finish(None).await? {
            all.merge(&outcome.tally.total());
        }
        let why = all.why_not();
        Ok(Failure::new(format!("no subscriber could connect: {why}")))
    }

    /// Where nobody got an event, every count of faults is zero, too.
    fn need_events(&self, outcomes: &[Outcome]) -> Result<()> {
        let publisher = &self.scenario.publisher;
        let is_silent = publisher.rate == 0.0 && publisher.outstanding.is_none();
        let mut counts = outcomes.iter().map(|outcome| outcome.tally.total());
        if is_silent || counts.any(|counts| counts.delivered > 0) {
            return Ok(());
        }
        Err(Failure::new(
            "nobody got an event, so nothing was measured; if nobody is meant to, say so: \
             `publisher: {rate: 0}`",
        ))
    }

    async fn hold(&mut self) -> Result<()> {
        let hold = self.scenario.hold.0.as_secs_f64();
        let outstanding = self.scenario.publisher.outstanding;
        let watch = outstanding.map_or(WATCH, |_| WATCH_CLOSELY);
        let before = self.look(Duration::ZERO).await?.delivered;
        loop {
            let elapsed = self.now() - self.run.hold_from;
            // What was late, or away a moment longer, is waited for.
            if elapsed >= hold && self.agenda.is_empty() {
                return Ok(());
            }
            let now = self.look(watch).await?;
            if let Some(outstanding) = outstanding {
                self.top_up(outstanding, now.delivered - before).await?;
            }
            self.happen(elapsed).await?;
            if let Some(server) = &mut self.stage.server
                && let Some(drained) = server.drained()?
            {
                self.drained = Some(drained);
                self.moment("the drained server has ended");
            }
            let delivered = grouped(now.delivered);
            self.each_second(&format!(
                "measuring: {elapsed:.0} of {hold:.0} s, {delivered} deliveries"
            ));
        }
    }

    /// Publishes as many events as keep `outstanding` of them under way.
    async fn top_up(&mut self, outstanding: u32, delivered: u64) -> Result<()> {
        let reached = delivered / self.scenario.count().max(1);
        let under_way = self.asked.saturating_sub(reached);
        let wanted = u64::from(outstanding).saturating_sub(under_way);
        if let (Some(publisher), 1..) = (&mut self.stage.publisher, wanted) {
            publisher.burst(wanted).await?;
            self.asked += wanted;
        }
        Ok(())
    }

    /// Makes happen what is due.
    async fn happen(&mut self, elapsed: f64) -> Result<()> {
        while let Some(due) = self.agenda.next(elapsed) {
            match due {
                Due::Join(group) => {
                    let name = self.scenario.subscribers.get(group).map(Group::name);
                    self.moment(&format!("{} join", name.unwrap_or_default()));
                    self.join(group).await?;
                }
                Due::Event(number) => self.event(number, elapsed).await?,
                Due::ReviveApp(seq) => {
                    if let Some(publisher) = &mut self.stage.publisher {
                        publisher.revive(seq).await?;
                    }
                    self.moment("the publisher is back");
                }
                Due::ReviveServer => {
                    if let Some(server) = &mut self.stage.server {
                        server.revive().await?;
                    }
                    self.moment("the server is back");
                }
            }
        }
        Ok(())
    }

    async fn event(&mut self, number: usize, elapsed: f64) -> Result<()> {
        let Some(event) = self.scenario.events.get(number) else {
            return Ok(());
        };
        self.moment(event.action.name());
        let back_at = elapsed + event.down.unwrap_or_default().0.as_secs_f64();
        let (Some(publisher), Some(server)) = (&mut self.stage.publisher, &mut self.stage.server)
        else {
            return Ok(());
        };
        match event.action {
            Action::CutApp => publisher.cut().await,
            Action::Burst => publisher.burst(event.events.unwrap_or(1).into()).await,
            Action::RestartApp => {
                let seq = publisher.kill().await?;
                self.agenda.add(back_at, Due::ReviveApp(seq));
                Ok(())
            }
            Action::RestartServer => {
                server.kill().await?;
                self.agenda.add(back_at, Due::ReviveServer);
                Ok(())
            }
            Action::Reload => event
                .server
                .as_ref()
                .map_or(Ok(()), |over| server.reload(over)),
            Action::ReloadBad => server.reload_bad(),
            Action::Drain => server.drain(event.successor.unwrap_or(false)).await,
        }
    }

    fn moment(&mut self, what: &str) {
        let (at, what) = (self.now(), what.to_owned());
        (self.progress)(&format!("{at:>5.1} s  {what}"));
        self.run.moments.push(Moment { at, what });
    }

    fn start_requests(&self) -> Result<Option<Clients>> {
        let wanted = self.scenario.requests.zip(self.stage.request_target());
        wanted
            .map(|(what, target)| Clients::start(what, &target))
            .transpose()
    }

    /// Where all crews are, after a pause.
    async fn look(&mut self, pause: Duration) -> Result<Snapshot> {
        tokio::time::sleep(pause).await;
        let mut sum = Snapshot::default();
        for member in &mut self.crews {
            member.now = member.crew.watch(Duration::ZERO).await?;
            sum = sum.and(member.now);
        }
        Ok(sum)
    }

    /// Once a second: a reading, and a line.
    fn each_second(&mut self, line: &str) {
        let last = self.run.samples.last().map_or(f64::MIN, |sample| sample.at);
        if self.now() >= last + 1.0 {
            let sample = self.sample();
            let mib = sample.server_rss_bytes.map(|bytes| bytes >> 20);
            let memory = mib.map_or(String::new(), |mib| format!(", server {mib} MiB"));
            (self.progress)(&format!("{:>5.1} s  {line}{memory}", sample.at));
        }
    }

    fn sample(&mut self) -> Sample {
        let mut pids = self.stage.pids();
        let clients = self.crews.iter().flat_map(|member| member.crew.pids());
        pids.load = clients.chain([std::process::id()]).collect();
        pids.load.sort_unstable();
        pids.load.dedup();
        let sample = self.sampler.read(self.now(), &pids);
        self.run.samples.push(sample);
        sample
    }

    /// Closes the books of all groups, in the order of the scenario.
    async fn finish(&mut self, target: Option<u64>) -> Result<Vec<Outcome>> {
        let grace = self.scenario.grace.0;
        for member in &mut self.crews {
            member.crew.order(Order::Finish { target, grace }).await?;
        }
        let mut outcomes = vec![Outcome::default(); self.scenario.subscribers.len()];
        for member in std::mem::take(&mut self.crews) {
            let outcome = member.crew.outcome().await?;
            if let Some(place) = outcomes.get_mut(member.group) {
                *place = outcome;
            }
        }
        Ok(outcomes)
    }

    /// A drain that is not over when the hold is gets the time that it needs.
    async fn await_drain(&mut self) -> Result<()> {
        let drains = |event: &Event| event.action == Action::Drain;
        if !self.scenario.events.iter().any(drains) || self.drained.is_some() {
            return Ok(());
        }
        let deadline_ns = clock::now_ns() + clock::nanos(DRAIN_MAX);
        while clock::now_ns() < deadline_ns {
            let Some(server) = &mut self.stage.server else {
                break;
            };
            self.drained = server.drained()?;
            if self.drained.is_some() {
                break;
            }
            tokio::time::sleep(WATCH).await;
        }
        Ok(())
    }
}
