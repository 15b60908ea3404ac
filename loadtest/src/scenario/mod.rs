//! `loadtest scenario`: what a YAML file describes, run against a server of our own or any URL, with
//! a report.
//!
//! ```text
//! file (units) ─► conductor (agenda) ─► stage (server, publisher) and crews ─► measure ─► record ─► html
//!                              sampler, requests                       figures
//! ```

pub mod agenda;
pub mod cast;
mod check;
pub mod command;
pub mod conductor;
pub mod course;
pub mod figures;
pub mod file;
pub mod measure;
pub mod process;
pub mod publisher;
pub mod record;
pub mod requests;
pub mod runner;
pub mod sampler;
pub mod server;
pub mod setup;
pub mod stage;
pub mod units;
