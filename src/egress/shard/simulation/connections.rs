//! Clients over HTTP/2: several connections, on each of them many streams. What they have in common is
//! a socket and a window, and that one of them alone may stop to read, or go with all its streams.

use std::collections::VecDeque;

use rand::Rng as _;

use super::{
    World,
    client::{Client, Left},
    source::Source,
};
use crate::{
    clock,
    decide::Reader,
    egress::shard::testing::{Body, Peer, Room},
};

/// So many connections at a time.
const CONNECTIONS: usize = 4;

/// Who asked for a stream, and was not heard yet.
struct Asked {
    body: Body,
    reader: Reader,
    /// `None`: it comes for the first time.
    back: Option<Left>,
}

pub(super) struct Link {
    /// Never used again.
    number: usize,
    peer: Peer,
    asked: VecDeque<Asked>,
    /// Its client takes nothing for now.
    stands_still: bool,
}

#[derive(Default)]
pub(super) struct Links {
    all: Vec<Link>,
    begun: usize,
}

impl World {
    /// A client asks for a stream, on a connection that there is or on one of its own.
    pub(super) fn ask(&mut self, reader: Reader, back: Option<Left>) {
        let here = self.links.all.iter().filter(|link| !link.peer.is_left());
        let here: Vec<usize> = here.map(|link| link.number).collect();
        let at = if self.heavy {
            0
        } else {
            self.random.random_range(0..CONNECTIONS)
        };
        let number = match here.get(at) {
            Some(number) => *number,
            None => self.connect(),
        };
        let link = self.links.all.iter_mut().find(|link| link.number == number);
        let link = link.expect("it is there");
        link.asked.push_back(Asked {
            body: link.peer.ask(),
            reader,
            back,
        });
    }

    fn connect(&mut self) -> usize {
        let random = &mut self.random;
        let room = Room {
            socket: 64 << random.random_range(0..10),
            stream: 64 << random.random_range(0..14),
            connection: 1_024 << random.random_range(0..12),
        };
        let room = if self.heavy {
            Room {
                socket: 4_096 << random.random_range(0..5),
                ..Room::ample()
            }
        } else {
            room
        };
        let number = self.links.begun;
        self.links.begun += 1;
        self.links.all.push(Link {
            number,
            peer: Peer::new(room),
            asked: VecDeque::new(),
            stands_still: false,
        });
        number
    }

    /// Some of the connections move, on either side.
    pub(super) fn some_links_move(&mut self) {
        for at in 0..self.links.all.len() {
            let link = &mut self.links.all[at];
            let changes = if link.stands_still { 8 } else { 60 };
            link.stands_still ^= self.random.random_ratio(1, changes);
            if !link.stands_still && self.random.random() {
                link.peer.receive();
            }
            if link.peer.is_server_awake() && self.random.random() {
                self.serve(at);
            }
        }
        self.links.all.retain(Link::is_there);
    }

    /// All connections move, until nobody there has anything to do. `true`: they did.
    pub(super) fn all_links_move(&mut self) -> bool {
        let mut moved = false;
        while self.links.all.iter().any(|link| link.peer.is_awake()) {
            for at in 0..self.links.all.len() {
                self.serve(at);
                self.links.all[at].peer.receive();
            }
            moved = true;
        }
        self.links.all.retain(Link::is_there);
        moved
    }

    /// A turn of our task: who asked joins.
    fn serve(&mut self, at: usize) {
        for downstream in self.links.all[at].peer.serve() {
            let link = &mut self.links.all[at];
            let asked = link.asked.pop_front().expect("it was asked for");
            let (number, is_left) = (link.number, link.peer.is_left());
            let id = asked.back.as_ref().and_then(|back| back.id.clone());
            self.rig.join_by(downstream, asked.reader, id, clock::now());
            // Who has gone meanwhile sees nothing of it.
            if !is_left {
                let start = asked.back.unwrap_or_else(|| Left::newcomer(self.next));
                let source = Source::Stream(asked.body, number);
                self.welcome(Client::new(source, start, asked.reader));
                self.tally.joins_http2 += 1;
            }
        }
    }

    /// The client of one connection goes, and all its streams.
    pub(super) fn connection_breaks(&mut self) {
        if !self.links.all.is_empty() {
            let at = self.random.random_range(0..self.links.all.len());
            self.tally.connections_broken += usize::from(!self.links.all[at].peer.is_left());
            self.drop_client_of(at);
        }
    }

    pub(super) fn all_connections_break(&mut self) {
        for at in 0..self.links.all.len() {
            self.drop_client_of(at);
        }
    }

    fn drop_client_of(&mut self, at: usize) {
        let link = &mut self.links.all[at];
        link.peer.leave();
        let number = link.number;
        for at in (0..self.clients.len()).rev() {
            if self.clients[at].connection() == Some(number) {
                self.client_leaves(at);
            }
        }
    }
}

impl Link {
    /// One that has gone stays until we have seen it.
    const fn is_there(&self) -> bool {
        !self.peer.is_over()
    }
}
