//! The publisher of a run: `loadtest app` in a process of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    file,
    process::{Process, Program, free_address},
};
use crate::{
    app::{IdStyle, feed::Stats},
    failure::{Doing, Failure, Result},
    stats,
    target::Target,
};

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A publisher that is up, or about to be up again.
pub struct Publisher {
    process: Process,
    what: file::Publisher,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
    /// Events that were asked for beside the rate.
    burst: u64,
}

impl Publisher {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(what: file::Publisher, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let log = folder.join("publisher.log");
        let process = start(what, address, 0, &log).await?;
        Ok(Self {
            process,
            what,
            address,
            log,
            burst: 0,
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stats(&self) -> Result<Stats> {
        stats::fetch(&self.target("/stats")).await
    }

    /// Resets all of its streams.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn cut(&self) -> Result<()> {
        self.post("/kill").await
    }

    /// Publishes so many events at once.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn burst(&mut self, events: u64) -> Result<()> {
        self.burst += events;
        self.post(&format!("/burst?n={events}")).await
    }

    /// Kills it; returns the number from which the next one may go on.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<u64> {
        let seq = published(&self.stats().await?);
        self.process.kill().await?;
        // It may have published a little since it was asked. Two seconds are far more than enough,
        // and so is every burst once more; what nobody published is announced as missed all the same.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and bounded"
        )]
        let margin = (self.what.rate * 2.0).ceil() as u64;
        Ok(seq + margin + std::mem::take(&mut self.burst))
    }

    /// Starts one in the place of one that was killed, which goes on behind `seq`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn revive(&mut self, seq: u64) -> Result<()> {
        self.process = start(self.what, self.address, seq, &self.log).await?;
        Ok(())
    }

    fn target(&self, path: &str) -> Target {
        Target {
            tls: false,
            host: self.address.ip().to_string(),
            port: self.address.port(),
            path: path.to_owned(),
        }
    }

    async fn post(&self, path: &str) -> Result<()> {
        let what = format!("POST {path} to the publisher");
        let answer = tokio::time::timeout(ANSWER_MAX, exchange(self.address, path));
        let answer = answer.await.doing(&what)?.doing(&what)?;
        if answer.starts_with("HTTP/1.1 204 ") {
            return Ok(());
        }
        let line = answer.lines().next().unwrap_or_default();
        Err(Failure::new(format!("{what}: answered `{line}`")))
    }
}

/// The number of the last event of any feed.
#[must_use]
pub fn published(stats: &Stats) -> u64 {
    let numbers = stats.feeds.values().map(|feed| feed.seq);
    numbers.max().unwrap_or_default()
}

async fn exchange(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn start(
    what: file::Publisher,
    address: SocketAddr,
    after: u64,
    log: &Path,
) -> Result<Process> {
    let program = std::env::current_exe().doing("find this program")?;
    let rate = if what.outstanding.is_some() {
        0.0
    } else {
        what.rate
    };
    let ids = match what.ids {
        IdStyle::PerConnection => "per-connection",
        IdStyle::Unique => "unique",
        IdStyle::None => "none",
    };
    let args = [
        "app".to_owned(),
        format!("--listen={address}"),
        format!("--rate={rate}"),
        format!("--size={}", what.size),
        format!("--ids={ids}"),
        format!("--after={after}"),
    ];
    let mut process = Process::start(Program {
        name: "the publisher",
        path: &program,
        args: args.to_vec(),
        env: Vec::new(),
        cpus: None,
        log,
    })?;
    process.listens(address).await?;
    Ok(process)
}
