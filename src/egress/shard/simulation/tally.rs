//! What a simulation has shown.

/// What was simulated: without much of each, nothing is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) events: usize,
    pub(super) gaps: usize,
    pub(super) resumed: usize,
    /// Times that a client was found behind.
    pub(super) behind: usize,
    pub(super) slow: u64,
    /// Events that slow readers passed over.
    pub(super) skipped: u64,
    /// Times that one was told that it gets only the newest of each key.
    pub(super) conflated: u64,
    /// Streams that were of age.
    pub(super) aged: u64,
    /// Times that the shard gave way to the others.
    pub(super) yields: usize,
    /// Clients whose stream a drain ended.
    pub(super) drained: u64,
    /// Clients who had all at the end.
    pub(super) settled: usize,
    /// What of it was over HTTP/2.
    pub(super) joins_http2: usize,
    pub(super) events_http2: usize,
    pub(super) gaps_http2: usize,
    pub(super) behind_http2: usize,
    pub(super) settled_http2: usize,
    /// Times that a group of readers was found with a batch that not all of them had.
    pub(super) groups_behind: usize,
    /// Those that some had and others not.
    pub(super) groups_halfway: usize,
    /// Connections that were dropped with all their streams.
    pub(super) connections_broken: usize,
}

impl Tally {
    pub(super) fn add(&mut self, one: &Self) {
        self.events += one.events;
        self.gaps += one.gaps;
        self.resumed += one.resumed;
        self.behind += one.behind;
        self.slow += one.slow;
        self.skipped += one.skipped;
        self.conflated += one.conflated;
        self.aged += one.aged;
        self.yields += one.yields;
        self.drained += one.drained;
        self.settled += one.settled;
        self.joins_http2 += one.joins_http2;
        self.events_http2 += one.events_http2;
        self.gaps_http2 += one.gaps_http2;
        self.behind_http2 += one.behind_http2;
        self.settled_http2 += one.settled_http2;
        self.groups_behind += one.groups_behind;
        self.groups_halfway += one.groups_halfway;
        self.connections_broken += one.connections_broken;
    }

    /// Much of each has happened.
    pub(super) const fn is_plenty(&self) -> bool {
        let of_all = self.events > 10_000
            && self.gaps > 100
            && self.resumed > 1_000
            && self.yields > 10_000
            && self.drained > 0
            && self.settled > 0;
        let of_the_slow = self.behind > 1_000
            && self.slow > 100
            && self.skipped > 1_000
            && self.conflated > 100
            && self.aged > 100;
        let of_http2 = self.joins_http2 > 4_000
            && self.events_http2 > 4_000
            && self.gaps_http2 > 100
            && self.behind_http2 > 1_000
            && self.settled_http2 > 0
            && self.groups_behind > 100
            && self.groups_halfway > 0
            && self.connections_broken > 10;
        of_all && of_the_slow && of_http2
    }
}
