//! What subscribers meet: a publisher and a server of our own, or any URL.

use std::path::{Path, PathBuf};

use super::{
    file::{Kind, Scenario},
    publisher::{self, Publisher},
    sampler::Pids,
    server::{self, Addresses, Server},
};
use crate::{
    app::feed::Stats,
    failure::{Doing, Failure, Result},
    plan::CHANNEL,
    stats,
    target::{Header, Target},
};

/// What a run is to use.
#[derive(Debug, Clone)]
pub enum Site {
    /// A publisher and a Sidestream of our own.
    Own {
        /// The program.
        program: PathBuf,
        /// CPUs to keep it on.
        cpus: Option<String>,
    },
    /// Somebody's server.
    Foreign(Box<Foreign>),
}

/// A server that is there already.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Where subscribers go; `{channel}` in the path spreads them.
    pub url: Target,
    /// Where those over TLS go.
    pub tls_url: Option<Target>,
    /// Headers to send.
    pub headers: Vec<Header>,
    /// `/stats` of `loadtest app` behind it.
    pub stats: Option<Target>,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
    /// Its metrics.
    pub metrics: Option<Target>,
}

/// The stage of one run.
pub struct Stage {
    /// Our publisher.
    pub publisher: Option<Publisher>,
    /// Our server.
    pub server: Option<Server>,
    foreign: Option<Foreign>,
}

impl Stage {
    /// Sets it up; `folder` gets configuration and logs.
    ///
    /// # Errors
    /// When something does not come up, or the scenario asks for what a foreign server cannot do.
    pub async fn start(site: &Site, scenario: &Scenario, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).doing(format_args!("make {}", folder.display()))?;
        match site {
            Site::Own { program, cpus } => {
                let publisher = Publisher::start(scenario.publisher, folder).await?;
                let options = server::Options {
                    program: program.clone(),
                    cpus: cpus.clone(),
                    folder: folder.to_path_buf(),
                    app: publisher.address,
                };
                let server = Server::start(options, &scenario.server).await?;
                Ok(Self {
                    publisher: Some(publisher),
                    server: Some(server),
                    foreign: None,
                })
            }
            Site::Foreign(foreign) => {
                foreign.suits(scenario)?;
                Ok(Self {
                    publisher: None,
                    server: None,
                    foreign: Some(Foreign::clone(foreign)),
                })
            }
        }
    }

    /// Where subscribers of a kind go that spread over so many channels.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn target(&self, kind: Kind, channels: u32) -> Result<Target> {
        if let Some(server) = &self.server {
            let path = if channels > 1 {
                format!("/events/{CHANNEL}")
            } else {
                "/events".to_owned()
            };
            return Ok(at(server.at, kind, &path));
        }
        let foreign = self.foreign.as_ref();
        let foreign = foreign.ok_or_else(|| Failure::new("there is no server"))?;
        let tls = foreign.tls_url.as_ref().unwrap_or(&foreign.url);
        Ok(if kind.is_tls() { tls } else { &foreign.url }.clone())
    }

    /// Where ordinary requests go.
    #[must_use]
    pub fn request_target(&self) -> Option<Target> {
        let server = self.server.as_ref()?;
        Some(at(server.at, Kind::H1, "/stats"))
    }

    /// Where subscribers of a kind go when they come back, if the scenario has a successor.
    #[must_use]
    pub fn successor(&self, kind: Kind) -> Option<Target> {
        let server = self.server.as_ref()?;
        Some(at(server.next, kind, "/"))
    }

    /// Headers that every subscriber sends.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        let foreign = self.foreign.as_ref();
        foreign.map_or_else(Vec::new, |foreign| foreign.headers.clone())
    }

    /// The publisher's counters, if it can be asked.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stats(&self) -> Result<Option<Stats>> {
        if let Some(publisher) = &self.publisher {
            return publisher.stats().await.map(Some);
        }
        match self
            .foreign
            .as_ref()
            .and_then(|foreign| foreign.stats.as_ref())
        {
            Some(target) => stats::fetch(target).await.map(Some),
            None => Ok(None),
        }
    }

    /// Number of the last event published, if the publisher can be asked.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn published(&self) -> Result<Option<u64>> {
        Ok(self.stats().await?.as_ref().map(publisher::published))
    }

    /// The processes to watch.
    #[must_use]
    pub fn pids(&self) -> Pids {
        let foreign = self.foreign.as_ref().and_then(|foreign| foreign.pid);
        Pids {
            server: self.server.as_ref().map(Server::pid).or(foreign),
            app: self.publisher.as_ref().map(Publisher::pid),
            load: Vec::new(),
        }
    }

    /// The server's metrics that are not zero, without buckets; empty when there are none to be had.
    pub async fn metrics(&self) -> Vec<(String, f64)> {
        let own = self.server.as_ref().map(|server| Target {
            tls: false,
            host: server.at.admin.ip().to_string(),
            port: server.at.admin.port(),
            path: "/metrics".to_owned(),
        });
        let foreign = || self.foreign.as_ref()?.metrics.clone();
        let Some(target) = own.or_else(foreign) else {
            return Vec::new();
        };
        let body = stats::body(&target).await.unwrap_or_default();
        nonzero(&String::from_utf8_lossy(&body))
    }
}

fn at(addresses: Addresses, kind: Kind, path: &str) -> Target {
    let tls = kind.is_tls();
    let address = if tls {
        addresses.secure
    } else {
        addresses.plain
    };
    Target {
        tls,
        host: address.ip().to_string(),
        port: address.port(),
        path: path.to_owned(),
    }
}

impl Foreign {
    /// Whether the scenario can be run against a server that is not ours.
    fn suits(&self, scenario: &Scenario) -> Result<()> {
        let not_ours = |what: &str| {
            Err(Failure::new(format!(
                "{what} needs a server and a publisher of our own; leave out --url"
            )))
        };
        if let Some(event) = scenario.events.first() {
            return not_ours(&format!("the event `{}`", event.action.name()));
        }
        if scenario.requests.is_some() {
            return not_ours("`requests`");
        }
        if scenario.publisher.outstanding.is_some() {
            return not_ours("`publisher.outstanding`");
        }
        if scenario.subscribers.iter().any(|group| group.channels > 1)
            && !self.url.path.contains(CHANNEL)
        {
            return Err(Failure::new(format!(
                "subscribers spread over channels: write {CHANNEL} into the path of --url"
            )));
        }
        Ok(())
    }
}

/// Samples of an OpenMetrics text that are not zero, without buckets, creation times and limits.
fn nonzero(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        let told = value != 0.0 && !name.contains("_bucket") && !name.contains("_created");
        told.then(|| (name.to_owned(), value))
    };
    lines.filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text =
            "# TYPE a counter\na_total{x=\"y z\"} 3\nb 0\nc_bucket{le=\"1\"} 5\nd 1.5\n# EOF\n";
        let expected = [
            ("a_total{x=\"y z\"}".to_owned(), 3.0),
            ("d".to_owned(), 1.5),
        ];
        assert_eq!(nonzero(text), expected);
    }
}
