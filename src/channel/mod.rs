//! Channels: bounded replay, the life of one upstream stream, and who shares it.

mod app_ids;
mod budget;
pub mod head;
pub mod id;
pub mod proof;
pub mod registry;
pub mod ring;
pub mod seal;
pub mod shared;
pub mod state;
pub mod view;
