//! The fan-out core end to end: a scripted app, the whole of Sidestream, raw clients.

mod ends;
mod leaving;
mod load;
mod opening;
mod refusals;
mod resuming;
mod rig;
mod seam;
mod sharing;
