//! Key -> channel, single flight. The only place where channels are made and forgotten.

mod signs;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    budget::Budget,
    id::{Epoch, epoch_of},
    ring::Begun,
    shared::Channel,
    state::{Joined, Outcome},
    view::Entry,
};
use crate::{
    clock::{self, Millis},
    config::model::{Action, Config, Fanout, Route},
    decide::FanOut,
    error::RefuseReason,
    hints::Hints,
    logging::Seldom,
    metrics::Metrics,
    route::key::ChannelKey,
};

/// Starts the reader of a channel.
pub trait Opener: Send + Sync {
    /// Runs `channel`'s upstream until it is over or idle. Must not block.
    fn open(&self, channel: Arc<Channel>);

    /// Asks the app whether `channel`'s credentials still hold. Must not block.
    fn prove(&self, channel: Arc<Channel>);
}

/// All live channels.
pub struct Registry {
    channels: Mutex<Channels>,
    opener: Arc<dyn Opener>,
    metrics: Arc<Metrics>,
    /// The configuration in force.
    config: Arc<ArcSwap<Config>>,
    budget: Budget,
    hints: Hints,
    /// When signs were last looked for.
    looked: Seldom,
    /// No new channels: we are leaving.
    draining: AtomicBool,
}

/// Channels by what finds them.
#[derive(Default)]
struct Channels {
    by_key: HashMap<ChannelKey, Arc<Channel>>,
    /// Those that have gone out of `by_key` too, for as long as somebody reads them.
    by_epoch: HashMap<Epoch, Weak<Channel>>,
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

impl Channels {
    /// The channel that gave `id`, if it is still there.
    fn of_id(&self, id: Option<&[u8]>) -> Option<Arc<Channel>> {
        self.by_epoch.get(&epoch_of(id?)?)?.upgrade()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.channel.leave(clock::now());
    }
}

impl Registry {
    /// No channels yet. Whoever changes `config` calls [`Registry::reload`] afterwards.
    #[must_use]
    pub fn new(
        opener: Arc<dyn Opener>,
        metrics: Arc<Metrics>,
        config: Arc<ArcSwap<Config>>,
        ring_bytes_max: usize,
    ) -> Self {
        Self {
            channels: Mutex::default(),
            opener,
            budget: Budget::new(metrics.clone(), ring_bytes_max),
            hints: Hints::new(metrics.clone()),
            looked: Seldom::new(signs::LOOK_SECONDS),
            metrics,
            config,
            draining: AtomicBool::new(false),
        }
    }

    /// Joins the channel of `request`, making and opening it when need be.
    ///
    /// # Errors
    ///
    /// When a cap is reached, when a new channel would be needed while draining, or when a reload
    /// has removed or changed the route since `request` was decided.
    pub fn join(&self, request: &FanOut, now: Millis) -> Result<Membership, RefuseReason> {
        let (channel, entry, given) = {
            let mut channels = self.channels.lock();
            let known = channels.by_key.get(&request.key).cloned();
            let (channel, entry) = match known.map(|channel| {
                let entry = channel.join(request.last_event_id.as_deref(), now)?;
                Ok((channel, entry))
            }) {
                Some(Err(refused)) => return Err(refused),
                Some(Ok((channel, entry))) if entry.joined != Joined::TooLate => (channel, entry),
                Some(Ok(_)) | None => self.make(&mut channels, request, now)?,
            };
            let given = channels.of_id(request.last_event_id.as_deref());
            (channel, entry, given)
        };
        if let Some(given) = given {
            self.note_stray(&channel, &given, now);
        } else if entry.begun == Begun::Unproven {
            self.note_unproven(&channel, now);
        }
        let opener = entry.joined == Joined::MustOpen;
        if opener {
            self.opener.open(channel.clone());
        } else if entry.must_prove {
            self.opener.prove(channel.clone());
        }
        Ok(Membership {
            channel,
            opener,
            joined_at: entry.at,
        })
    }

    fn make(
        &self,
        channels: &mut Channels,
        request: &FanOut,
        now: Millis,
    ) -> Result<(Arc<Channel>, Entry), RefuseReason> {
        if self.draining.load(Ordering::Acquire) {
            return Err(RefuseReason::Draining);
        }
        // Under the lock: a reload that is not seen here finds the channel when it gets the lock.
        let config = self.config.load();
        let before = channels.by_key.get(&request.key);
        if channels.by_key.len() - usize::from(before.is_some()) >= config.limits.channels_max {
            return Err(RefuseReason::ChannelsMax);
        }
        if self.budget.is_exhausted() {
            return Err(RefuseReason::RingBytesMax);
        }
        // One that is seen treats the channel as it would have, had it been made just before.
        let named = |route: &&Arc<Route>| route.name == request.key.route;
        let (route, settings) = heir(
            config.routes.iter().find(named),
            &request.route,
            &request.settings,
        )
        .ok_or(RefuseReason::Reloaded)?;
        let channel = Channel::new(
            request.key.clone(),
            Epoch::new(rand::random()),
            route.clone(),
            settings.clone(),
            self.metrics.clone(),
            now,
        )
        .made_by(request.client)
        .sealed_by(config.ids_key.as_ref())
        .in_place_of(before);
        let channel = Arc::new(channel);
        let entry = channel.join(request.last_event_id.as_deref(), now)?;
        let by_epoch = &mut channels.by_epoch;
        by_epoch.insert(channel.epoch, Arc::downgrade(&channel));
        channels.by_key.insert(request.key.clone(), channel.clone());
        Ok((channel, entry))
    }

