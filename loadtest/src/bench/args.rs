//! The command line of `loadtest bench`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{Options, Pace, Waiting, source::Way};
use crate::{
    failure::{Failure, Result},
    plan::Plan,
    rounds::WINDOW_MAX,
    target::Target,
};

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Where subscribers connect, for instance <http://127.0.0.1:8080/events>.
    pub url: Target,
    /// HTTP/1.1 subscribers.
    #[arg(long, default_value_t = 0)]
    pub h1: u32,
    /// HTTP/2 subscribers (streams).
    #[arg(long, default_value_t = 0)]
    pub h2: u32,
    /// Streams per HTTP/2 connection.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams_per_connection: u32,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Connects under way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,
    /// Be the server's upstream at this address.
    #[arg(long, default_value = "127.0.0.1:3005", conflicts_with = "post")]
    pub listen: SocketAddr,
    /// Post events to this URL instead, for servers that are pushed to.
    #[arg(long)]
    pub post: Option<Target>,
    /// Events on their way at once: the next one leaves when all subscribers have got the one so many
    /// before it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(WINDOW_MAX)))]
    pub window: u32,
    /// Events per second, instead of a window.
    #[arg(long, conflicts_with = "window")]
    pub rate: Option<f64>,
    /// Bytes of an event from its `id:` to its blank line.
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// Never sleep: the server is then not charged for waking this process.
    #[arg(long)]
    pub spin: bool,
    /// How long to run before measuring, in seconds.
    #[arg(long, default_value_t = 1)]
    pub warmup: u64,
    /// How long to measure, in seconds; 0 only connects.
    #[arg(long, default_value_t = 5)]
    pub duration: u64,
    /// Limit on connecting everybody, in seconds.
    #[arg(long, default_value_t = 60)]
    pub connect_timeout: u64,
    /// How long subscribers may take at the end to reach the last event, in seconds.
    #[arg(long, default_value_t = 10)]
    pub grace: u64,
    /// Process of the server, for its CPU and memory; may be given several times.
    #[arg(long = "server-pid")]
    pub server_pids: Vec<u32>,
    /// Write the outcome as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Bench {
    /// What is to run.
    ///
    /// # Errors
    /// When there is nobody to connect, or the rate is no rate.
    pub fn options(&self) -> Result<Options> {
        if self.h1 == 0 && self.h2 == 0 {
            return Err(Failure::new("no subscribers: give --h1 or --h2 a number"));
        }
        let pace = match self.rate {
            None => Pace::Window(self.window),
            Some(rate) if rate > 0.0 && rate <= 1_000_000.0 => Pace::Rate(rate),
            Some(_) => {
                return Err(Failure::new(
                    "--rate must be above 0, and 1,000,000 events per second at most",
                ));
            }
        };
        Ok(Options {
            plan: Plan {
                h1: self.h1,
                h2: self.h2,
                streams_per_connection: self.streams_per_connection,
                insecure: self.insecure,
                connects_in_flight_max: self.in_flight,
                connect_timeout: Duration::from_secs(self.connect_timeout),
                ..Plan::new(self.url.clone())
            },
            way: match &self.post {
                Some(target) => Way::Post(target.clone()),
                None => Way::Serve(self.listen),
            },
            pace,
            size: self.size,
            waiting: if self.spin {
                Waiting::Spin
            } else {
                Waiting::Sleep
            },
            warmup: Duration::from_secs(self.warmup),
            duration: Duration::from_secs(self.duration),
            grace: Duration::from_secs(self.grace),
            server_pids: self.server_pids.clone(),
        })
    }
}
