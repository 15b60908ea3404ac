//! `sidestream demo`: a small app, Sidestream in front of it, and a page that shows the point.

mod app;
mod control;
mod http;
mod script;

pub use app::{App, StreamUse};
pub use control::{Backend, Control, DemoStats, Numbers, Ports};
pub use script::{Kind, Script, Step};
