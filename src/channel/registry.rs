//! Key -> channel, single flight. The only place where channels are made and forgotten.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    budget::Budget,
    id::Epoch,
    shared::Channel,
    state::{Joined, Outcome},
    view::Entry,
};
use crate::{
    clock::{self, Millis},
    config::model::{Action, Config, Fanout, Route},
    decide::FanOut,
    error::RefuseReason,
    metrics::Metrics,
    route::key::ChannelKey,
};

/// Starts the reader of a channel.
pub trait Opener: Send + Sync {
    /// Runs `channel`'s upstream until it is over or idle. Must not block.
    fn open(&self, channel: Arc<Channel>);
}

/// All live channels.
pub struct Registry {
    channels: Mutex<HashMap<ChannelKey, Arc<Channel>>>,
    opener: Arc<dyn Opener>,
    metrics: Arc<Metrics>,
    channels_max: AtomicUsize,
    budget: Budget,
    /// No new channels: we are leaving.
    draining: AtomicBool,
}

/// A client's place in a channel; leaves when dropped.
pub struct Membership {
    channel: Arc<Channel>,
    /// This client's join opened the channel.
    pub opener: bool,
    /// Newest sequence when it joined: what comes after is its own.
    pub joined_at: u64,
}

impl Membership {
    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.channel.leave(clock::now());
    }
}

impl Registry {
    /// No channels yet.
    #[must_use]
    pub fn new(
        opener: Arc<dyn Opener>,
        metrics: Arc<Metrics>,
        channels_max: usize,
        ring_bytes_max: usize,
    ) -> Self {
        Self {
            channels: Mutex::new(HashMap::new()),
            opener,
            budget: Budget::new(metrics.clone(), ring_bytes_max),
            metrics,
            channels_max: AtomicUsize::new(channels_max),
            draining: AtomicBool::new(false),
        }
    }

    /// Joins the channel of `request`, making and opening it when need be.
    ///
    /// # Errors
    ///
    /// When a cap is reached, or a new channel would be needed while draining.
    pub fn join(&self, request: &FanOut, now: Millis) -> Result<Membership, RefuseReason> {
        let (channel, entry) = {
            let mut channels = self.channels.lock();
            let known = channels.get(&request.key).cloned();
            match known.map(|channel| channel.join(now).map(|entry| (channel, entry))) {
                Some(Err(refused)) => return Err(refused),
                Some(Ok((channel, entry))) if entry.joined != Joined::TooLate => (channel, entry),
                Some(Ok(_)) | None => self.make(&mut channels, request, now)?,
            }
        };
        let opener = entry.joined == Joined::MustOpen;
        if opener {
            self.opener.open(channel.clone());
        }
        Ok(Membership {
            channel,
            opener,
            joined_at: entry.at,
        })
    }

    fn make(
        &self,
        channels: &mut HashMap<ChannelKey, Arc<Channel>>,
        request: &FanOut,
        now: Millis,
    ) -> Result<(Arc<Channel>, Entry), RefuseReason> {
        if self.draining.load(Ordering::Acquire) {
            return Err(RefuseReason::Draining);
        }
        let replaces = usize::from(channels.contains_key(&request.key));
        if channels.len() - replaces >= self.channels_max.load(Ordering::Relaxed) {
            return Err(RefuseReason::ChannelsMax);
        }
        if self.budget.is_exhausted() {
            return Err(RefuseReason::RingBytesMax);
        }
        let channel = Channel::new(
            request.key.clone(),
            Epoch::new(rand::random()),
            request.route.clone(),
            request.settings.clone(),
            self.metrics.clone(),
            now,
        )
        .made_by(request.client);
        let channel = Arc::new(channel);
        let entry = channel.join(now)?;
        channels.insert(request.key.clone(), channel.clone());
        Ok((channel, entry))
    }

    /// Time passes: lingers end, old events go, the memory budget is kept.
    pub fn tick(&self, now: Millis) {
        self.channels.lock().retain(|_, channel| !channel.tick(now));
        self.budget.keep(|| self.list(usize::MAX));
    }

    /// From now on no channel is made.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Brings the live channels in line with a new configuration.
    pub fn reload(&self, config: &Config, ring_bytes_max: usize, now: Millis) {
        self.channels_max
            .store(config.limits.channels_max, Ordering::Relaxed);
        self.budget.set_max(ring_bytes_max);
        let routes: HashMap<&str, &Arc<Route>> = config
            .routes
            .iter()
            .map(|route| (route.name.as_str(), route))
            .collect();
        let retired = |channel: &Arc<Channel>| match routes
            .get(channel.key.route.as_str())
            .map(|route| (*route, &route.action))
        {
            Some((route, Action::Fanout(settings)))
                if compatible(&channel.route(), &channel.settings(), route, settings) =>
            {
                if **route != *channel.route() {
                    channel.reconfigure(route.clone(), settings.clone(), now);
                }
                false
            }
            _ => true,
        };
        let mut gone = Vec::new();
        self.channels.lock().retain(|_, channel| {
            let retired = retired(channel);
            if retired {
                gone.push(channel.clone());
            }
            !retired
        });
        for channel in gone {
            channel.finish(Outcome::Retired);
        }
    }

    /// The channels now, at most `limit`.
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<Arc<Channel>> {
        self.channels.lock().values().take(limit).cloned().collect()
    }

    /// Live channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.lock().len()
    }

    /// No live channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The channel may live on under the new route: same app, same sharing, same ids on the wire.
fn compatible(old: &Route, old_settings: &Fanout, new: &Route, new_settings: &Fanout) -> bool {
    old.upstream == new.upstream
        && old.matches == new.matches
        && old_settings.share == new_settings.share
        && old_settings.identity == new_settings.identity
        && old_settings.query == new_settings.query
        && old_settings.last_event_id_query == new_settings.last_event_id_query
        && old_settings.ids == new_settings.ids
}
