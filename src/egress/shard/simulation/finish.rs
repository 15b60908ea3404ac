//! How a run ends: everybody has everything, or is sent away, or the shard falls over; and then
//! nothing is left.

use std::time::Duration;

use super::{App, JOINS, PIPE_BYTES_MIN, Tally, World};
use crate::{
    channel::ring::UNSWEPT_FACTOR,
    clock,
    egress::shard::testing::begun_and_ended,
    error::{EndReason, GapReason},
    metrics::labels::{Label as _, Protocol},
};

impl World {
    /// Everybody reads, the app says a last word, and all who are connected have all of it.
    pub(super) async fn settle(&mut self) {
        self.everybody_reads().await;
        // Who is on a channel that is over leaves within the range of reconnect times.
        self.time.pass(self.rig.settings.retry.max);
        let now = clock::now();
        self.shard().tick(now).await;
        self.everybody_reads().await;
        for _ in 0..100 {
            if matches!(self.app, App::Live(_)) || self.clients.is_empty() {
                break;
            }
            self.app_opens();
            self.everybody_reads().await;
        }
        let stranded = !self.clients.is_empty() && !matches!(self.app, App::Live(_));
        assert!(!stranded, "clients wait, and nobody asks the app");
        self.publish();
        self.everybody_reads().await;
        let groups = self.shard().slots.iter().flat_map(|(_, slot)| &slot.groups);
        let stuck = groups.filter(|(_, group)| !group.is_level()).count();
        assert_eq!(stuck, 0, "nobody told a group that it can go on");
        // Who waits for a group that all others have left is driven with the next tick.
        let now = clock::now();
        self.shard().tick(now).await;
        self.everybody_reads().await;
        for client in &self.clients {
            client.has_all(self.next);
        }
        self.tally.settled += self.clients.len();
        let over_http2 = self
            .clients
            .iter()
            .filter(|one| one.protocol() == Protocol::H2);
        self.tally.settled_http2 += over_http2.count();
    }

    /// Everybody is told to leave, some while the app is lost, and has left at the end.
    pub(super) async fn drain(&mut self) {
        // Whoever has asked is there.
        self.all_links_move();
        for client in &mut self.clients {
            client.may_end_whole();
        }
        let window = Duration::from_secs(4);
        self.rig.handle.drain(window);
        self.rig.registry.drain();
        self.joins = JOINS;
        for _ in 0..20 {
            self.work().await;
            self.outside();
            self.time.pass(window / 16);
            self.tick().await;
            self.everybody_reads().await;
        }
        // Who was answered only now leaves with the next tick.
        let now = clock::now();
        self.shard().tick(now).await;
        self.everybody_reads().await;
        let route = self.rig.metrics.route("r");
        self.tally.drained += route.subscribers_ended.get(EndReason::Drained);
        for protocol in Protocol::all() {
            assert_eq!(route.subscribers.get(*protocol), 0, "all have left");
        }
        self.rig.handle.cut();
        self.everybody_reads().await;
        assert!(self.clients.is_empty(), "nobody waits for an answer");
    }

    async fn everybody_reads(&mut self) {
        let later = clock::now().after(self.rig.settings.batch_delay);
        // What the narrowest pipe takes to bring all that a ring may hold.
        let owed_max = self.rig.settings.ring.bytes_max.max(10_000) * UNSWEPT_FACTOR;
        let mut moving = Vec::new();
        for _ in 0..owed_max / PIPE_BYTES_MIN {
            let shard = self.shard();
            shard.work().await;
            shard.sweep_due(later).await;
            let links_moved = self.all_links_move();
            moving.clear();
            for at in (0..self.clients.len()).rev() {
                let before = self.clients[at].received;
                let stays = self.clients[at].read(usize::MAX, &self.ends);
                if !stays || self.clients[at].received > before {
                    moving.push(self.clients[at].state().clone());
                }
                if !stays {
                    self.client_leaves(at);
                }
            }
            if moving.is_empty() && !links_moved {
                return;
            }
        }
        panic!(
            "it never comes to rest: {moving:?} under {:?}",
            self.rig.settings
        );
    }

    /// All are gone: nothing is held.
    pub(super) async fn vanish(mut self) -> Tally {
        while !self.clients.is_empty() {
            self.client_leaves(0);
        }
        self.all_connections_break();
        for _ in 0..10 {
            self.all_links_move();
            self.shard().work().await;
        }
        let shard = self.shard();
        assert_eq!(shard.subscribers.len(), 0);
        assert_eq!((shard.slots.len(), shard.by_channel.len()), (0, 0));
        assert_eq!(self.rig.admission.subscribers.taken(), 0);
        let members: usize = self
            .rig
            .registry
            .list(9)
            .iter()
            .map(|c| c.row().subscribers)
            .sum();
        assert_eq!(members, 0);
        self.rig
            .registry
            .tick(clock::now().after(Duration::from_secs(60)));
        assert!(self.rig.registry.is_empty(), "the linger is over");
        self.crash()
    }

    /// Registry and shard go, whoever is there, as after a panic: no gauge is off its zero.
    pub(super) fn crash(mut self) -> Tally {
        self.app = App::Quiet;
        self.rig.asked.0.lock().clear();
        let metrics = self.rig.metrics.clone();
        let mut tally = std::mem::take(&mut self.tally);
        let route = metrics.route("r");
        tally.slow = route.subscribers_ended.get(EndReason::Slow);
        tally.aged = route.subscribers_ended.get(EndReason::Age);
        tally.skipped = route.events_skipped.get();
        tally.conflated = route.gaps.get(GapReason::Conflated);
        drop(self);
        for level in [
            &metrics.waiting_joiners,
            &metrics.behind_subscribers,
            &metrics.ring_bytes,
            &metrics.route("r").channels,
        ] {
            assert_eq!(level.get(), 0);
        }
        let route = metrics.route("r");
        for protocol in Protocol::all() {
            assert_eq!(route.subscribers.get(*protocol), 0);
        }
        let (begun, ended) = begun_and_ended(&metrics);
        assert_eq!(begun, ended);
        tally
    }
}
