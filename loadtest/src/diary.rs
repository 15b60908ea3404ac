//! What a roster keeps beyond its counts when a run asks for it: the timeline, how evenly
//! subscribers are served, and from where those who come back go on.

use std::time::Duration;

use crate::{
    clock,
    plan::Plan,
    samples::Samples,
    timeline::{Timeline, Writer},
    wire::{resume::Resume, scanner::Found},
};

/// The diary of one lane.
#[derive(Debug)]
pub struct Diary {
    timeline: Writer,
    subscribers: Vec<Share>,
    /// One for each subscriber, when they come back.
    resumes: Option<Vec<Resume>>,
}

/// What one subscriber got while measuring.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    events: u64,
    latency_ns: u64,
}

impl Diary {
    /// The diary that the plan asks for.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Box<Self>> {
        let origin_ns = plan.timeline_origin_ns?;
        let resumes = plan.conduct.returns() || plan.conduct.stay.is_some();
        Some(Box::new(Self {
            timeline: Writer::new(origin_ns),
            subscribers: Vec::new(),
            resumes: resumes.then(Vec::new),
        }))
    }

    /// There are `count` subscribers from now on.
    pub fn enter(&mut self, count: usize) {
        self.subscribers.resize(count, Share::default());
        if let Some(resumes) = &mut self.resumes {
            resumes.resize_with(count, Resume::default);
        }
    }

    /// A subscriber has its stream.
    pub fn opened(&mut self, place: usize) {
        self.timeline.at(clock::now_ns()).opened += 1;
        if let Some(resume) = self.resume(place) {
            resume.begin();
        }
    }

    /// A stream is over.
    pub fn ended(&mut self) {
        self.timeline.at(clock::now_ns()).ended += 1;
    }

    /// An attempt got no stream.
    pub fn refused(&mut self) {
        self.timeline.at(clock::now_ns()).refused += 1;
    }

    /// Stream bytes for a subscriber.
    pub fn fed(&mut self, place: usize, bytes: &[u8], now_ns: u64) {
        self.timeline.at(now_ns).bytes += bytes.len() as u64;
        if let Some(resume) = self.resume(place) {
            resume.feed(bytes);
        }
    }

    /// Something was found in them; `latency_ns` when it is measured.
    pub fn found(&mut self, place: usize, found: Found, now_ns: u64, latency_ns: Option<u64>) {
        match found {
            Found::Message { .. } => self.timeline.at(now_ns).delivered += 1,
            Found::Gap { .. } => self.timeline.at(now_ns).gaps += 1,
            Found::Torn => {}
        }
        let Some(latency_ns) = latency_ns else { return };
        self.timeline.delivered(now_ns, latency_ns);
        if let Some(share) = self.subscribers.get_mut(place) {
            share.events += 1;
            share.latency_ns += latency_ns;
        }
    }

    /// The value of `Last-Event-ID` for a subscriber's next request.
    #[must_use]
    pub fn last_id(&self, place: usize) -> Option<&str> {
        self.resumes.as_ref()?.get(place)?.last_id()
    }

    /// The time that the server has told a subscriber to wait.
    #[must_use]
    pub fn retry(&self, place: usize) -> Option<Duration> {
        self.resumes.as_ref()?.get(place)?.retry()
    }

    /// The timeline, and the mean latency of each subscriber that got an event.
    #[must_use]
    pub fn close(self) -> (Timeline, Samples) {
        let mut means = Samples::default();
        for share in self.subscribers {
            if let Some(mean) = share.latency_ns.checked_div(share.events) {
                means.record_ns(mean);
            }
        }
        (self.timeline.finish(), means)
    }

    fn resume(&mut self, place: usize) -> Option<&mut Resume> {
        self.resumes.as_mut()?.get_mut(place)
    }
}