    /// Whether the app has said of this channel that it is not to be shared, and that counts.
    #[must_use]
    pub fn is_withdrawn(&self, key: &ChannelKey) -> bool {
        let channels = self.channels.lock();
        channels
            .by_key
            .get(key)
            .is_some_and(|channel| channel.is_withdrawn())
    }

    /// Time passes: lingers end, old events go, the memory budget is kept.
    pub fn tick(&self, now: Millis) {
        // One that is over is forgotten when its reader has let go: who takes its place waits for
        // that.
        {
            let mut channels = self.channels.lock();
            channels
                .by_key
                .retain(|_, channel| !channel.tick(now) || !channel.is_released());
            channels
                .by_epoch
                .retain(|_, channel| channel.strong_count() > 0);
        }
        self.budget.keep(|| self.all());
        if self.looked.pass(now).is_some() {
            self.look_for_signs(now);
        }
    }

    /// From now on no channel is made.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Brings the live channels in line with the configuration that has come into force.
    pub fn reload(&self, ring_bytes_max: usize, now: Millis) {
        self.budget.set_max(ring_bytes_max);
        let mut ended = Vec::new();
        {
            let channels = self.channels.lock();
            let config = self.config.load();
            let routes: HashMap<&str, &Arc<Route>> = config
                .routes
                .iter()
                .map(|route| (route.name.as_str(), route))
                .collect();
            for channel in channels.by_key.values() {
                let (route, settings) = (channel.route(), channel.settings());
                let named = routes.get(channel.key.route.as_str()).copied();
                match heir(named, &route, &settings) {
                    Some((new, _)) if **new == *route => {}
                    Some((new, settings)) => {
                        channel.reconfigure(new.clone(), settings.clone(), now);
                    }
                    None => ended.push((channel.clone(), without_heir(named, &settings))),
                }
            }
        }
        for (channel, outcome) in ended {
            channel.finish(outcome);
        }
        self.hints.reload(&self.config.load().routes);
    }

    /// All channels that hold a ring: those, too, that are over and that somebody still reads.
    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        let channels = self.channels.lock();
        channels
            .by_epoch
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// The channels now, at most `limit`.
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<Arc<Channel>> {
        let channels = self.channels.lock();
        channels.by_key.values().take(limit).cloned().collect()
    }

    /// Live channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.lock().by_key.len()
    }

    /// No live channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The route and settings under which a channel of an older route lives on. `None`: not under those
/// that have its name now.
fn heir<'c>(
    named: Option<&'c Arc<Route>>,
    old: &Arc<Route>,
    old_settings: &Fanout,
) -> Option<(&'c Arc<Route>, &'c Arc<Fanout>)> {
    let new = named?;
    let Action::Fanout(settings) = &new.action else {
        return None;
    };
    let lives_on = Arc::ptr_eq(old, new) || compatible(old, old_settings, new, settings);
    lives_on.then_some((new, settings))
}

/// What becomes of a channel that does not live on under the route that has its name now.
fn without_heir(named: Option<&Arc<Route>>, old: &Fanout) -> Outcome {
    match named.map(|new| &new.action) {
        Some(Action::Fanout(new)) if new.share != old.share || new.identity != old.identity => {
            Outcome::Revoked
        }
        _ => Outcome::Retired,
    }
}

/// The same app, the same sharing, the same ids on the wire; and one answer stays one.
fn compatible(old: &Route, old_settings: &Fanout, new: &Route, new_settings: &Fanout) -> bool {
    old.upstream.is_same_app(&new.upstream)
        && old.matches == new.matches
        && old_settings.share == new_settings.share
        && old_settings.identity == new_settings.identity
        && old_settings.cors.is_some() == new_settings.cors.is_some()
        && old_settings.query == new_settings.query
        && old_settings.last_event_id_query == new_settings.last_event_id_query
        && old_settings.ids == new_settings.ids
        && old_settings.resume == new_settings.resume
        && old_settings.is_one_answer() == new_settings.is_one_answer()
}

#[cfg(test)]
mod tests;
