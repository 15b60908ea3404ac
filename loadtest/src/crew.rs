//! The processes of a run: this one alone, or children of the same program, each with a fleet.
//!
//! A child reads one JSON line with its share of the plan, then orders; it writes its progress and
//! in the end its outcome, a JSON line each. When its standard input closes, it leaves.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    failure::{Doing, Failure, Result},
    fleet::{Fleet, Outcome, Snapshot},
    lane::Order,
    plan::Plan,
};

/// How often a child tells where it is.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What a child is given first.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    plan: Plan,
    process: u32,
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    Progress(Snapshot),
    Outcome(Box<Outcome>),
}

/// All processes of a run.
pub enum Crew {
    /// Everything in this process.
    Own(Fleet),
    /// Children.
    Children(Vec<Worker>),
}

/// A child process.
pub struct Worker {
    /// Killed when the run is given up.
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    snapshot: Snapshot,
    outcome: Option<Box<Outcome>>,
}

impl Crew {
    /// Starts the processes that the plan asks for.
    ///
    /// # Errors
    /// When one cannot be started.
    pub async fn start(plan: &Arc<Plan>) -> Result<Self> {
        if plan.processes <= 1 {
            return Fleet::start(plan, 0).map(Self::Own);
        }
        let mut workers = Vec::new();
        for process in 0..plan.processes {
            workers.push(Worker::start(plan, process).await?);
        }
        Ok(Self::Children(workers))
    }

    /// Gives everybody an order.
    ///
    /// # Errors
    /// When a child is gone.
    pub async fn order(&mut self, order: Order) -> Result<()> {
        match self {
            Self::Own(fleet) => fleet.order(order),
            Self::Children(workers) => {
                for worker in workers {
                    worker.say(&order).await?;
                }
            }
        }
        Ok(())
    }

    /// The processes, this one included.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![std::process::id()];
        if let Self::Children(workers) = self {
            pids.extend(workers.iter().filter_map(|worker| worker.child.id()));
        }
        pids
    }

    /// Waits for `pause`, and says where everybody is.
    ///
    /// # Errors
    /// When a child is gone.
    pub async fn watch(&mut self, pause: Duration) -> Result<Snapshot> {
        tokio::time::sleep(pause).await;
        match self {
            Self::Own(fleet) => Ok(fleet.snapshot()),
            Self::Children(workers) => {
                let mut sum = Snapshot::default();
                for worker in workers {
                    sum = sum.and(worker.latest().await?);
                }
                Ok(sum)
            }
        }
    }

    /// After [`Order::Finish`]: waits for all and adds up.
    ///
    /// # Errors
    /// What stopped a lane or a child.
    pub async fn outcome(self) -> Result<Outcome> {
        match self {
            Self::Own(fleet) => {
                while !fleet.is_done() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                fleet.join()
            }
            Self::Children(workers) => {
                let mut outcome = Outcome::default();
                for mut worker in workers {
                    outcome.merge(&worker.outcome().await?);
                }
                Ok(outcome)
            }
        }
    }
}

impl Worker {
    async fn start(plan: &Plan, process: u32) -> Result<Self> {
        let program = std::env::current_exe().doing("find this program")?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .doing("start a client process")?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a client process has no pipes"));
        };
        let lines = BufReader::new(stdout).lines();
        let snapshot = Snapshot::default();
        let mut worker = Self {
            child,
            stdin,
            lines,
            snapshot,
            outcome: None,
        };
        worker
            .say(&Assignment {
                plan: plan.clone(),
                process,
            })
            .await?;
        Ok(worker)
    }

    async fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        self.stdin
            .write_all(line.as_bytes())
            .await
            .doing("talk to a client process")
    }

    /// The newest snapshot; takes all lines that are there without waiting for more.
    async fn latest(&mut self) -> Result<Snapshot> {
        let soon = Duration::from_millis(1);
        while self.outcome.is_none() {
            match tokio::time::timeout(soon, self.lines.next_line()).await {
                Ok(line) => self.take(line.doing("listen to a client process")?)?,
                Err(_) => break,
            }
        }
        Ok(self.snapshot)
    }

    async fn outcome(&mut self) -> Result<Outcome> {
        loop {
            if let Some(outcome) = self.outcome.take() {
                return Ok(*outcome);
            }
            let line = self
                .lines
                .next_line()
                .await
                .doing("listen to a client process")?;
            self.take(line)?;
        }
    }

    fn take(&mut self, line: Option<String>) -> Result<()> {
        let line =
            line.ok_or_else(|| Failure::new("a client process died; its message is above"))?;
        match serde_json::from_str(&line)? {
            Report::Progress(snapshot) => self.snapshot = snapshot,
            Report::Outcome(outcome) => self.outcome = Some(outcome),
        }
        Ok(())
    }
}

/// The life of a child process.
///
/// # Errors
/// What stopped its fleet, or an order that is not one.
pub async fn work() -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let Assignment { plan, process } = serde_json::from_str(&first)?;
    let _ = crate::proc::connections_max();
    let mut fleet = Fleet::start(&Arc::new(plan), process)?;
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    while !fleet.is_done() {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => fleet.order(serde_json::from_str::<Order>(&line)?),
                // The parent is gone, and with it whoever wanted the outcome.
                None => return Ok(()),
            },
            _ = ticks.tick() => say(&Report::Progress(fleet.snapshot())).await?,
        }
    }
    say(&Report::Outcome(Box::new(fleet.join()?))).await
}

async fn say(report: &Report) -> Result<()> {
    let line = serde_json::to_string(report)? + "\n";
    let mut stdout = tokio::io::stdout();
    stdout.write_all(line.as_bytes()).await?;
    stdout.flush().await.doing("report to the parent process")
}
