//! `loadtest tune`: how many subscribers a budget of CPU and memory carries before latency breaks,
//! and the caps that follow.
//!
//! ```text
//! command ─► search ─► trial (a scenario made for the purpose) ─► caps ─► YAML
//!                                                              └► charts
//! ```

pub mod caps;
pub mod charts;
pub mod command;
pub mod search;
pub mod trial;

use serde::{Deserialize, Serialize};

use crate::scenario::setup::Setup;
use trial::Trial;

/// What the server may use, and what it must keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Cores.
    pub cpus: f64,
    /// Memory, ring buffers included.
    pub memory_bytes: u64,
    /// Latency at p99 that must hold.
    pub objective_ms: f64,
    /// Events per second that a channel is expected to carry.
    pub rate: f64,
    /// Share of each budget that trials may use; the rest is for what they do not show.
    pub headroom: f64,
}

/// Everything measured: the raw data beside the caps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurements {
    /// On what.
    pub setup: Setup,
    /// For what.
    pub budget: Budget,
    /// Subscribers by event rate, each rate from few to the first that broke something.
    pub load: Vec<Trial>,
    /// Idle subscribers by heartbeat.
    pub heartbeat: Vec<Trial>,
    /// One busy channel by batching delay; empty when the server knows none.
    pub batching: Vec<Trial>,
}
